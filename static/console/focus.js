// What is drawn anew by itself hands its focus on, to the element that stands in for the focused one.
let had = null;

document.addEventListener("htmx:beforeSwap", ({ detail: { target } }) => {
  const focused = document.activeElement;
  const isInside = target.id && focused !== target && target.contains(focused);
  had = isInside ? { region: target.id, tag: focused.tagName, name: nameOf(focused) } : null;
});

document.addEventListener("htmx:afterSettle", () => {
  const left = had;
  had = null;
  if (!left || document.activeElement !== document.body) return;
  const heirs = document.querySelectorAll(`#${CSS.escape(left.region)} ${left.tag}`);
  [...heirs].find((heir) => nameOf(heir) === left.name)?.focus({ preventScroll: true });
});

function nameOf(element) {
  return element.id || element.getAttribute("href") || element.getAttribute("aria-label") || element.textContent.trim();
}
