export type ErrorOptions = {
    /**
     * HTTP status of the answer, if there was one
     */
    status?: number;
    /**
     * the server's word for what happened
     */
    code?: string;
    /**
     * under which the server's log has it
     */
    requestId?: string;
    /**
     * seconds after which trying again makes sense
     */
    retryAfter?: number;
    /**
     * what ended a command
     */
    signal?: number;
    /**
     * what a command had written until then
     */
    stdout?: string;
    /**
     * the same, of its other stream
     */
    stderr?: string;
    cause?: unknown;
};
/**
 * @typedef {object} ErrorOptions
 * @property {number} [status] HTTP status of the answer, if there was one
 * @property {string} [code] the server's word for what happened
 * @property {string} [requestId] under which the server's log has it
 * @property {number} [retryAfter] seconds after which trying again makes sense
 * @property {number} [signal] what ended a command
 * @property {string} [stdout] what a command had written until then
 * @property {string} [stderr] the same, of its other stream
 * @property {unknown} [cause]
 */
/** The base of all. Its message is a sentence that says what to do. */
export declare class OrkestrError extends Error {
    status: number | undefined;
    code: string | undefined;
    requestId: string | undefined;
    retryAfter: number | undefined;
    signal: number | undefined;
    stdout: string | undefined;
    stderr: string | undefined;
    /**
     * @param {string} message
     * @param {ErrorOptions} [options]
     */
    constructor(message: string, options?: ErrorOptions);
}
/** No token, one that is not good (401), or one without the scope (403). */
export declare class AuthError extends OrkestrError {
}
/** Too much at once (429); `retryAfter` says when to try again. */
export declare class RateLimitError extends OrkestrError {
}
/** The plan does not cover it, or its credit is used up. */
export declare class PlanLimitError extends OrkestrError {
}
/** As many paused sandboxes are kept as the plan covers. */
export declare class SnapshotCapReached extends PlanLimitError {
}
/** No room on the host just now; `create` and `resume` have tried again already. */
export declare class FleetFull extends OrkestrError {
}
/** No such sandbox, or nothing of that name in it. */
export declare class SandboxNotFound extends OrkestrError {
}
/** The sandbox is paused, has ended, or is in no state for this. */
export declare class SandboxNotReady extends OrkestrError {
}
/** A command ran longer than its time. The sandbox lives on. */
export declare class ExecTimeout extends OrkestrError {
}
/** A signal ended a command. */
export declare class ExecKilled extends OrkestrError {
}
/** The sandbox's network does not reach that. */
export declare class NetworkPolicyError extends OrkestrError {
}
/** Any other answer that is no success. */
export declare class APIError extends OrkestrError {
}
/** No answer at all. */
export declare class ConnectionError extends OrkestrError {
}
/**
 * The error of an answer, or of the last frame of a stream.
 * @param {number} status
 * @param {Record<string, any>} body
 * @param {Headers} [headers]
 * @returns {OrkestrError}
 */
export declare function errorOf(status: number, body: Record<string, any>, headers?: Headers): OrkestrError;
