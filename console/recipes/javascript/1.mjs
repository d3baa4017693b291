import { Sandbox } from "orkestr-console-client";

const code = "print(sum(range(101)))";
const output = await Sandbox.withTemp({ template: "python-3.12" }, async (sandbox) => {
  await sandbox.files.write("/workspace/main.py", code);
  const { exitCode, stdout, stderr } = await sandbox.exec("python3 main.py");
  return exitCode === 0 ? stdout : stderr;
});
console.log(output.trim()); // and the sandbox is gone
