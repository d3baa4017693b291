// The Files tab beyond links and forms: the tree's keys, the editor's, and uploads.
import { say } from "../app.js";
import { now } from "../time.js";
import { follow } from "../timeline/beside.js";
import { keys } from "../timeline/keys.js";
import { Tree } from "./tree.js";
import { listen } from "./upload.js";

const root = document.getElementById("files");
const pane = document.getElementById("file-pane");
const shown = () => pane.querySelector("[data-path]")?.dataset.path;

const nav = root.querySelector("[role=tree]");
const tree = nav && new Tree(nav, root.dataset.tree);
tree?.select(shown());
listen({ root, pane, changed: (folder) => tree?.reload(folder) });

document.addEventListener("tree-changed", ({ detail }) => tree?.reload(detail.folder));
document.addEventListener("file-saved", () => {
  saved();
  say("Saved.", "success");
});
pane.addEventListener("htmx:afterSettle", () => {
  tree?.select(shown());
  pane.querySelector("[autofocus]:not(dialog *)")?.focus();
});

// A list of the past moves with the timeline in a window beside it; files as they are now stay.
follow(root.dataset.sandbox, (at) => {
  if (!pane.querySelector("[data-past]")) return undefined;
  return window.htmx.ajax("GET", `${location.pathname}?at=${Math.round(at ?? now())}`, { target: "#file-pane" });
});

// --- the editor --------------------------------------------------------------------------------

let unsaved = false;
function saved() {
  unsaved = false;
}
pane.addEventListener("input", ({ target }) => {
  if (!target.matches(".edit-text")) return;
  unsaved = true;
  const mark = pane.querySelector("[data-dirty]");
  if (mark) mark.hidden = false;
});
pane.addEventListener("submit", ({ target }) => target.matches("#edit") && saved());
addEventListener("beforeunload", (event) => {
  if (unsaved && pane.querySelector(".edit-text")) event.preventDefault();
});
root.addEventListener("click", (event) => {
  const leaves = event.target.closest("a[href]");
  if (!leaves || !unsaved || !pane.querySelector(".edit-text")) return;
  if (confirm("Leave without saving what you typed?")) return saved();
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);
document.addEventListener("keydown", (event) => {
  const form = document.getElementById("edit");
  if (!form) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "s") {
    event.preventDefault();
    form.requestSubmit();
  } else if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    document.activeElement?.blur();
  }
});
pane.addEventListener("keydown", (event) => {
  if (!event.target.matches(".edit-text") || event.key !== "Tab" || event.shiftKey) return;
  event.preventDefault();
  event.target.setRangeText("\t", event.target.selectionStart, event.target.selectionEnd, "end");
  event.target.dispatchEvent(new Event("input", { bubbles: true }));
});

keys({ e: () => pane.querySelector("[data-key=e]")?.click() });
