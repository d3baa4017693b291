import { Sandbox } from "orkestr-console-client";
await Sandbox.withTemp({ template: "debian-12", env: { GREETING: "hi" } }, async (sandbox) => {
  const { files } = sandbox;
  const bytes = Uint8Array.from({ length: 200_000 }, (_, at) => at % 256);
  console.log(await files.write("/workspace/a/bytes", bytes, { mode: 0o600 }));
  const back = await files.readBytes("/workspace/a/bytes");
  console.log(back.length === bytes.length && back.every((byte, at) => byte === bytes[at]));
  await files.write("/workspace/a/text", "\ufeffétat €\n");
  console.log(JSON.stringify(await files.read("/workspace/a/text")));
  await files.mkdir("/workspace/b/c");
  await files.move("/workspace/a/text", "/workspace/b/text");
  const listed = await files.list("/workspace/b");
  console.log(listed.map(({ name, isDir }) => `${name} ${isDir}`).sort().join(", "));
  const { exists, size, mode, modifiedAt } = await files.stat("/workspace/a/bytes");
  console.log(exists, size, mode.toString(8), modifiedAt instanceof Date);
  await files.delete("/workspace/a/bytes");
  console.log(await files.exists("/workspace/a/bytes"));
  const rows = await files.writeBatch([
    { path: "/workspace/one", content: "1" },
    { path: "/etc/two", content: "2" },
  ]);
  console.log(rows.map(({ bytesWritten, error }) => bytesWritten ?? error.code).join(" "));
  const up = await files.presignUpload("/workspace/up");
  await fetch(up.url, { method: up.method, body: "by link" });
  const down = await files.presignDownload("/workspace/up");
  console.log(await (await fetch(down.url)).text());
  const long = "printf '\\342'; sleep 0.2; printf '\\202\\254'; echo $GREETING $ASKED >&2; exit 3";
  console.log(JSON.stringify({ ...await sandbox.exec(long, { env: { ASKED: "x" }, timeoutSeconds: 300 }), durationMs: 0 }));
  console.log(JSON.stringify({ ...await sandbox.exec(long, { cwd: "/tmp" }), durationMs: 0 }));
  await sandbox.setTimeout(1200);
  console.log(Math.round((sandbox.expiresAt - Date.now()) / 60_000), (await sandbox.previewUrl(80)).includes("80-"));
});
