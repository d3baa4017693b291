// The keyboard: j k to walk the commands, e to open one, f to hold, / to search, End to go live.

const TYPING = "input, textarea, select, [contenteditable]";

/** `does` maps a key to what it does; answers to keys only while nobody types. */
export function keys(does) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.target.closest?.(TYPING)) {
      if (event.key === "Escape" && event.target.matches("input")) event.target.blur();
      return;
    }
    if (["Enter", " "].includes(event.key) && event.target.closest?.("a, button, summary")) return;
    const action = does[event.key];
    if (!action) return;
    event.preventDefault();
    action(event);
  });
}

/** Walks the commands that are shown, from the chosen one or from what is in view. */
export function walk(list, scroller, step) {
  const cards = [...list.querySelectorAll(":scope > .card:not([data-out])")];
  const chosen = cards.findIndex((card) => "chosen" in card.dataset);
  if (chosen >= 0) return cards[Math.min(cards.length - 1, Math.max(0, chosen + step))];
  const box = scroller.getBoundingClientRect();
  const visible = cards.filter((card) => card.getBoundingClientRect().bottom > box.top && card.getBoundingClientRect().top < box.bottom);
  return step > 0 ? visible[0] : visible.at(-1);
}
