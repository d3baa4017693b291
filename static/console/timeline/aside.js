// The details beside the timeline: shown where there is room, or when asked for.

const box = document.getElementById("box-body");

export function toggleAside() {
  const shown = getComputedStyle(document.getElementById("details")).display !== "none";
  box.dataset.aside = shown ? "closed" : "open";
}

document.addEventListener("click", ({ target }) => target.closest?.("[data-toggle-aside]") && toggleAside());
