// Notes, pins and signals follow the stream; what writes them, and exports, come when they are wanted.
import { keys } from "./keys.js";

// Which part of the page a family of events makes stale.
const PARTS = { note: "notes-list", signal: "signals" };
const root = document.getElementById("timeline");
const page = root.querySelector(".tl-page");
const rows = root.querySelector(".tl-rows");
const form = document.getElementById("note-form");
const list = () => document.getElementById("notes-list");

let pinned = new Set();
let newest = Number(root.dataset.verified);
let acts;

function paint(scope) {
  for (const row of scope) if (row.dataset?.seq) row.toggleAttribute("data-pinned", pinned.has(row.dataset.seq));
}

function follow() {
  pinned = new Set(list().dataset.pinned.split(" ").filter(Boolean));
  paint(rows.children);
  for (const note of list().querySelectorAll("[data-edited]")) {
    const text = document.querySelector(`#e${note.dataset.note} .note-text`);
    if (text) text.textContent = note.querySelector(".a-note-text").textContent;
  }
  acts?.then(({ again }) => again());
}

new MutationObserver((changes) => {
  const stale = new Set();
  for (const { addedNodes } of changes) {
    paint(addedNodes);
    for (const row of addedNodes) {
      const part = PARTS[row.dataset?.kind?.split(".")[0]];
      if (!part || Number(row.dataset.seq) <= newest) continue;
      newest = Number(row.dataset.seq);
      stale.add(part);
    }
  }
  for (const part of stale) document.getElementById(part).dispatchEvent(new CustomEvent("stale"));
}).observe(rows, { childList: true });
document.addEventListener("htmx:afterSettle", ({ detail }) => detail.elt.id === "notes-list" && follow());

function act(use = () => {}) {
  acts ??= import("./acts.js").then(({ start }) => start({ page, rows, form, list, isPinned: (seq) => pinned.has(seq) }));
  acts.then(use);
}

if (form) {
  rows.addEventListener("pointerover", ({ target }) => act(({ point }) => point(target)), { once: true });
  form.addEventListener("focusin", () => act(), { once: true });
  keys({ p: () => act(({ p }) => p()), n: () => act(({ n }) => n()) });
  document.getElementById("notes").addEventListener("click", ({ target: { dataset } }) => {
    if (dataset.editNote) act(({ edit }) => edit(dataset.editNote));
  });
}

document.getElementById("exports").addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-name]");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  (await import("../export/export.js")).save(link);
});

follow();
