// The list of sandboxes: choosing rows, which outlives what the socket puts in their place.
import { focusedRow, isForPage, walkRows } from "./rows.js";

const chosen = new Set();
const rows = () => [...document.querySelectorAll(".list-row")];
const picks = () => [...document.querySelectorAll(".list-row .pick")];

walkRows(rows);

function show() {
  const all = picks();
  const here = new Set(all.map((pick) => pick.value));
  for (const id of [...chosen]) if (!here.has(id)) chosen.delete(id);
  for (const pick of all) {
    pick.checked = chosen.has(pick.value);
    pick.closest(".list-row").toggleAttribute("data-chosen", pick.checked);
  }
  const whole = document.querySelector(".pick-all");
  if (whole) {
    whole.checked = all.length > 0 && chosen.size === all.length;
    whole.indeterminate = chosen.size > 0 && chosen.size < all.length;
  }
  const bar = document.getElementById("bulk");
  if (!bar) return;
  bar.toggleAttribute("data-some", chosen.size > 0);
  const said = `${chosen.size} chosen`;
  const count = bar.querySelector(".bulk-count");
  if (count.textContent !== said) count.textContent = said;
}

function choose(pick, on) {
  if (on) chosen.add(pick.value);
  else chosen.delete(pick.value);
}

document.addEventListener("change", ({ target }) => {
  if (!target.matches?.(".pick")) return;
  if (target.matches(".pick-all")) for (const pick of picks()) choose(pick, target.checked);
  else choose(target, target.checked);
  show();
});

document.addEventListener("keydown", (event) => {
  if (!isForPage(event)) return;
  if (event.key === "/") {
    event.preventDefault();
    document.querySelector(".filters [name=q]").focus();
  }
  const pick = event.key === "x" && focusedRow(rows())?.querySelector(".pick");
  if (!pick) return;
  event.preventDefault();
  choose(pick, !chosen.has(pick.value));
  show();
});

// The form is part of what the socket renders again, for no reader in particular.
document.addEventListener("submit", ({ target }) => {
  if (!target.matches("#bulk")) return;
  const token = JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];
  const field = target.elements.csrfmiddlewaretoken ?? target.appendChild(document.createElement("input"));
  Object.assign(field, { type: "hidden", name: "csrfmiddlewaretoken", value: token });
}, true);

for (const name of ["htmx:wsAfterMessage", "htmx:afterSettle", "htmx:historyRestore"]) document.addEventListener(name, show);
show();
