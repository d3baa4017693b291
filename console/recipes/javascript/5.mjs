import { Sandbox } from "orkestr-console-client";

const script = `
import csv, json
rows = list(csv.DictReader(open("sales.csv")))
json.dump({"total": sum(int(row["amount"]) for row in rows)}, open("out.json", "w"))
`;
await Sandbox.withTemp({ template: "python-3.12" }, async (sandbox) => {
  await sandbox.files.write("/workspace/sales.csv", "name,amount\na,40\nb,2\n");
  await sandbox.files.write("/workspace/sum.py", script);
  await sandbox.exec("python3 sum.py");
  console.log(JSON.parse(await sandbox.files.read("/workspace/out.json")).total);
});
