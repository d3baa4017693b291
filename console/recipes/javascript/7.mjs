import { PlanLimitError, Sandbox } from "orkestr-console-client";

const { maxConcurrent } = await Sandbox.limits();
const numbers = Array.from({ length: maxConcurrent }, (_, number) => number);
const sandboxes = await Promise.all(numbers.map(() => Sandbox.create({ template: "debian-12" })));
try {
  const results = await Promise.all(sandboxes.map((sandbox, n) => sandbox.exec(`echo $((${n} * 2))`)));
  console.log(results.every(({ stdout }, n) => Number(stdout) === n * 2) ? "all done" : "something is wrong");
  await Sandbox.create({ template: "debian-12" });
} catch (error) {
  if (!(error instanceof PlanLimitError)) throw error;
  console.log("one more is too many");
} finally {
  await Promise.all(sandboxes.map((sandbox) => sandbox.terminate()));
}
