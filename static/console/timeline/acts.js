// The buttons beside the event one points at, and writing notes. Comes with the first move over a row.

/** `form` is where notes are written, `list()` the list of all, `isPinned(seq)` what it holds. */
export function start({ page, rows, form, list, isPinned }) {
  let target = null;
  const field = (name) => form.elements[name];
  const piece = (name) => form.querySelector(`[data-part="${name}"]`);
  const acts = document.createElement("div");
  acts.className = "tl-acts";
  acts.hidden = true;
  const pin = button("pin", togglePin);
  const note = button("note", (row) => compose({ about: row }));
  page.append(acts);

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
    const on = isPinned(seq);
    for (const [made, label] of [[pin, `${on ? "Unpin" : "Pin"} #${seq} (p)`], [note, `Write a note on #${seq} (n)`]]) {
      made.title = label;
      made.setAttribute("aria-label", label);
    }
    pin.setAttribute("aria-pressed", on);
    const box = (row.querySelector(".card-box") ?? row).getBoundingClientRect();
    acts.style.top = `${box.top - page.getBoundingClientRect().top}px`;
  }

  function point(element) {
    const row = element?.closest(".tl-rows > .row[data-seq]");
    if (row && row !== target) aim(row);
  }
  rows.addEventListener("pointerover", (event) => point(event.target));
  page.addEventListener("pointerleave", () => aim(null));

  function togglePin(row) {
    const { seq } = row.dataset;
    const address = form.dataset.pin.replace("/0/pin/", `/${seq}/${isPinned(seq) ? "unpin" : "pin"}/`);
    htmx.ajax("POST", address, { source: list(), target: list(), swap: "outerHTML" });
  }

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

  form.addEventListener("htmx:afterRequest", ({ detail }) => detail.elt === form && detail.successful && cancel());
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    if (event.key === "Escape") cancel();
  });
  piece("note-cancel").addEventListener("click", cancel);

  const chosen = () => rows.querySelector(":scope > [data-chosen]") ?? target;
  return {
    point,
    edit: (seq) => compose({ edit: document.querySelector(`[data-note="${seq}"]`) }),
    p: () => chosen() && togglePin(chosen()),
    n: () => compose({ about: chosen() }),
    again: () => target && aim(target),
  };
}
