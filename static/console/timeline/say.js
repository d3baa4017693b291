// What the timeline says in words: its state, new commands for those who listen, what was fetched.

export const WORDS = {
  live: "Live",
  complete: "Complete",
  held: "Held",
  playing: "Replay",
  offline: "Offline",
  connecting: "Connecting",
  "signed-out": "Signed out",
  forbidden: "Not allowed",
  gone: "Gone",
};

/** Tells a screen reader of new commands, never of output. */
export function announce(voice, incoming) {
  const commands = incoming.filter((row) => row.matches(".card"));
  if (!commands.length) return;
  const command = commands[0].querySelector(".card-command").textContent.trim().slice(0, 120);
  voice.textContent = commands.length > 3 ? `${commands.length} new commands` : `New command: ${command}`;
}

let timer = 0;

/** Says for a while how much was missed and is here now. */
export function healed(note, count) {
  const events = count === 1 ? "event" : "events";
  note.textContent = `Back online · fetched ${count.toLocaleString()} missed ${events}`;
  note.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => (note.hidden = true), 12_000);
}

/** The header is not what it was. */
export const stale = () => document.getElementById("sandbox-head")?.dispatchEvent(new CustomEvent("stale"));

const SETTLED = 1500; // milliseconds after an event within which what it tells about stands in the sandbox's row too
let settling = 0;

/** The header follows what happens to the sandbox. */
export function lifecycle(incoming) {
  if (!incoming.some((row) => row.dataset.kind.startsWith("sandbox."))) return;
  stale();
  clearTimeout(settling);
  settling = setTimeout(stale, SETTLED);
}
