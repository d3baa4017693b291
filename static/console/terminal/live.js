// A live terminal: keys, size, who drives, and what stands in the way of typing.
import { say } from "../app.js";
import { FONT, shrinkTo } from "./screen.js";
import { Socket } from "./socket.js";

const STILL = 1500; // ms after a key for which the cursor does not blink
const WORDS = { open: "Live", away: "Reconnecting", over: "Closed", connecting: "Connecting" };

/** What this page keeps to have its place back after a reload; another tab has another. */
function seat() {
  const fresh = crypto.getRandomValues(new Uint8Array(12));
  const made = [...fresh].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  try {
    const kept = sessionStorage.getItem("terminal-seat") ?? made;
    sessionStorage.setItem("terminal-seat", kept);
    return kept;
  } catch {
    return made;
  }
}

export function live(root, part, { terminal, room }) {
  const state = { link: "connecting", drives: false, yours: false, mayDrive: root.dataset.mayDrive === "true", status: root.dataset.status, wakes: false, ended: null, size: null };
  const socket = new Socket(`${root.dataset.socket}?seat=${seat()}`, { word, bytes, state: linked });
  const encoder = new TextEncoder();

  let refused = 0; // when these were last said
  let hurried = 0;

  function bytes(data, shown) {
    terminal.write(data, shown);
  }

  const words = {
    screen({ skipped }) {
      terminal.write("\x1bc");
      state.link = "open";
      if (skipped && Date.now() - hurried > 30_000) {
        hurried = Date.now();
        say("The output was faster than this page: some of it was skipped.", "info");
      }
      if (state.drives) fits();
    },
    size({ rows, columns }) {
      state.size = { rows, columns };
      terminal.resize(columns, rows);
      if (!state.drives) shrinkTo(terminal, room, state.size);
    },
    people(message) {
      people(message);
    },
    status({ status, wakes, may_drive: mayDrive }) {
      if (status !== state.status) document.getElementById("sandbox-head")?.dispatchEvent(new CustomEvent("stale"));
      Object.assign(state, { status, wakes, mayDrive });
    },
    refused({ message }) {
      if (Date.now() - refused < 4000) return;
      refused = Date.now();
      say(message, "warning");
    },
    away() {
      state.link = "away";
    },
    closed({ lost, exit_code: code, signal }) {
      state.ended = lost ? "The terminal was lost with its sandbox." : signal ? `The shell was ended by signal ${signal}.` : `The shell ended with exit code ${code}.`;
    },
    over({ message }) {
      state.ended = message;
    },
  };

  function word(message) {
    words[message.t]?.(message);
    paint();
  }

  function linked(what) {
    state.link = what === "open" ? "connecting" : what;
    if (what === "signed-out") location.assign(`/login/?next=${encodeURIComponent(location.pathname + location.search)}`);
    if (what === "gone" || what === "forbidden") state.ended ??= "This terminal is not there any more.";
    if (what === "over") list();
    paint();
  }

  function list() {
    document.getElementById("terminal-list")?.dispatchEvent(new CustomEvent("stale"));
  }

  // --- who drives ------------------------------------------------------------------------------

  /** Whose hand is on the wheel, as this page's reader would say it. */
  function wheel({ driver, away, you, yours }) {
    if (you) return "You drive";
    if (yours) return away ? "You drove in a window that is gone" : "You drive in another window";
    return driver ? `${driver} drives${away ? ", away" : ""}` : "Nobody drives";
  }

  /** How many people are here: one person's windows are one. */
  function company(watching) {
    const people = new Set(watching.map(({ id }) => id)).size;
    if (people > 1) return `${people} here`;
    return watching.length > 1 ? `only you here, in ${watching.length} windows` : "only you here";
  }

  function people(told) {
    const { driver, you, yours, watching } = told;
    const gained = you && !state.drives;
    const lost = !you && state.drives;
    Object.assign(state, { drives: you, yours: yours && !you });
    if (!you) socket.forget();
    part("driver").textContent = wheel(told);
    part("driver").closest(".term-wheel").dataset.you = you;
    part("watching").textContent = company(watching);
    part("watching").title = [...new Set(watching.map(({ name }) => name))].join(", ");
    if (gained) fits({ focus: true });
    if (lost) {
      shrinkTo(terminal, room, state.size ?? { rows: terminal.rows, columns: terminal.cols });
      say(yours ? "You drive in another window now. This one goes on watching." : `${driver || "Somebody"} drives now. You go on watching.`, "info");
    }
  }

  part("take").addEventListener("click", () => {
    socket.say({ t: "take" });
    terminal.focus();
  });

  // --- keys ------------------------------------------------------------------------------------

  const mayType = () => state.drives && state.link === "open" && !state.ended;

  // A cursor that blinks keeps the browser animating, and each key's echo waits for a frame more: it stands still meanwhile.
  const blinks = terminal.options.cursorBlink;
  let still = 0;
  function typing() {
    if (!blinks) return;
    clearTimeout(still);
    still = setTimeout(() => (terminal.options.cursorBlink = true), STILL);
    terminal.options.cursorBlink = false;
  }

  function type(data) {
    typing();
    if (mayType()) socket.type(encoder.encode(data));
    else if (state.mayDrive && !state.drives && state.link === "open") nudge();
  }

  function nudge() {
    part("take").toggleAttribute("data-nudge", true);
    setTimeout(() => part("take").toggleAttribute("data-nudge", false), 900);
  }

  terminal.onData(type);
  terminal.onBinary((data) => mayType() && socket.type(Uint8Array.from(data, (letter) => letter.charCodeAt(0))));
  terminal.attachCustomKeyEventHandler((event) => {
    if (event.type !== "keydown") return true;
    if (event.key === "F6" && event.ctrlKey) {
      root.querySelector(".term-bar a, .term-bar button:not([hidden])")?.focus();
      return false;
    }
    if (event.ctrlKey && event.shiftKey && event.code === "KeyC") {
      if (terminal.hasSelection()) navigator.clipboard?.writeText(terminal.getSelection()).catch(() => {});
      event.preventDefault();
      return false;
    }
    return true;
  });
  for (const key of root.querySelectorAll("[data-key]"))
    key.addEventListener("click", () => {
      type(JSON.parse(`"${key.dataset.key}"`));
      terminal.focus();
    });

  // --- size ------------------------------------------------------------------------------------

  let told = "";
  function fits({ focus = false } = {}) {
    if (!state.drives) return;
    terminal.options.fontSize = FONT;
    const wanted = room();
    if (!wanted?.cols || !wanted?.rows) return;
    const columns = Math.max(20, Math.min(500, wanted.cols));
    const rows = Math.max(4, Math.min(300, wanted.rows));
    if (columns !== terminal.cols || rows !== terminal.rows) terminal.resize(columns, rows);
    if (`${columns}x${rows}` !== told || focus) socket.say({ t: "resize", rows, columns });
    told = `${columns}x${rows}`;
    if (focus) terminal.focus();
  }

  let settling = 0;
  new ResizeObserver(() => {
    clearTimeout(settling);
    settling = setTimeout(() => (state.drives ? fits() : state.size && shrinkTo(terminal, room, state.size)), 120);
  }).observe(part("stage"));

  // --- what is shown ---------------------------------------------------------------------------

  function paint() {
    root.dataset.link = state.ended ? "over" : state.link;
    part("link").textContent = WORDS[root.dataset.link] ?? "Closed";
    part("take").hidden = !state.mayDrive || state.drives || state.link !== "open" || Boolean(state.ended);
    part("take").textContent = state.yours ? "Drive here" : "Take over";
    part("viewer").hidden = state.mayDrive || Boolean(state.ended);
    terminal.options.disableStdin = !state.mayDrive || Boolean(state.ended);
    root.dataset.drives = state.drives;
    const paused = ["pausing", "paused", "resuming"].includes(state.status) && !state.ended;
    part("paused").hidden = !paused;
    part("wakes").hidden = !state.wakes;
    root.querySelector("[data-open=close-terminal]")?.toggleAttribute("hidden", Boolean(state.ended));
    if (state.ended) part("driver").textContent = part("watching").textContent = "";
    part("ended").hidden = !state.ended;
    part("ended-word").textContent = state.ended ?? "";
  }

  paint();
  socket.open();
}
