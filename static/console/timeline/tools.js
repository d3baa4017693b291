// What can be taken from a command: its line, its output, all of its output as a file.
import { say } from "../app.js";

const MOST = 1024 * 1024; // characters that are copied
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)/g;
// A paste must not press keys: nothing but text, tabs and line ends is copied.
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

const address = (element, root, what) =>
  `/sandboxes/${root.dataset.sandbox}/commands/${element.closest("[data-span]").dataset.span}/${what}/`;

/** Does what was clicked; `keep(change)` changes the page without moving it. */
export async function use(button, root, keep) {
  const { tool, rest } = button.dataset;
  if (rest !== undefined) await load(button, `${address(button, root, "rest")}?from=${rest}`, keep);
  else if (tool === "download") location.assign(address(button, root, "output"));
  else if (tool === "output") await copy(button, await output(address(button, root, "output")));
  else await copy(button, button.closest(".card").querySelector(".card-command").textContent);
}

async function output(address) {
  const answer = await fetch(address, { credentials: "same-origin" });
  if (!answer.ok) return null;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    text += part.value;
    if (text.length < MOST) continue;
    reader.cancel();
    say("Copied the first megabyte. Download the whole output for the rest.", "warning");
    break;
  }
  return text.slice(0, MOST).replace(ESCAPES, "").replaceAll("\r\n", "\n").replace(CONTROLS, "");
}

async function copy(button, text) {
  try {
    if (text === null) throw new Error("no output");
    await navigator.clipboard.writeText(text);
    button.dataset.done = "";
    setTimeout(() => delete button.dataset.done, 1500);
  } catch {
    say("That could not be copied. Select the text and copy it by hand.", "warning");
  }
}

async function load(button, address, keep) {
  button.disabled = true;
  try {
    const answer = await fetch(address, { credentials: "same-origin", headers: { "HX-Request": "true" } });
    if (!answer.ok) throw new Error(String(answer.status));
    const holder = document.createElement("template");
    holder.innerHTML = await answer.text();
    keep(() => button.closest(".out-left").replaceWith(holder.content));
  } catch {
    button.disabled = false;
    say("The output could not be loaded. Try again in a moment.", "warning");
  }
}
