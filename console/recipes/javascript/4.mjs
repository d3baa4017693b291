import { Sandbox } from "orkestr-console-client";

const sandbox = await Sandbox.create({ template: "debian-12", timeoutSeconds: 3600 });
await sandbox.exec("echo kept > file; nohup sleep 1000 >/dev/null 2>&1 & echo $! > pid");
const id = await sandbox.pause(); // the meter stops

// Later, in another process that knows the id:
const again = await Sandbox.resume(id);
const { stdout } = await again.exec("cat file; kill -0 $(cat pid) && echo runs");
console.log(stdout.trim());
await again.terminate();
