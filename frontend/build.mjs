// Builds static/vendor: the stylesheet, fonts, htmx and its extensions, xterm.js, each with its licence.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { browserslistToTargets, transform } from "lightningcss";
import subset from "subset-font";
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
];
// The typefaces with the weights that the stylesheet uses: a third smaller.
const weights = { wght: { min: 400, max: 700 } };
const fonts = ["geist", "geist-mono"];
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

for (const name of fonts) {
  const folder = join(modules, "@fontsource-variable", name);
  const { latin } = JSON.parse(readFileSync(join(folder, "unicode.json"), "utf8"));
  const font = readFileSync(join(folder, "files", `${name}-latin-wght-normal.woff2`));
  const options = { targetFormat: "woff2", variationAxes: weights };
  writeFileSync(join(out, `${name}-latin.woff2`), await subset(font, characters(latin), options));
}

const listed = licences.map((name) => {
  const file = `${name.replace("@", "").replace("/", "-")}.txt`;
  copyFileSync(join(modules, name, "LICENSE"), join(out, "licences", file));
  const { version, license } = JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8"));
  return `${name} ${version} (${license ?? "0BSD"}): licences/${file}`;
});
writeFileSync(join(out, "README.txt"), `Built by \`npm ci && npm run build\`. Holds:\n\n${listed.join("\n")}\n`);

/** Words of texts and scripts that would be classes too; no element has them, and each would cost every page some bytes. */
const SAID = new Set(["filter", "resize", "static", "table", "visible"]);
/** Rules of daisyUI for what the console has not: languages from right to left, popovers, running text, fields in fields. */
const UNUSED = /(?<=[{}])[^{};]*(?::lang\(|\[dir=rtl\]|\[popover\]|:popover-open|\[multiple\]|\.prose|\.select select(?=\{))[^{};]*\{[^{}]*\}/g;

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
  const code = Buffer.from(lean(build([...new Set(words)].filter((word) => !SAID.has(word)).sort())));
  const targets = browserslistToTargets(["chrome 111", "firefox 128", "safari 16.4"]);
  const { code: made } = transform({ filename: "console.css", code, targets, minify: true });
  return made.toString().replace(UNUSED, "");
}

/**
 * Without what no reader of the console needs. Every browser that is supported mixes colours, so no rule has to ask, and
 * knows `@property`, so nothing has to stand in for it.
 * Fields that hold another field, and themes by a checkbox, are not used; looking for either with `:has()` would cost
 * every change of a page a walk up from where it happened.
 */
function lean(css) {
  const asks = "@supports (color: color-mix(in lab, red, red)) {";
  for (let at = css.indexOf(asks); at >= 0; at = css.indexOf(asks, at)) {
    const end = blockEnd(css, at + asks.length);
    css = css.slice(0, at) + css.slice(at + asks.length, end - 1) + css.slice(end);
  }
  const standIn = css.indexOf("@layer properties {");
  if (standIn >= 0) css = css.slice(0, standIn) + css.slice(blockEnd(css, css.indexOf("{", standIn) + 1));
  return css
    .replace(/(?<=[\s;{])([a-z-]+): [^;{}]*;\s*(?=\1: [^;{}]*color-mix\()/g, "") // stood in for a mixed colour
    .replace(/\.(input|select|textarea):has\( ?> \1\[disabled\]\),\s*/g, "")
    .replace(/\.(input|select|textarea):has\( ?> \1\[disabled\]\)/g, ".$1")
    .replace(/, \.btn:has\(:focus-visible\)/g, "")
    .replace(/:root:has\(input\.theme-controller\[value="?\w+"?\]:checked\),\s*/g, "");
}

/** Where the block ends whose text begins at `from`. */
function blockEnd(css, from) {
  let [end, depth] = [from, 1];
  for (; depth; end += 1) depth += css[end] === "{" ? 1 : css[end] === "}" ? -1 : 0;
  return end;
}

/** The text of a range as stylesheets write it, `U+0000-00FF,U+0131`. */
function characters(range) {
  const parts = range.split(",").map((part) => part.slice(2).split("-").map((code) => parseInt(code, 16)));
  return parts.flatMap(([from, to = from]) => Array.from({ length: to - from + 1 }, (_, n) => String.fromCodePoint(from + n))).join("");
}

/** Everything in a folder's files that could be a class name. */
function candidates(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(html|js)$/.test(entry.name))
    .flatMap((entry) => readFileSync(join(entry.parentPath ?? entry.path, entry.name), "utf8").match(/[^<>"'`\s{}%]+/g) ?? []);
}
