import { Sandbox } from "orkestr-console-client";

await Sandbox.withTemp({ template: "python-3.12-bare", network: "restricted" }, async (sandbox) => {
  const installed = await sandbox.exec("pip install --quiet requests", { timeoutSeconds: 120 });
  console.log("pip", installed.exitCode);
  const other = "import requests; requests.get('https://not-listed.example.org/')";
  const refused = await sandbox.exec(`python3 -c "${other}"`);
  console.log("elsewhere", refused.stderr.includes("403") ? "refused" : refused.stderr);
});
