// A write's diff comes when somebody wants to see it.

document.addEventListener("toggle", ({ target }) => {
  if (target.matches?.("details[data-diff]") && target.open) show(target);
}, true);

async function show(details) {
  const address = details.dataset.diff;
  delete details.dataset.diff;
  const place = document.createElement("div");
  place.className = "row-diff-body";
  place.textContent = "Loading…";
  details.append(place);
  try {
    const answer = await fetch(address, { credentials: "same-origin", headers: { "HX-Request": "true" } });
    if (!answer.ok) throw new Error(`answered ${answer.status}`);
    place.innerHTML = await answer.text();
  } catch {
    place.remove();
    details.dataset.diff = address;
    details.open = false;
  }
}
