// A sandbox: made, found, worked in, paused, ended.
import { fromBase64 } from "./bytes.js";
import { defaultClient } from "./client.js";
import { ConnectionError, errorOf, FleetFull } from "./errors.js";
import { Files } from "./files.js";
import { camel, inWords } from "./names.js";

/** @typedef {import("./client.js").OrkestrClient} OrkestrClient */
/** @typedef {"starting" | "running" | "pausing" | "paused" | "resuming" | "terminated" | "failed"} SandboxStatus */

/**
 * @typedef {object} CreateOptions
 * @property {string} [template] `python-3.12`, `python-3.12-bare`, `node-22`, `debian-12`, `code-interpreter`
 * @property {string} [snapshot] instead of a template: fork this one
 * @property {"small" | "medium" | "large"} [size]
 * @property {"off" | "restricted" | "open"} [network] what it reaches; nothing unless said
 * @property {string[]} [allowDomains] instead of the default allowlist, `restricted` only
 * @property {number} [timeoutSeconds] until it ends by itself, 10 to 3600
 * @property {"kill" | "pause"} [onTimeout]
 * @property {boolean} [autoResume] wake it for the next command when it is paused
 * @property {boolean} [previewAuth] its ports ask for a token
 * @property {Record<string, string>} [env] for every command in it
 * @property {Record<string, string>} [metadata] to find it by
 * @property {string} [region]
 * @property {string} [volume] what is to be at /persist
 * @property {number} [retryMaxSeconds] how long to try again while the host is full (30)
 * @property {OrkestrClient} [client]
 */

/**
 * @typedef {object} ExecOptions
 * @property {string} [cwd]
 * @property {Record<string, string>} [env] over the sandbox's own
 * @property {number} [timeoutSeconds] until the command is stopped (60)
 * @property {AbortSignal} [signal] gives up waiting; the command runs on to its own timeout
 */

/** @typedef {{stdout: string, stderr: string, exitCode: number, durationMs: number}} ExecResult */

/**
 * A piece of output, or the end: then `isFinal` is true, `data` empty and `exitCode` a number.
 * @typedef {object} ExecChunk
 * @property {"stdout" | "stderr"} stream
 * @property {string} data
 * @property {number | null} exitCode
 * @property {number | null} durationMs
 * @property {boolean} isFinal
 */

/**
 * @typedef {object} SandboxLimits
 * @property {string} plan
 * @property {string[]} allowedSizes
 * @property {{size: string, cpu: number, memoryMb: number, allowed: boolean}[]} sizes
 * @property {{id: string, label: string}[]} regions
 * @property {number} maxConcurrent
 * @property {number} maxSnapshots
 * @property {number} maxNamedSnapshots
 * @property {number} maxTimeoutSeconds
 * @property {boolean} customEgressAllowlist
 * @property {string[]} defaultEgressDomains
 * @property {number} trialCreditEur
 * @property {number} trialCreditUsedEur
 * @property {number | null} maxRunningLifetimeSeconds
 */

/**
 * One second of the last minute. Percents are of the sandbox's size.
 * @typedef {{t: Date, cpuPercent: number, memBytes: number}} SandboxMetricsSample
 */

/**
 * CPU and memory as they are now, over the last minute (oldest first) and over the whole life.
 * What is of now is null, and there are no samples, while it is starting, paused or over.
 * @typedef {object} SandboxMetrics
 * @property {string} sandboxId
 * @property {SandboxStatus} sandboxStatus
 * @property {Date} asOf
 * @property {number} sampleIntervalSeconds asking more often tells nothing new
 * @property {number} windowSeconds
 * @property {{cores: number, usageCores: number | null, usagePercent: number | null}} cpu
 * @property {{limitBytes: number, usageBytes: number | null, usagePercent: number | null}} memory
 * @property {{cpuSeconds: number, gbSeconds: number}} lifetime
 * @property {SandboxMetricsSample[]} samples
 */

/** Answers of a buffered command come within this time; a longer one is listened to meanwhile. */
const BUFFERED_SECONDS = 240;
const RETRY_SECONDS = 1;

/** One sandbox, as it was when the server last told of it; `refresh` asks again. */
export class Sandbox {
  /** @type {OrkestrClient} */
  #client;
  /** @type {any} */
  #told;

  /**
   * Made by `create`, `get`, `list` and `resume`.
   * @param {OrkestrClient} client
   * @param {any} told what the server said of it
   */
  constructor(client, told) {
    this.#client = client;
    this.#told = told;
    /** @readonly */
    this.files = new Files(client, told.id);
  }

