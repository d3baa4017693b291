// Walking a list's rows with j and k; Enter follows the row's link by itself.

const TYPING = "input:not([type=checkbox]),textarea,select";

/** Whether a key is meant for the page: nobody types, no dialog is open, no chord. */
export function isForPage(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  return !document.querySelector("dialog[open]") && !event.target.closest?.(TYPING);
}

/** The row that has the focus. */
export const focusedRow = (rows) => rows.find((row) => row.contains(document.activeElement));

/** `rows()` are those that are shown; each has its link as `a.whole`. */
export function walkRows(rows) {
  document.addEventListener("keydown", (event) => {
    const step = { j: 1, k: -1 }[event.key];
    if (!step || !isForPage(event)) return;
    const all = rows();
    const at = all.findIndex((row) => row.contains(document.activeElement));
    const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step))];
    if (!next) return;
    event.preventDefault();
    next.querySelector("a.whole").focus();
    next.scrollIntoView({ block: "nearest" });
  });
}
