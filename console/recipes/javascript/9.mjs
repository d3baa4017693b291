import { OrkestrClient, Sandbox } from "orkestr-console-client";

// A token with no more scopes than it needs, limits asked for once, tight timeouts, a pause instead of waiting.
const client = new OrkestrClient();
const { allowedSizes } = await Sandbox.limits({ client });
const [size] = /** @type {["small"]} */ (allowedSizes);
const sandbox = await Sandbox.create({ template: "debian-12", size, timeoutSeconds: 60, client });
const { stdout } = await sandbox.exec("echo quick", { timeoutSeconds: 5 });
console.log(stdout.trim());
await sandbox.pause();
console.log((await Sandbox.list({ status: "paused", client })).some(({ id }) => id === sandbox.id));
await sandbox.terminate();
