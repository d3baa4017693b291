// Sandboxes of an Orkestr console, from JavaScript: Node 18 and later, and browsers.
export { defaultClient, OrkestrClient, setDefaultClient } from "./client.js";
export {
  APIError,
  AuthError,
  ConnectionError,
  ExecKilled,
  ExecTimeout,
  FleetFull,
  NetworkPolicyError,
  OrkestrError,
  PlanLimitError,
  RateLimitError,
  SandboxNotFound,
  SandboxNotReady,
  SnapshotCapReached,
} from "./errors.js";
export { Files } from "./files.js";
export { Sandbox } from "./sandbox.js";
