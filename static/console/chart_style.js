// What every chart looks like: the page's own colours, letters and lines.

export function colours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return {
    line: of("--color-accent"),
    ok: of("--color-success"),
    bad: of("--color-error"),
    busy: of("--color-info"),
    turn: of("--color-warning"),
    ink: of("--ink-muted"),
    grid: of("--line"),
  };
}

/** An axis without values of its own. */
export function axis() {
  const ink = colours();
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return { font, stroke: ink.ink, grid: { stroke: ink.grid, width: 1 }, ticks: { stroke: ink.grid, width: 1 } };
}

/** The line of a chart, and the wash below it. */
export function line() {
  const { line: stroke } = colours();
  return { stroke, width: 2, points: { show: false }, fill: `color-mix(in oklab, ${stroke} 14%, transparent)` };
}

/** Calls `redraw` when the page turns light or dark. */
export function whenThemed(redraw) {
  new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
}