  /**
   * Make one. It runs when this resolves.
   * @param {CreateOptions} options
   * @returns {Promise<Sandbox>}
   */
  static async create(options) {
    const { client = defaultClient(), retryMaxSeconds = 30, ...wanted } = options;
    const body = inWords(wanted);
    const made = () => client.request("POST", "/v1/sandboxes", { body });
    return new Sandbox(client, await patiently(made, retryMaxSeconds));
  }

  /**
   * Make one for `use`, and end it afterwards, whatever happens. What `use` gives.
   * @template T
   * @param {CreateOptions} options
   * @param {(sandbox: Sandbox) => Promise<T> | T} use
   * @returns {Promise<T>}
   */
  static async withTemp(options, use) {
    const sandbox = await Sandbox.create(options);
    try {
      return await use(sandbox);
    } finally {
      await sandbox.terminate();
    }
  }

  /**
   * @param {string} id
   * @param {{client?: OrkestrClient}} [options]
   * @returns {Promise<Sandbox>}
   */
  static async get(id, { client = defaultClient() } = {}) {
    return new Sandbox(client, await client.request("GET", address(id)));
  }

  /**
   * The account's, newest first, as many as `limit` says.
   * @param {{status?: SandboxStatus, metadata?: Record<string, string>, limit?: number, client?: OrkestrClient}} [options]
   * @returns {Promise<Sandbox[]>}
   */
  static async list({ status, metadata = {}, limit = 50, client = defaultClient() } = {}) {
    /** @type {Sandbox[]} */
    const found = [];
    /** @type {string | undefined} */
    let cursor;
    const labels = Object.fromEntries(
      Object.entries(metadata).map(([key, value]) => [`metadata[${key}]`, value]),
    );
    do {
      const query = { ...labels, status, cursor, limit: Math.min(limit - found.length, 200) };
      const page = await client.request("GET", "/v1/sandboxes", { query });
      found.push(...page.sandboxes.map((/** @type {any} */ told) => new Sandbox(client, told)));
      cursor = page.next_cursor ?? undefined;
    } while (cursor && found.length < limit);
    return found;
  }

  /**
   * Let a paused one go on where it was.
   * @param {string} id
   * @param {{retryMaxSeconds?: number, client?: OrkestrClient}} [options]
   * @returns {Promise<Sandbox>}
   */
  static async resume(id, { retryMaxSeconds = 30, client = defaultClient() } = {}) {
    const resumed = () => client.request("POST", `${address(id)}/resume`);
    return new Sandbox(client, await patiently(resumed, retryMaxSeconds));
  }

  /**
   * What the plan covers.
   * @param {{client?: OrkestrClient}} [options]
   * @returns {Promise<SandboxLimits>}
   */
  static async limits({ client = defaultClient() } = {}) {
    return camel(await client.request("GET", "/v1/sandboxes/limits"));
  }

  /** @returns {string} */
  get id() {
    return this.#told.id;
  }
  /** @returns {SandboxStatus} */
  get status() {
    return this.#told.status;
  }
  /** @returns {string} */
  get template() {
    return this.#told.template;
  }
  /** @returns {string} */
  get size() {
    return this.#told.size;
  }
  /** @returns {"off" | "restricted" | "open"} */
  get network() {
    return this.#told.network;
  }
  /** @returns {number} */
  get cpu() {
    return this.#told.cpu;
  }
  /** @returns {number} */
  get memoryMb() {
    return this.#told.memory_mb;
  }
  /** @returns {Record<string, string>} */
  get metadata() {
    return this.#told.metadata;
  }
  /** @returns {Date} */
  get createdAt() {
    return new Date(this.#told.created_at);
  }
  /** @returns {Date} */
  get expiresAt() {
    return new Date(this.#told.expires_at);
  }
  /** @returns {string | null} */
  get volume() {
    return this.#told.volume;
  }

  /**
   * Run a command in the shell and wait for its end. An exit code other than 0 is a result.
   * @param {string} command
   * @param {ExecOptions} [options]
   * @returns {Promise<ExecResult>}
   */
  async exec(command, options = {}) {
    if ((options.timeoutSeconds ?? 60) > BUFFERED_SECONDS) return this.#listened(command, options);
    const { signal, ...rest } = options;
    const told = await this.#client.request("POST", `${address(this.id)}/exec`, {
      body: execBody(command, rest),
      signal,
    });
    return { stdout: told.stdout, stderr: told.stderr, exitCode: told.exit_code, durationMs: told.duration_ms };
  }

