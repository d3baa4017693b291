// One xterm.js screen: made the same way for a live terminal and for a recording.
import "./styles.js";
import { FitAddon } from "../../vendor/xterm-fit.js";
import { Unicode11Addon } from "../../vendor/xterm-unicode11.js";
import { WebLinksAddon } from "../../vendor/xterm-web-links.js";
import { Terminal } from "../../vendor/xterm.js";
import { followTheme } from "./theme.js";

export const FONT = 13;
const SMALLEST = 6;

/** `link(address)` is called when somebody wants to follow one. */
export function makeScreen(place, { link, typed }) {
  const open = (event, address) => link(address, event);
  const terminal = new Terminal({
    allowProposedApi: true, // unicode versions
    cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
    disableStdin: !typed,
    drawBoldTextInBrightColors: false,
    fontFamily: getComputedStyle(place).fontFamily,
    fontSize: FONT,
    linkHandler: { activate: open, allowNonHttpProtocols: false },
    macOptionIsMeta: true,
    minimumContrastRatio: 4.5,
    rescaleOverlappingGlyphs: true,
    scrollback: 10_000,
  });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  terminal.loadAddon(new Unicode11Addon());
  terminal.loadAddon(new WebLinksAddon((event, address) => open(event, address)));
  terminal.unicode.activeVersion = "11";
  terminal.open(place);
  followTheme((colours) => (terminal.options.theme = colours));
  return { terminal, room: () => fit.proposeDimensions() };
}

/** Makes the letters as large as a screen of that size has room for. */
export function shrinkTo(terminal, room, { columns, rows }) {
  const { fontSize } = terminal.options;
  const now = room();
  if (!now?.cols || !now?.rows) return;
  const scale = Math.min(now.cols / columns, now.rows / rows);
  const size = Math.max(SMALLEST, Math.min(FONT, Math.floor(fontSize * scale * 2) / 2));
  if (size !== fontSize) terminal.options.fontSize = size;
}

export async function fontsReady(place) {
  const family = getComputedStyle(place).fontFamily.split(",")[0];
  await Promise.all([document.fonts.load(`${FONT}px ${family}`), document.fonts.load(`bold ${FONT}px ${family}`)]).catch(() => {});
}
