// One server and one token: requests, answers, streams.
import { APIError, AuthError, ConnectionError, errorOf, OrkestrError } from "./errors.js";

/**
 * @typedef {object} ClientOptions
 * @property {string} [apiKey] a token; `ORKESTR_API_KEY` where there is an environment
 * @property {string} [baseUrl] where the console is; `ORKESTR_BASE_URL`, or the page's own origin
 * @property {typeof fetch} [fetch] in place of the platform's
 */

/**
 * @typedef {object} RequestOptions
 * @property {Record<string, string | number | undefined>} [query]
 * @property {unknown} [body] sent as JSON
 * @property {AbortSignal} [signal] gives up waiting; what was begun goes on
 */

/** @param {string} name */
function environment(name) {
  /** @type {{process?: {env?: Record<string, string | undefined>}, location?: {origin: string}}} */
  const everywhere = /** @type {any} */ (globalThis);
  const value = everywhere.process?.env?.[name];
  return value ?? (name === "ORKESTR_BASE_URL" ? everywhere.location?.origin : undefined);
}

/** What all sandboxes of one account are reached through. */
export class OrkestrClient {
  /** @type {string} */
  #token;
  /** @type {typeof fetch} */
  #fetch;

  /** @param {ClientOptions} [options] */
  constructor(options = {}) {
    const token = options.apiKey ?? environment("ORKESTR_API_KEY");
    const base = options.baseUrl ?? environment("ORKESTR_BASE_URL");
    if (!token) throw new AuthError("Give a token as apiKey, or set ORKESTR_API_KEY.");
    if (!base) throw new OrkestrError("Say where the console is: baseUrl, or ORKESTR_BASE_URL.");
    this.#token = token;
    this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    this.baseUrl = base.replace(/\/+$/, "");
  }

  /**
   * A JSON answer; null for one without a body.
   * @param {string} method
   * @param {string} path
   * @param {RequestOptions} [options]
   * @returns {Promise<any>}
   */
  async request(method, path, options = {}) {
    const answer = await this.#send(method, path, options);
    if (answer.status === 204) return null;
    try {
      return await answer.json();
    } catch (cause) {
      throw lost(cause);
    }
  }

  /**
   * The frames of a stream of server-sent events.
   * @param {string} method
   * @param {string} path
   * @param {RequestOptions} [options]
   * @returns {AsyncGenerator<any, void, void>}
   */
  async *stream(method, path, options = {}) {
    const answer = await this.#send(method, path, options);
    if (!answer.body) throw new APIError("The server sent no stream.");
    yield* frames(answer.body);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {RequestOptions} options
   */
  async #send(method, path, { query = {}, body, signal }) {
    const address = new URL(this.baseUrl + path);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) address.searchParams.set(name, String(value));
    }
    /** @type {Record<string, string>} */
    const headers = { Authorization: `Bearer ${this.#token}` };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    /** @type {Response} */
    let answer;
    try {
      const sent = body === undefined ? null : JSON.stringify(body);
      answer = await this.#fetch(address, { method, headers, body: sent, signal: signal ?? null });
    } catch (cause) {
      throw signal?.aborted ? cause : lost(cause);
    }
    if (!answer.ok) throw errorOf(answer.status, await errorBody(answer), answer.headers);
    return answer;
  }
}

/** @type {OrkestrClient | undefined} */
let usual;

/**
 * The client that is used where none is given: made from the environment when first needed.
 * @returns {OrkestrClient}
 */
export function defaultClient() {
  usual ??= new OrkestrClient();
  return usual;
}

/**
 * Use another client from now on where none is given.
 * @param {OrkestrClient | undefined} client
 */
export function setDefaultClient(client) {
  usual = client;
}

/** @param {unknown} cause */
function lost(cause) {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new ConnectionError(`The server did not answer: ${why}. Check baseUrl and the network.`, { cause });
}

/** @param {Response} answer */
async function errorBody(answer) {
  try {
    const body = await answer.json();
    return body !== null && typeof body === "object" ? body : {};
  } catch {
    return {};
  }
}

/**
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<any, void, void>}
 */
async function* frames(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause) => {
        throw lost(cause);
      });
      rest += decoder.decode(value, { stream: !done });
      const lines = rest.split(/\r?\n/);
      rest = done ? "" : (lines.pop() ?? "");
      for (const line of lines) {
        if (line.startsWith("data:")) yield JSON.parse(line.slice(5));
      }
      if (done) return;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
