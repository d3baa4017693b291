import { Files } from "./files.js";
export type OrkestrClient = import("./client.js").OrkestrClient;
export type SandboxStatus = "starting" | "running" | "pausing" | "paused" | "resuming" | "terminated" | "failed";
export type CreateOptions = {
    /**
     * `python-3.12`, `python-3.12-bare`, `node-22`, `debian-12`, `code-interpreter`
     */
    template?: string;
    /**
     * instead of a template: fork this one
     */
    snapshot?: string;
    size?: "small" | "medium" | "large";
    /**
     * what it reaches; nothing unless said
     */
    network?: "off" | "restricted" | "open";
    /**
     * instead of the default allowlist, `restricted` only
     */
    allowDomains?: string[];
    /**
     * until it ends by itself, 10 to 3600
     */
    timeoutSeconds?: number;
    onTimeout?: "kill" | "pause";
    /**
     * wake it for the next command when it is paused
     */
    autoResume?: boolean;
    /**
     * its ports ask for a token
     */
    previewAuth?: boolean;
    /**
     * for every command in it
     */
    env?: Record<string, string>;
    /**
     * to find it by
     */
    metadata?: Record<string, string>;
    region?: string;
    /**
     * what is to be at /persist
     */
    volume?: string;
    /**
     * how long to try again while the host is full (30)
     */
    retryMaxSeconds?: number;
    client?: OrkestrClient;
};
export type ExecOptions = {
    cwd?: string;
    /**
     * over the sandbox's own
     */
    env?: Record<string, string>;
    /**
     * until the command is stopped (60)
     */
    timeoutSeconds?: number;
    /**
     * gives up waiting; the command runs on to its own timeout
     */
    signal?: AbortSignal;
};
export type ExecResult = {
    stdout: string;
    stderr: string;
    exitCode: number;
    durationMs: number;
};
export type ExecChunk = {
    stream: "stdout" | "stderr";
    data: string;
    exitCode: number | null;
    durationMs: number | null;
    isFinal: boolean;
};
export type SandboxLimits = {
    plan: string;
    allowedSizes: string[];
    sizes: {
        size: string;
        cpu: number;
        memoryMb: number;
        allowed: boolean;
    }[];
    regions: {
        id: string;
        label: string;
    }[];
    maxConcurrent: number;
    maxSnapshots: number;
    maxNamedSnapshots: number;
    maxTimeoutSeconds: number;
    customEgressAllowlist: boolean;
    defaultEgressDomains: string[];
    trialCreditEur: number;
    trialCreditUsedEur: number;
    maxRunningLifetimeSeconds: number | null;
};
export type SandboxMetricsSample = {
    t: Date;
    cpuPercent: number;
    memBytes: number;
};
export type SandboxMetrics = {
    sandboxId: string;
    sandboxStatus: SandboxStatus;
    asOf: Date;
    /**
     * asking more often tells nothing new
     */
    sampleIntervalSeconds: number;
    windowSeconds: number;
    cpu: {
        cores: number;
        usageCores: number | null;
        usagePercent: number | null;
    };
    memory: {
        limitBytes: number;
        usageBytes: number | null;
        usagePercent: number | null;
    };
    lifetime: {
        cpuSeconds: number;
        gbSeconds: number;
    };
    samples: SandboxMetricsSample[];
};
/** One sandbox, as it was when the server last told of it; `refresh` asks again. */
export declare class Sandbox {
    #private;
    /** @readonly */
    files: Files;
    /**
     * Made by `create`, `get`, `list` and `resume`.
     * @param {OrkestrClient} client
     * @param {any} told what the server said of it
     */
    constructor(client: OrkestrClient, told: any);
    /**
     * Make one. It runs when this resolves.
     * @param {CreateOptions} options
     * @returns {Promise<Sandbox>}
     */
    static create(options: CreateOptions): Promise<Sandbox>;
    /**
     * Make one for `use`, and end it afterwards, whatever happens. What `use` gives.
     * @template T
     * @param {CreateOptions} options
     * @param {(sandbox: Sandbox) => Promise<T> | T} use
     * @returns {Promise<T>}
     */
    static withTemp<T>(options: CreateOptions, use: (sandbox: Sandbox) => Promise<T> | T): Promise<T>;
    /**
     * @param {string} id
     * @param {{client?: OrkestrClient}} [options]
     * @returns {Promise<Sandbox>}
     */
    static get(id: string, { client }?: {
        client?: OrkestrClient;
    }): Promise<Sandbox>;
    /**
     * The account's, newest first, as many as `limit` says.
     * @param {{status?: SandboxStatus, metadata?: Record<string, string>, limit?: number, client?: OrkestrClient}} [options]
     * @returns {Promise<Sandbox[]>}
     */
    static list({ status, metadata, limit, client }?: {
        status?: SandboxStatus;
        metadata?: Record<string, string>;
        limit?: number;
        client?: OrkestrClient;
    }): Promise<Sandbox[]>;
    /**
     * Let a paused one go on where it was.
     * @param {string} id
     * @param {{retryMaxSeconds?: number, client?: OrkestrClient}} [options]
     * @returns {Promise<Sandbox>}
     */
    static resume(id: string, { retryMaxSeconds, client }?: {
        retryMaxSeconds?: number;
        client?: OrkestrClient;
    }): Promise<Sandbox>;
    /**
     * What the plan covers.
     * @param {{client?: OrkestrClient}} [options]
     * @returns {Promise<SandboxLimits>}
     */
    static limits({ client }?: {
        client?: OrkestrClient;
    }): Promise<SandboxLimits>;
    /** @returns {string} */
    get id(): string;
    /** @returns {SandboxStatus} */
    get status(): SandboxStatus;
    /** @returns {string} */
    get template(): string;
    /** @returns {string} */
    get size(): string;
    /** @returns {"off" | "restricted" | "open"} */
    get network(): "off" | "restricted" | "open";
    /** @returns {number} */
    get cpu(): number;
    /** @returns {number} */
    get memoryMb(): number;
    /** @returns {Record<string, string>} */
    get metadata(): Record<string, string>;
    /** @returns {Date} */
    get createdAt(): Date;
    /** @returns {Date} */
    get expiresAt(): Date;
    /** @returns {string | null} */
    get volume(): string | null;
    /**
     * Run a command in the shell and wait for its end. An exit code other than 0 is a result.
     * @param {string} command
     * @param {ExecOptions} [options]
     * @returns {Promise<ExecResult>}
     */
    exec(command: string, options?: ExecOptions): Promise<ExecResult>;
    /**
     * Run a command and get its output as it is written. Breaking off leaves it running to its own timeout.
     * @param {string} command
     * @param {ExecOptions} [options]
     * @returns {AsyncGenerator<ExecChunk, void, void>}
     */
    execStream(command: string, { signal, ...options }?: ExecOptions): AsyncGenerator<ExecChunk, void, void>;
    /**
     * Ask the server how it is now.
     * @returns {Promise<this>}
     */
    refresh(): Promise<this>;
    /**
     * Let it live so many seconds from now on.
     * @param {number} timeoutSeconds
     * @returns {Promise<void>}
     */
    setTimeout(timeoutSeconds: number): Promise<void>;
    /**
     * What it uses, now and over its life; also of one that is paused or over. With `since`, only samples after that second.
     * @param {{since?: Date}} [options]
     * @returns {Promise<SandboxMetrics>}
     */
    metrics({ since }?: {
        since?: Date;
    }): Promise<SandboxMetrics>;
    /**
     * The address under which a browser sees a port of it.
     * @param {number} port
     * @returns {Promise<string>}
     */
    previewUrl(port: number): Promise<string>;
    /**
     * Hold it still, with processes, memory and files, and stop its meter. Its id, for `resume`.
     * @returns {Promise<string>}
     */
    pause(): Promise<string>;
    /**
     * End it for good. Ending one that has ended already is fine.
     * @returns {Promise<void>}
     */
    terminate(): Promise<void>;
}
