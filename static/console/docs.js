// A token that is typed on the API page is shown in its snippets, and goes nowhere else.
const EMPTY = "ork_…";

for (const input of document.querySelectorAll("[data-fills]")) {
  const filled = document.querySelectorAll(`[data-filled="${input.dataset.fills}"]`);
  const fill = () => {
    for (const place of filled) place.textContent = input.value.trim() || EMPTY;
  };
  input.addEventListener("input", fill);
  fill(); // a browser may have kept it over a reload
}
// A link to one operation of the reference opens it.
const open = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", open);
open();
