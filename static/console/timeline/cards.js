// What a command's card does: relative times, its colour, folding of long output.
import { millis, offset } from "../time.js";

/** Prepares a row that has just come in. `start` is the run's first moment in milliseconds. */
export function dresser(start) {
  return (row) => {
    const time = row.querySelector(".row-at time");
    if (time) time.textContent = offset(millis(row.dataset.at) - start);
  };
}

/** Offers "Show all" where a card is taller than its frames. Reads the layout of all, then changes them. */
export function measure(cards) {
  const held = [...cards].filter((card) => card.isConnected);
  cards.clear();
  for (const card of held) delete card.dataset.still;
  for (const change of held.map(measured)) change();
  if (held.length && !resting.size) setTimeout(rest, SETTLED);
  for (const card of held) resting.add(card);
}

const SETTLED = 200; // milliseconds within which cards that come in are told about together
const resting = new Set();

/** Tells the browser how tall the cards are that change no more: out of sight they cost nothing then, and move nothing. */
function rest() {
  const still = [...resting].filter((card) => card.dataset.state !== "running" && !("still" in card.dataset));
  resting.clear();
  // The size is told without the padding, which all cards have alike.
  const { paddingTop, paddingBottom } = still.length ? getComputedStyle(still[0]) : {};
  const padding = parseFloat(paddingTop) + parseFloat(paddingBottom);
  for (const [card, height] of still.map((card) => [card, card.getBoundingClientRect().height - padding])) {
    if (height <= 0) continue;
    card.style.containIntrinsicBlockSize = `auto ${height}px`;
    card.dataset.still = "";
  }
}

function measured(card) {
  if ("open" in card.dataset) return () => {};
  const clip = card.querySelector(".card-clip");
  const command = card.querySelector(".card-command");
  const output = clip.firstElementChild;
  const tall = output.offsetHeight > clip.clientHeight + 2;
  const long = command.scrollHeight > command.clientHeight + 2;
  return () => {
    clip.toggleAttribute("data-tall", tall);
    command.toggleAttribute("data-tall", long);
    const more = card.querySelector(".card-more");
    more.hidden = !tall && !long;
    const uncounted = "cut" in card.dataset || output.querySelector("img");
    const label = uncounted ? "Show all" : tall ? shown(lines(output)) : "Show the whole command";
    if (!more.hidden) more.firstElementChild.textContent = label;
  };
}

const shown = (count) => (count > 1 ? `Show all ${count.toLocaleString()} lines` : "Show the whole line");
const lines = (output) => {
  const text = output.textContent;
  let count = text.endsWith("\n") ? 0 : 1;
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) count += 1;
  return count;
};

/** Opens or closes a card: the whole of a long command and of its output. */
export function fold(card) {
  if (!("open" in card.dataset)) measure(new Set([card])); // a card that has just come in is not measured yet
  const open = card.toggleAttribute("data-open");
  const more = card.querySelector(".card-more");
  more.setAttribute("aria-expanded", open);
  if (open) more.firstElementChild.textContent = "Show less";
  else measure(new Set([card]));
}
