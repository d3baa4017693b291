// A recording in the page: its controls, and the screen that it plays on.
import { follow } from "../timeline/beside.js";
import { parse, Player } from "./player.js";
import { shrinkTo } from "./screen.js";

const two = (number) => String(number).padStart(2, "0");
const clock = (seconds) => `${Math.floor(seconds / 60)}:${two(Math.floor(seconds % 60))}`;

export async function replay(root, part, { terminal, room }) {
  const response = await fetch(root.dataset.recording, { credentials: "same-origin" });
  if (!response.ok) throw new Error(response.statusText);
  let size = null;
  const player = new Player(terminal, parse(await response.text()), {
    resized(to) {
      size = to;
      shrinkTo(terminal, room, size);
    },
    changed: paint,
  });
  const slider = part("position");

  function paint() {
    slider.max = player.length;
    slider.value = player.position;
    slider.setAttribute("aria-valuetext", `${clock(player.position)} of ${clock(player.length)}`);
    part("clock").textContent = `${clock(player.position)} / ${clock(player.length)}`;
    part("play").dataset.playing = player.playing;
    part("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  }

  const toggle = () => (player.playing ? player.pause() : player.play());
  part("play").addEventListener("click", toggle);
  slider.addEventListener("input", () => player.seek(Number(slider.value)));
  part("speed").addEventListener("change", ({ target }) => (player.speed = Number(target.value)));
  part("idle").addEventListener("change", ({ target }) => player.cutIdle(target.checked));
  document.addEventListener("keydown", (event) => {
    if (event.target.closest?.("input:not([type=range]),select,dialog,button,a")) return;
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    const keys = {
      " ": toggle,
      ArrowRight: () => player.seek(player.position + 5),
      ArrowLeft: () => player.seek(player.position - 5),
      Home: () => player.seek(0),
      End: () => player.seek(player.length),
    };
    if (!keys[event.key] || (event.target === slider && event.key !== " ")) return;
    event.preventDefault();
    keys[event.key]();
  });
  new ResizeObserver(() => size && shrinkTo(terminal, room, size)).observe(part("stage"));
  part("player").hidden = false;
  root.dataset.ready = "";
  // The moment that the timeline stood at; else what it ended with, which is what most people look for.
  player.seek(root.dataset.second ? player.placeOf(Number(root.dataset.second)) : player.length);
  paint();
  follow(root.dataset.sandbox, (at) => {
    player.pause();
    player.seek(at === null ? player.length : player.placeOf(at / 1e3 - Number(root.dataset.opened) / 1e6));
  });
}
