// Notes and pins: the buttons beside the event one points at, and the list that follows the stream.
import { keys } from "./keys.js";

const root = document.getElementById("timeline");
const page = root.querySelector(".tl-page");
const rows = root.querySelector(".tl-rows");
const form = document.getElementById("note-form");
const list = () => document.getElementById("notes-list");
const field = (name) => form.elements[name];
const piece = (name) => form.querySelector(`[data-part="${name}"]`);

// Which part of the page a family of events makes stale.
const PARTS = { note: "notes-list", signal: "signals" };

let pinned = new Set();
let newest = Number(root.dataset.verified);

// --- rows show what is pinned and what a note says now ------------------------------------------

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
  if (target) aim(target);
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

// --- the buttons beside an event ----------------------------------------------------------------

let target = null;
const acts = form && document.createElement("div");

function button(icon, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "icon-btn";
  made.innerHTML = `<svg class="i" aria-hidden="true"><use href="#i-${icon}" /></svg>`;
  made.addEventListener("click", () => act(target));
  acts.append(made);
  return made;
}

function aim(row) {
  target = row;
  acts.hidden = !row;
  if (!row) return;
  const { seq } = row.dataset;
  const on = pinned.has(seq);
  for (const [made, label] of [[pin, `${on ? "Unpin" : "Pin"} #${seq} (p)`], [note, `Write a note on #${seq} (n)`]]) {
    made.title = label;
    made.setAttribute("aria-label", label);
  }
  pin.setAttribute("aria-pressed", on);
  const box = (row.querySelector(".card-box") ?? row).getBoundingClientRect();
  acts.style.top = `${box.top - page.getBoundingClientRect().top}px`;
}

function togglePin(row) {
  const { seq } = row.dataset;
  const address = form.dataset.pin.replace("/0/pin/", `/${seq}/${pinned.has(seq) ? "unpin" : "pin"}/`);
  htmx.ajax("POST", address, { source: list(), target: list(), swap: "outerHTML" });
}

let pin;
let note;
if (form) {
  acts.className = "tl-acts";
  acts.hidden = true;
  pin = button("pin", togglePin);
  note = button("note", (row) => compose({ about: row }));
  page.append(acts);
  rows.addEventListener("pointerover", (event) => {
    const row = event.target.closest(".tl-rows > .row[data-seq]");
    if (row && row !== target) aim(row);
  });
  page.addEventListener("pointerleave", () => aim(null));
  const chosen = () => rows.querySelector(":scope > [data-chosen]") ?? target;
  keys({
    p: () => chosen() && togglePin(chosen()),
    n: () => compose({ about: chosen() }),
  });
}

// --- writing ------------------------------------------------------------------------------------

function compose({ about = null, edit = null }) {
  document.getElementById("box-body").dataset.aside = "open";
  field("about").value = about?.dataset.seq ?? "";
  field("note").value = edit?.dataset.note ?? "";
  if (edit) field("text").value = edit.querySelector(".a-note-text").textContent;
  piece("note-about").hidden = !about && !edit;
  piece("note-about").textContent = edit ? "Your note, said differently" : `On #${about?.dataset.seq}: ${words(about)}`;
  piece("note-send").textContent = edit ? "Save" : "Add note";
  piece("note-cancel").hidden = !about && !edit;
  field("text").focus();
}

const words = (row) => (row?.querySelector(".card-command, .row-text")?.textContent ?? "").trim().replace(/\s+/g, " ").slice(0, 120);

function cancel() {
  form.reset();
  for (const name of ["about", "note"]) field(name).value = "";
  piece("note-send").textContent = "Add note";
  piece("note-about").hidden = piece("note-cancel").hidden = true;
}

form?.addEventListener("htmx:afterRequest", ({ detail }) => detail.elt === form && detail.successful && cancel());
form?.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  if (event.key === "Escape") cancel();
});
if (form) piece("note-cancel").addEventListener("click", cancel);
document.getElementById("notes").addEventListener("click", ({ target: { dataset } }) => {
  if (dataset.editNote) compose({ edit: document.querySelector(`[data-note="${dataset.editNote}"]`) });
});

follow();