  /**
   * Run a command and get its output as it is written. Breaking off leaves it running to its own timeout.
   * @param {string} command
   * @param {ExecOptions} [options]
   * @returns {AsyncGenerator<ExecChunk, void, void>}
   */
  async *execStream(command, { signal, ...options } = {}) {
    const body = { ...execBody(command, options), stream: true };
    // A character may be split between two chunks, so each stream is decoded on its own.
    const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
    /** @param {"stdout" | "stderr"} stream @param {string} data */
    const chunk = (stream, data) => ({ stream, data, exitCode: null, durationMs: null, isFinal: false });
    for await (const frame of this.#client.stream("POST", `${address(this.id)}/exec`, { body, signal })) {
      if (frame.kind === "error") throw errorOf(200, { ...frame, detail: frame.message });
      if (frame.kind === "exec_chunk") {
        const stream = /** @type {"stdout" | "stderr"} */ (frame.stream);
        const data = decoders[stream].decode(fromBase64(frame.data), { stream: true });
        if (data) yield chunk(stream, data);
      }
      if (frame.kind === "exec_exited") {
        for (const stream of /** @type {const} */ (["stdout", "stderr"])) {
          const data = decoders[stream].decode();
          if (data) yield chunk(stream, data);
        }
        const { code, duration_ms } = frame;
        yield { stream: "stdout", data: "", exitCode: code, durationMs: duration_ms, isFinal: true };
        return;
      }
    }
    throw new ConnectionError("The stream ended before the command did; it may still run.");
  }

  /**
   * @param {string} command
   * @param {ExecOptions} options
   * @returns {Promise<ExecResult>}
   */
  async #listened(command, options) {
    const result = { stdout: "", stderr: "", exitCode: 0, durationMs: 0 };
    for await (const chunk of this.execStream(command, options)) {
      result[chunk.stream] += chunk.data;
      if (chunk.isFinal) Object.assign(result, { exitCode: chunk.exitCode, durationMs: chunk.durationMs });
    }
    return result;
  }

  /**
   * Ask the server how it is now.
   * @returns {Promise<this>}
   */
  async refresh() {
    this.#told = await this.#client.request("GET", address(this.id));
    return this;
  }

  /**
   * Let it live so many seconds from now on.
   * @param {number} timeoutSeconds
   * @returns {Promise<void>}
   */
  async setTimeout(timeoutSeconds) {
    const body = { timeout_seconds: timeoutSeconds };
    this.#told = await this.#client.request("POST", `${address(this.id)}/timeout`, { body });
  }

  /**
   * What it uses, now and over its life; also of one that is paused or over. With `since`, only samples after that second.
   * @param {{since?: Date}} [options]
   * @returns {Promise<SandboxMetrics>}
   */
  async metrics({ since } = {}) {
    const query = { since: since && Math.floor(since.getTime() / 1000) };
    const told = camel(await this.#client.request("GET", `${address(this.id)}/metrics`, { query }));
    const { asOfUnix: _, samples, ...rest } = told;
    const read = (/** @type {any} */ sample) => ({ ...sample, t: new Date(sample.t) });
    return { ...rest, asOf: new Date(told.asOf), samples: samples.map(read) };
  }

  /**
   * The address under which a browser sees a port of it.
   * @param {number} port
   * @returns {Promise<string>}
   */
  async previewUrl(port) {
    const shown = await this.#client.request("GET", `${address(this.id)}/host`, { query: { port } });
    return shown.url;
  }

  /**
   * Hold it still, with processes, memory and files, and stop its meter. Its id, for `resume`.
   * @returns {Promise<string>}
   */
  async pause() {
    await this.#client.request("POST", `${address(this.id)}/pause`);
    await this.refresh();
    return this.id;
  }

  /**
   * End it for good. Ending one that has ended already is fine.
   * @returns {Promise<void>}
   */
  async terminate() {
    await this.#client.request("DELETE", address(this.id));
    this.#told = { ...this.#told, status: "terminated" };
  }
}

/** @param {string} id */
function address(id) {
  return `/v1/sandboxes/${encodeURIComponent(id)}`;
}

/**
 * @param {string} command
 * @param {Omit<ExecOptions, "signal">} options
 */
function execBody(command, { cwd, env, timeoutSeconds }) {
  return { command, cwd, env, timeout_seconds: timeoutSeconds };
}

/**
 * Tries again while the host is full: nothing was made then.
 * @template T
 * @param {() => Promise<T>} action
 * @param {number} seconds
 * @returns {Promise<T>}
 */
async function patiently(action, seconds) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (!(error instanceof FleetFull)) throw error;
      const wait = (error.retryAfter ?? RETRY_SECONDS) * 1000;
      if (Date.now() + wait > deadline) throw error;
      await new Promise((resolve) => globalThis.setTimeout(resolve, wait));
    }
  }
}
