import { Sandbox } from "orkestr-console-client";

const steps = ["echo 41 > n", "cat missing", "echo $(($(cat n) + 1))"]; // a model's, one after the other
const sandbox = await Sandbox.create({ template: "debian-12", network: "restricted" });
try {
  for (const command of steps) {
    const { stdout, stderr, exitCode } = await sandbox.exec(command, { timeoutSeconds: 120 });
    console.log(exitCode, (stdout || stderr).trim());
  }
} finally {
  await sandbox.terminate();
}
