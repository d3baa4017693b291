// The terminal's page: a live terminal that many watch and one drives, or a recording.
import { say } from "../app.js";
import { live } from "./live.js";
import { replay } from "./replay.js";
import { fontsReady, makeScreen } from "./screen.js";

const root = document.getElementById("terminal");
const part = (name) => root.querySelector(`[data-part="${name}"]`);

document.addEventListener("htmx:afterSwap", () => sizes());

/** Forms that open a terminal tell how large it may be. */
let room = () => null;
function sizes() {
  const { rows, cols } = room() ?? guess();
  for (const input of document.querySelectorAll("input[name=rows]")) input.value = rows;
  for (const input of document.querySelectorAll("input[name=columns]")) input.value = cols;
}

function guess() {
  const { clientWidth, clientHeight } = part("stage") ?? root;
  return { rows: Math.max(5, Math.floor(clientHeight / 17) || 24), cols: Math.max(20, Math.floor(clientWidth / 8) || 80) };
}

// A link leads out of the console: its whole address is shown before anything is opened.
function link(address) {
  if (!/^https?:\/\//i.test(address)) return;
  const dialog = document.getElementById("follow-link");
  dialog.querySelector("[data-part=address]").textContent = address;
  dialog.querySelector("a").href = address;
  dialog.showModal();
}
document.querySelector("#follow-link a")?.addEventListener("click", ({ target }) => target.closest("dialog").close());

async function start() {
  sizes();
  const place = part("screen");
  if (!place) return;
  await fontsReady(place);
  const isOpen = root.dataset.terminalStatus === "open";
  const screen = makeScreen(place, { link, typed: isOpen });
  room = screen.room;
  sizes();
  if (isOpen) live(root, part, screen);
  else await replay(root, part, screen).catch(() => say("The recording could not be loaded. Reload the page to try again.", "error"));
}

start();
