// Saves a run with its progress in sight: each event is a line of the file, and their number is known.
import { say } from "../app.js";

const MOST = 60_000; // events; a longer run goes straight to the browser's own download
const part = document.getElementById("exports");
const bar = part.querySelector("progress");
const state = part.querySelector("[data-part=export-state]");
const cancel = part.querySelector("[data-part=export-cancel]");
let running = null;

function show(text, value) {
  state.textContent = text;
  bar.hidden = cancel.hidden = running === null;
  if (value === undefined) bar.removeAttribute("value");
  else bar.value = value;
}

export async function save(link) {
  if (running) return undefined;
  running = new AbortController();
  show("Starting…");
  try {
    const answer = await fetch(link.href, { signal: running.signal });
    if (!answer.ok) throw new Error(String(answer.status));
    const total = Number(answer.headers.get("x-events")) || 1;
    if (total > MOST) {
      running.abort();
      location.assign(link.href);
      return finish("Your browser downloads it.");
    }
    const parts = [];
    let lines = 0;
    for await (const chunk of pieces(answer.body)) {
      parts.push(chunk);
      for (const byte of chunk) if (byte === 10) lines += 1;
      show(`${Math.min(lines, total).toLocaleString()} of ${total.toLocaleString()} events`, Math.min(1, lines / total));
    }
    deliver(new Blob(parts), link.dataset.name);
    finish(`Saved as ${link.dataset.name}`);
  } catch (error) {
    if (error.name === "AbortError") return finish("Cancelled.");
    finish("");
    say("The run could not be exported. Try again in a moment.", "error");
  }
}

async function* pieces(body) {
  const reader = body.getReader();
  for (let got = await reader.read(); !got.done; got = await reader.read()) yield got.value;
}

function deliver(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function finish(text) {
  running = null;
  show(text);
}

cancel.addEventListener("click", () => running?.abort());
