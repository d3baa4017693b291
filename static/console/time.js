// Times and sizes as people read them. Nothing here touches the page but `tick`.

const serverNow = Number(document.documentElement.dataset.now ?? 0);
const skew = serverNow ? Date.now() - serverNow : 0;

/** Milliseconds since the epoch by the server's clock. */
export const now = () => Date.now() - skew;

/** `data-at` (microseconds, or an ISO time) in milliseconds since the epoch. */
export function millis(at) {
  return /^\d+$/.test(at) ? Number(at) / 1000 : Date.parse(at);
}

const two = (n) => String(n).padStart(2, "0");

/** 0:04.3, 12:40, 1:04:22 since the start of the run. */
export function offset(ms) {
  const sign = ms < -50 ? "−" : "";
  const tenths = Math.floor(Math.abs(ms) / 100);
  const seconds = Math.floor(tenths / 10);
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  if (h) return `${sign}${h}:${two(m)}:${two(s)}`;
  return `${sign}${m}:${two(s)}.${tenths % 10}`;
}

/** 840 ms, 4.3 s, 2 min 08 s, 1 h 04 min. */
export function duration(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s.toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${two(Math.floor(s % 60))} s`;
  return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))} min`;
}

/** 9:42 or 1:04:22 until something happens. */
export function countdown(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** just now, 4 min ago, 3 h ago, 12 Mar. */
export function ago(ms) {
  const s = (now() - ms) / 1000;
  if (s < 10) return "just now";
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  if (s < 30 * 86_400) return `${Math.floor(s / 86_400)} d ago`;
  return new Date(ms).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}

const exactFormat = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium",
  timeStyle: "long",
});

/** The moment in the reader's zone, for a tooltip. */
export function exact(ms, precise = false) {
  const text = exactFormat.format(new Date(ms));
  return precise ? `${text} · ${new Date(ms).toISOString().slice(11, 23)} UTC` : text;
}

const momentFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

const setText = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

let shown = null;

/** Has what runs say how long it ran at a moment of the past; null for now. */
export const showAt = (ms) => {
  shown = ms;
};

/** Brings every running clock below `root` up to date. */
export function tick(root = document) {
  const at = now();
  for (const element of root.querySelectorAll("[data-since]"))
    setText(element, duration((shown ?? at) - millis(element.dataset.since)));
  for (const element of root.querySelectorAll("time[data-ago]"))
    setText(element, ago(Date.parse(element.dateTime)));
  for (const element of root.querySelectorAll("time[data-exact]:not([data-said])")) {
    element.dataset.said = "";
    element.textContent = momentFormat.format(new Date(element.dateTime));
  }
  for (const element of root.querySelectorAll("time[data-countdown]")) {
    const left = Date.parse(element.dateTime) - at;
    setText(element, countdown(left));
    element.toggleAttribute("data-soon", left < 60_000);
  }
}
