// Builds static/vendor: the stylesheet, fonts, htmx and its extensions, xterm.js, each with its licence.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { browserslistToTargets, transform } from "lightningcss";
import { compile } from "tailwindcss";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..");
const modules = join(root, "node_modules");
const out = join(root, "static", "vendor");

const copies = [
  ["htmx.org/dist/htmx.min.js", "htmx.min.js"],
  ["htmx-ext-ws/dist/ws.min.js", "htmx-ws.min.js"],
  ["idiomorph/dist/idiomorph-ext.min.js", "idiomorph-ext.min.js"],
  ["uplot/dist/uPlot.iife.min.js", "uplot.min.js"],
  ["uplot/dist/uPlot.min.css", "uplot.min.css"],
  ["@fontsource-variable/geist/files/geist-latin-wght-normal.woff2", "geist-latin.woff2"],
  ["@fontsource-variable/geist-mono/files/geist-mono-latin-wght-normal.woff2", "geist-mono-latin.woff2"],
];
// Modules that only the terminal's page loads; their source maps stay behind.
const modulesOf = [
  ["@xterm/xterm/lib/xterm.mjs", "xterm.js"],
  ["@xterm/addon-fit/lib/addon-fit.mjs", "xterm-fit.js"],
  ["@xterm/addon-unicode11/lib/addon-unicode11.mjs", "xterm-unicode11.js"],
  ["@xterm/addon-web-links/lib/addon-web-links.mjs", "xterm-web-links.js"],
  ["@xterm/xterm/css/xterm.css", "xterm.css"],
];
const licences = [
  "@xterm/xterm",
  "@xterm/addon-fit",
  "@xterm/addon-unicode11",
  "@xterm/addon-web-links",
  "htmx.org",
  "htmx-ext-ws",
  "idiomorph",
  "tailwindcss",
  "daisyui",
  "uplot",
  "@fontsource-variable/geist",
  "@fontsource-variable/geist-mono",
];

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, "licences"), { recursive: true });
for (const [from, to] of copies) copyFileSync(join(modules, from), join(out, to));
for (const [from, to] of modulesOf) {
  const code = readFileSync(join(modules, from), "utf8").replace(/^\/\/# sourceMappingURL=.*$/gm, "");
  writeFileSync(join(out, to), `${code.trimEnd()}\n`);
}

const listed = licences.map((name) => {
  const file = `${name.replace("@", "").replace("/", "-")}.txt`;
  copyFileSync(join(modules, name, "LICENSE"), join(out, "licences", file));
  const { version, license } = JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8"));
  return `${name} ${version} (${license ?? "0BSD"}): licences/${file}`;
});
writeFileSync(join(out, "README.txt"), `Built by \`npm ci && npm run build\`. Holds:\n\n${listed.join("\n")}\n`);

writeFileSync(join(out, "console.css"), await stylesheet(join(here, "console.css")));

/** Tailwind for the class names that the templates and scripts use, made small. */
async function stylesheet(file) {
  const require = createRequire(file);
  const relative = (id) => id.startsWith(".");
  const { build } = await compile(readFileSync(file, "utf8"), {
    base: here,
    async loadStylesheet(id, base) {
      const path = relative(id) ? resolve(base, id) : join(modules, id, "index.css");
      return { path, base: dirname(path), content: readFileSync(path, "utf8") };
    },
    async loadModule(id, base) {
      const path = relative(id) ? resolve(base, id) : require.resolve(id);
      const { default: module } = await import(pathToFileURL(path).href);
      return { path, base: dirname(path), module };
    },
  });
  const words = [join(root, "templates"), join(root, "static", "console")].flatMap(candidates);
  const code = Buffer.from(build([...new Set(words)].sort()));
  const targets = browserslistToTargets(["chrome 111", "firefox 128", "safari 16.4"]);
  return transform({ filename: "console.css", code, targets, minify: true }).code;
}

/** Everything in a folder's files that could be a class name. */
function candidates(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(html|js)$/.test(entry.name))
    .flatMap((entry) => readFileSync(join(entry.parentPath ?? entry.path, entry.name), "utf8").match(/[^<>"'`\s{}%]+/g) ?? []);
}
