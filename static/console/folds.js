// What folds out over a page folds in again: with Escape, and with a click elsewhere.
document.addEventListener("toggle", ({ target, newState }) => {
  const field = newState === "open" && target.matches?.("details[data-folds]") && target.querySelector("input:not([type=hidden])");
  if (!field) return;
  field.focus();
  field.select();
}, true);
document.addEventListener("pointerdown", ({ target }) => {
  for (const open of document.querySelectorAll("details[data-folds][open]")) if (!open.contains(target)) open.open = false;
});
document.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && document.querySelector("details[data-folds][open]");
  if (!open) return;
  open.open = false;
  open.querySelector("summary").focus();
});
