import { ExecTimeout, Sandbox } from "orkestr-console-client";

await Sandbox.withTemp({ template: "debian-12" }, async (sandbox) => {
  try {
    await sandbox.exec("(echo started; sleep 60) > /workspace/log", { timeoutSeconds: 1 });
  } catch (error) {
    if (!(error instanceof ExecTimeout)) throw error;
    console.log(error.code);
  }
  await sandbox.refresh();
  console.log(sandbox.status, (await sandbox.files.read("/workspace/log")).trim());
});
