import { Sandbox } from "orkestr-console-client";

await Sandbox.withTemp({ template: "debian-12" }, async (sandbox) => {
  for await (const chunk of sandbox.execStream("for i in 1 2 3; do echo step $i; sleep 0.2; done")) {
    console.log(chunk.isFinal ? `exit ${chunk.exitCode}` : chunk.data.trim());
  }
  for await (const chunk of sandbox.execStream("echo $$ > pid; echo begun; sleep 60")) {
    console.log(chunk.data.trim());
    break; // the command runs on, to its own timeout
  }
  console.log((await sandbox.exec("kill -0 $(cat pid)")).exitCode === 0 ? "runs on" : "gone");
});
