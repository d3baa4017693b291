// Builds static/vendor: the stylesheet, fonts, htmx and its two extensions, each with its licence.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..");
const modules = join(root, "node_modules");
const out = join(root, "static", "vendor");

const copies = [
  ["htmx.org/dist/htmx.min.js", "htmx.min.js"],
  ["htmx-ext-ws/dist/ws.min.js", "htmx-ws.min.js"],
  ["idiomorph/dist/idiomorph-ext.min.js", "idiomorph-ext.min.js"],
  ["@fontsource-variable/geist/files/geist-latin-wght-normal.woff2", "geist-latin.woff2"],
  ["@fontsource-variable/geist-mono/files/geist-mono-latin-wght-normal.woff2", "geist-mono-latin.woff2"],
];
const licences = [
  "htmx.org",
  "htmx-ext-ws",
  "idiomorph",
  "tailwindcss",
  "daisyui",
  "@fontsource-variable/geist",
  "@fontsource-variable/geist-mono",
];

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, "licences"), { recursive: true });
for (const [from, to] of copies) copyFileSync(join(modules, from), join(out, to));

const listed = licences.map((name) => {
  const file = `${name.replace("@", "").replace("/", "-")}.txt`;
  copyFileSync(join(modules, name, "LICENSE"), join(out, "licences", file));
  const { version, license } = JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8"));
  return `${name} ${version} (${license ?? "0BSD"}): licences/${file}`;
});
writeFileSync(join(out, "README.txt"), `Built by \`npm ci && npm run build\`. Holds:\n\n${listed.join("\n")}\n`);

execFileSync(
  join(modules, ".bin", "tailwindcss"),
  ["--input", join(here, "console.css"), "--output", join(out, "console.css"), "--minify"],
  { cwd: root, stdio: "inherit" },
);
