// Plays a run that was saved as one file. Everything it shows is in the page already.
const run = document.getElementById("run");
const byId = (name) => document.getElementById(name);
const IDLE = 2000; // a longer silence is cut to this many milliseconds

// Rows of a command go into its card, in their order.
const cards = new Map();
for (const row of [...run.children]) {
  const { span } = row.dataset;
  if (row.className === "start") {
    const card = document.createElement("section");
    const box = document.createElement("div");
    box.className = "box";
    row.before(card);
    card.append(row, box);
    cards.set(span, { card, box });
  } else if (span && cards.has(span)) {
    const { card, box } = cards.get(span);
    if (row.className === "end") {
      card.append(row);
      card.dataset.state = row.dataset.state;
    } else box.append(row);
  }
}

// Times with the silences cut out, so that a moment of the slider is a moment with something in it.
const rows = [...run.querySelectorAll("[data-t]")].sort((a, b) => a.dataset.t - b.dataset.t);
let [clock, before] = [0, 0];
const times = rows.map((row) => {
  const at = Number(row.dataset.t);
  clock += Math.min(IDLE, Math.max(0, at - before));
  before = at;
  return clock;
});
const length = Math.max(1, clock);
let shown = rows.length;
let moment = length;

function place(at) {
  moment = Math.min(length, Math.max(0, at));
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] <= moment) low = middle + 1;
    else high = middle;
  }
  for (let index = Math.min(low, shown); index < Math.max(low, shown); index += 1) {
    const row = rows[index];
    (row.className === "start" ? row.parentElement : row).toggleAttribute("data-later", index >= low);
  }
  shown = low;
  byId("at").value = (moment / length) * 1000;
  const seconds = Math.round(Number(rows[Math.max(0, low - 1)]?.dataset.t ?? 0) / 1000);
  byId("clock").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} · ${low} of ${rows.length}`;
}

let playing = 0;
let last = 0;
function step(now) {
  place(moment + (now - last) * Number(byId("speed").value));
  last = now;
  rows[shown - 1]?.scrollIntoView({ block: "nearest" });
  if (moment >= length) stop();
  else playing = requestAnimationFrame(step);
}
function stop() {
  cancelAnimationFrame(playing);
  playing = 0;
  byId("play").textContent = "▶";
  byId("play").setAttribute("aria-label", "Play");
}
function play() {
  if (playing) return stop();
  if (moment >= length) place(0);
  last = performance.now();
  byId("play").textContent = "❚❚";
  byId("play").setAttribute("aria-label", "Pause");
  playing = requestAnimationFrame(step);
}

byId("play").addEventListener("click", play);
byId("at").addEventListener("input", ({ target }) => place((target.value / 1000) * length));
byId("failed").addEventListener("change", ({ target }) => run.classList.toggle("only", target.checked));
addEventListener("keydown", (event) => {
  if (event.key !== " " || event.target.matches("button, select, input")) return;
  event.preventDefault();
  play();
});
document.querySelector(".bar").hidden = false;
place(length);
