// Marks what was searched for, without touching the rows: a highlight of the browser's own.

const MOST = 1500;

/** Marks every match of `parts` (global expressions) below `root`; an empty list marks nothing. */
export function highlight(root, parts) {
  if (!globalThis.Highlight) return;
  CSS.highlights.delete("found");
  if (!parts.length) return;
  const ranges = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node && ranges.length < MOST; node = walker.nextNode()) {
    if (node.length < 2 || node.parentElement.closest("time, button, .pill, .chip, .card-part")) continue;
    const text = node.data.toLowerCase();
    if (text.length !== node.length) continue;
    for (const part of parts) mark(node, text, part, ranges);
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

function mark(node, text, part, ranges) {
  for (const { index, 0: found } of text.matchAll(part)) {
    const range = new Range();
    range.setStart(node, index);
    range.setEnd(node, index + found.length);
    ranges.push(range);
  }
}
