import * as all from "orkestr-console-client";
const { OrkestrClient, OrkestrError, Sandbox } = all;
async function kind(action) {
  try {
    await action();
    return "none";
  } catch (error) {
    const names = Object.keys(all).filter((name) => all[name] === error.constructor);
    return [...names, error.status, error.code, error instanceof OrkestrError, error.message.length > 10].join(" ");
  }
}
const url = process.env.ORKESTR_BASE_URL;
const reader = new OrkestrClient({ apiKey: process.env.READER });
await Sandbox.withTemp({ template: "debian-12", metadata: { of: "errors" } }, async (sandbox) => {
  const seen = await Sandbox.get(sandbox.id, { client: reader });
  console.log(await kind(() => seen.exec("true")));
  console.log(await kind(() => new OrkestrClient({ apiKey: "ork_wrong", baseUrl: url }).request("GET", "/v1/sandboxes")));
  console.log(await kind(() => Sandbox.get("sbx_00000000000000000000000000")));
  console.log(await kind(() => sandbox.exec("kill -9 $$")));
  console.log(await kind(async () => { for await (const _ of sandbox.execStream("sleep 9", { timeoutSeconds: 1 })); }));
  console.log(await kind(() => sandbox.files.read("/workspace")));
  console.log(await kind(() => sandbox.files.write("/etc/x", "")));
  await sandbox.pause();
  console.log(sandbox.status, await kind(() => sandbox.exec("true")));
  console.log((await Sandbox.list({ metadata: { of: "errors" } })).length, (await Sandbox.list({ metadata: { of: "x" } })).length);
});
console.log(await kind(() => Sandbox.create({ template: "no-such" })));
for (const wrong of [{ timeout_seconds: 9 }, { apiKey: "ork_x" }]) {
  await Sandbox.create({ template: "debian-12", ...wrong }).catch((error) => console.log(error.name, error.message.slice(0, 36)));
}
console.log(await kind(() => Sandbox.limits({ client: new OrkestrClient({ baseUrl: "http://127.0.0.1:1" }) })));
const gone = new AbortController();
gone.abort();
await new OrkestrClient().request("GET", "/v1/sandboxes", { signal: gone.signal }).catch((error) => console.log(error.name));
