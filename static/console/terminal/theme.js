// The terminal's colours are the console's, in whichever theme the page is.

const NAMES = [
  "black", "red", "green", "yellow", "blue", "magenta", "cyan", "white",
  "brightBlack", "brightRed", "brightGreen", "brightYellow", "brightBlue", "brightMagenta", "brightCyan", "brightWhite",
];
const brush = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });

/** Any colour of CSS as #rrggbb, which is what xterm.js understands. */
function hex(colour) {
  brush.clearRect(0, 0, 1, 1);
  brush.fillStyle = colour;
  brush.fillRect(0, 0, 1, 1);
  const [red, green, blue] = brush.getImageData(0, 0, 1, 1).data;
  return `#${[red, green, blue].map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

export function theme() {
  const styles = getComputedStyle(document.documentElement);
  const of = (name) => hex(styles.getPropertyValue(name).trim());
  const colours = Object.fromEntries(NAMES.map((name, index) => [name, of(`--ansi-${index}`)]));
  return {
    ...colours,
    background: of("--well"),
    foreground: of("--color-base-content"),
    cursor: of("--color-accent"),
    cursorAccent: of("--well"),
    selectionBackground: `${of("--color-accent")}55`,
    scrollbarSliderBackground: `${of("--ink-faint")}55`,
    scrollbarSliderHoverBackground: `${of("--ink-faint")}88`,
    scrollbarSliderActiveBackground: `${of("--ink-faint")}aa`,
  };
}

/** Calls `use` with the colours now and whenever the theme is switched. */
export function followTheme(use) {
  use(theme());
  new MutationObserver(() => use(theme())).observe(document.documentElement, { attributeFilter: ["data-theme"] });
}
