// What can go wrong. Every error of this client is an OrkestrError; `code` is the server's own word for it.

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
export class OrkestrError extends Error {
  /**
   * @param {string} message
   * @param {ErrorOptions} [options]
   */
  constructor(message, options = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.status = options.status;
    this.code = options.code;
    this.requestId = options.requestId;
    this.retryAfter = options.retryAfter;
    this.signal = options.signal;
    this.stdout = options.stdout;
    this.stderr = options.stderr;
  }
}

/** No token, one that is not good (401), or one without the scope (403). */
export class AuthError extends OrkestrError {}
/** Too much at once (429); `retryAfter` says when to try again. */
export class RateLimitError extends OrkestrError {}
/** The plan does not cover it, or its credit is used up. */
export class PlanLimitError extends OrkestrError {}
/** As many paused sandboxes are kept as the plan covers. */
export class SnapshotCapReached extends PlanLimitError {}
/** No room on the host just now; `create` and `resume` have tried again already. */
export class FleetFull extends OrkestrError {}
/** No such sandbox, or nothing of that name in it. */
export class SandboxNotFound extends OrkestrError {}
/** The sandbox is paused, has ended, or is in no state for this. */
export class SandboxNotReady extends OrkestrError {}
/** A command ran longer than its time. The sandbox lives on. */
export class ExecTimeout extends OrkestrError {}
/** A signal ended a command. */
export class ExecKilled extends OrkestrError {}
/** The sandbox's network does not reach that. */
export class NetworkPolicyError extends OrkestrError {}
/** Any other answer that is no success. */
export class APIError extends OrkestrError {}
/** No answer at all. */
export class ConnectionError extends OrkestrError {}

/** @type {Record<string, typeof OrkestrError>} */
const BY_CODE = {
  snapshot_cap_reached: SnapshotCapReached,
  network_policy_blocked: NetworkPolicyError,
  exec_timeout: ExecTimeout,
  exec_killed: ExecKilled,
  fleet_full_retry: FleetFull,
  plan_limit: PlanLimitError,
  usage_exhausted: PlanLimitError,
};
/** @type {Record<number, typeof OrkestrError>} */
const BY_STATUS = {
  401: AuthError,
  403: AuthError,
  404: SandboxNotFound,
  409: SandboxNotReady,
  429: RateLimitError,
};

/**
 * The error of an answer, or of the last frame of a stream.
 * @param {number} status
 * @param {Record<string, any>} body
 * @param {Headers} [headers]
 * @returns {OrkestrError}
 */
export function errorOf(status, body, headers) {
  const Kind = BY_CODE[body.code] ?? BY_STATUS[status] ?? APIError;
  const retry = Number(headers?.get("retry-after") ?? body.retry_after ?? NaN);
  return new Kind(String(body.detail ?? body.message ?? `The server answered ${status}.`), {
    status,
    code: body.code,
    requestId: headers?.get("x-request-id") ?? undefined,
    retryAfter: Number.isFinite(retry) ? retry : undefined,
    signal: body.signal,
    stdout: body.stdout,
    stderr: body.stderr,
  });
}
