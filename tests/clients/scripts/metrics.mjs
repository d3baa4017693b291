import { Sandbox } from "orkestr-console-client";

/** The first metrics of the sandbox that are so. */
async function when(sandbox, isSo) {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; ) {
    const metrics = await sandbox.metrics();
    if (isSo(metrics)) return metrics;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error("The metrics never were so.");
}

const sandbox = await Sandbox.create({ template: "debian-12" });
try {
  await sandbox.exec("n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done");
  const now = await when(sandbox, ({ samples, lifetime }) => samples.length >= 2 && lifetime.cpuSeconds > 0.1);
  console.log(now.sandboxId === sandbox.id, now.sandboxStatus, now.asOf instanceof Date, Object.keys(now).length);
  console.log(now.cpu.cores, typeof now.cpu.usageCores, typeof now.cpu.usagePercent);
  console.log(now.memory.limitBytes, now.memory.usageBytes > 0, now.memory.usagePercent < 100);
  const [first, second] = now.samples;
  console.log(second.t > first.t, typeof first.cpuPercent, first.memBytes > 0);
  const later = await sandbox.metrics({ since: first.t });
  console.log(later.samples[0].t.getTime() === second.t.getTime());
  await sandbox.terminate();
  const over = await sandbox.metrics();
  console.log(over.sandboxStatus, over.cpu.usagePercent, over.memory.usageBytes, over.samples.length);
  console.log(over.lifetime.cpuSeconds >= now.lifetime.cpuSeconds, over.lifetime.gbSeconds > 0);
} finally {
  await sandbox.terminate();
}
