// CPU and memory as they are, with what ran meanwhile drawn behind them.
import { axis, colours, line, whenThemed } from "./chart_style.js";
import { duration } from "./time.js";

const root = document.getElementById("metrics");
const part = (name) => root.querySelector(`[data-part="${name}"]`);
const MB = 1048576;
// What the lines across a chart are apart: round megabytes, then round gigabytes.
const STEPS = [...[1, 2, 5, 10, 20, 50, 100, 200, 500].map((mb) => mb * MB), ...[1, 2, 5, 10, 20].map((gb) => gb * 1024 * MB)];
const KEEP_SECONDS = 3600;
const RECENT_SECONDS = 300;
const AGAIN_MS = 2000;

let told = null; // the latest answer
let points = new Map(); // by the second: [cores, bytes]
const charts = {};
let recent = false; // the last minutes are shown, not the whole run
let zoom = null; // what was dragged over: from, to

const cores = (value) => (value === null ? "" : `${value.toFixed(value < 1 ? 2 : 1)}`);
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hourCycle: "h23" });
function bytes(value) {
  if (value === null) return "";
  if (value === 0) return "0";
  const mb = value / MB;
  return mb >= 1024 ? `${(mb / 1024).toFixed(1)} GB` : `${mb.toFixed(mb < 10 ? 1 : 0)} MB`;
}

const STATES = {
  over: "It has ended. This is its whole run.",
  paused: "Paused. It uses nothing until it is resumed.",
};

// --- drawing -----------------------------------------------------------------------------------

/** Commands as washes behind the line, turns of the sandbox's life as upright lines with a word. */
function marks(chart) {
  const { ctx, bbox } = chart;
  const ink = colours();
  const x = (at) => chart.valToPos(at, "x", true);
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const { begin, end, state } of told.commands) {
    const from = x(begin);
    const to = Math.max(from + 2, x(end ?? chart.scales.x.max));
    ctx.globalAlpha = 0.13;
    ctx.fillStyle = ink[state];
    ctx.fillRect(from, bbox.top, to - from, bbox.height);
    ctx.globalAlpha = 0.9;
    ctx.fillRect(from, bbox.top + bbox.height - 3 * devicePixelRatio, to - from, 3 * devicePixelRatio);
  }
  ctx.globalAlpha = 1;
  ctx.strokeStyle = ctx.fillStyle = ink.turn;
  ctx.setLineDash([4, 4]);
  ctx.font = `${11 * devicePixelRatio}px sans-serif`;
  for (const { at, word } of told.turns) {
    const place = x(at);
    ctx.beginPath();
    ctx.moveTo(place, bbox.top);
    ctx.lineTo(place, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillText(word.replaceAll("_", " "), place + 4 * devicePixelRatio, bbox.top + 12 * devicePixelRatio);
  }
  ctx.restore();
}

function make(name, limit, say, incrs) {
  const place = part(name);
  const options = {
    width: place.clientWidth,
    height: 200,
    legend: { show: false },
    cursor: { drag: { x: true, y: false }, sync: { key: "use" } },
    scales: { y: { range: (_chart, _low, high) => [0, Math.max(limit * 0.05, Math.min(limit, high * 1.15 || limit))] } },
    axes: [{ ...axis(), space: 90, values: (_chart, times) => times.map(clock) }, { ...axis(), size: 70, ...(incrs && { incrs }), values: (_chart, values) => values.map(say) }],
    series: [{}, { ...line(), spanGaps: false }],
    hooks: { drawClear: [marks], setCursor: [(chart) => hover(chart, name, say)], setSelect: [zoomed] },
  };
  return new window.uPlot(options, data(name), place);
}

function zoomed(chart) {
  const { left, width } = chart.select;
  if (width > 0) zoom = [chart.posToVal(left, "x"), chart.posToVal(left + width, "x")];
}

function hover(chart, name, say) {
  const at = chart.cursor.idx;
  const value = at === null || at === undefined ? chart.data[1].at(-1) : chart.data[1][at];
  const time = at === null || at === undefined ? null : chart.data[0][at];
  const ran = time === null ? null : told.commands.findLast(({ begin, end }) => begin <= time && time <= (end ?? Infinity));
  part(`${name}-now`).textContent = `${value === null || value === undefined ? "" : say(value)}${ran ? ` · ${ran.text}` : ""}`;
}

/** The whole run in means, then its last seconds one by one. Times without a value are a gap, not a line. */
function data(name) {
  const which = name === "cpu" ? 0 : 1;
  const seconds = [...points.keys()].sort((a, b) => a - b);
  const [xs, ys] = [[], []];
  const add = (at, value) => {
    if (xs.length && at - xs.at(-1) > 5) {
      xs.push(at - 1);
      ys.push(null);
    }
    xs.push(at);
    ys.push(value);
  };
  for (const [begin, end, ...means] of told.history) {
    if (begin >= (seconds[0] ?? Infinity)) break;
    add(begin, means[which]);
    // Within one mean nothing is missing, however long it is.
    xs.push(Math.min(end, seconds[0] ?? end));
    ys.push(means[which]);
  }
  for (const at of seconds) add(at, points.get(at)[which]);
  return [xs, ys];
}

function shown([xs]) {
  const last = xs.at(-1);
  const [min, max] = zoom ?? [recent ? Math.max(xs[0], last - RECENT_SECONDS) : xs[0], last];
  return { min, max };
}

function paint() {
  const any = points.size > 1 || told.history.length > 0;
  part("charts").hidden = part("key").hidden = part("ranges").hidden = !any;
  part("state").textContent = any ? STATES[told.is_over ? "over" : told.status] ?? "" : "";
  part("none").hidden = any;
  if (!any) return nothing();
  if (!charts.cpu) {
    charts.cpu = make("cpu", told.cores, cores);
    charts.memory = make("memory", told.memory, bytes, STEPS);
  }
  for (const [name, chart] of Object.entries(charts)) {
    const values = data(name);
    chart.batch(() => {
      chart.setData(values, false);
      chart.setScale("x", shown(values));
    });
    hover(chart, name, name === "cpu" ? cores : bytes);
  }
  root.dataset.points = points.size;
}

function nothing() {
  const words = told.is_over
    ? ["It has ended", "It was gone before anything was measured; its sums stay."]
    : told.status === "paused" ? ["Paused", "A paused sandbox uses nothing. Values come again when it is resumed."]
      : told.is_away ? ["The sandbox host does not answer", "Values come again by themselves once it does."]
        : ["Nothing measured yet", "The first values come within seconds."];
  [part("none-title").textContent, part("none-text").textContent] = words;
}

function sums() {
  if (told.cpu_seconds === null) return;
  part("sums").textContent = `${duration(told.cpu_seconds * 1000)} of processor time and ${told.gb_seconds.toLocaleString()} GB s of memory in all. ${told.commands.length.toLocaleString()} ${told.commands.length === 1 ? "command" : "commands"}.`;
}

// --- data --------------------------------------------------------------------------------------

async function look() {
  try {
    const answer = await fetch(root.dataset.chart, { credentials: "same-origin", headers: { "HX-Request": "true" } });
    if (answer.status === 401) return location.assign(`/login/?next=${encodeURIComponent(location.pathname)}`);
    if (answer.ok) take(await answer.json());
  } catch {
    // The server is away; what is drawn stays, and the next look may succeed.
  }
  if (told?.is_over) return undefined;
  return setTimeout(look, document.hidden ? 5 * AGAIN_MS : AGAIN_MS);
}

function take(answer) {
  told = answer;
  for (const [at, busy, used] of told.samples) points.set(at, [busy, used]);
  const oldest = Math.max(...points.keys()) - KEEP_SECONDS; // -Infinity of none
  points = new Map([...points].filter(([at]) => at >= oldest));
  paint();
  sums();
}

for (const choice of part("ranges").querySelectorAll("button"))
  choice.addEventListener("click", () => {
    [recent, zoom] = [choice.value === "recent", null];
    for (const other of part("ranges").querySelectorAll("button")) other.setAttribute("aria-pressed", other === choice);
    if (told) paint();
  });
root.addEventListener("dblclick", () => {
  zoom = null;
  if (told) paint();
});

function redraw() {
  for (const [name, chart] of Object.entries(charts)) {
    chart.destroy();
    delete charts[name];
  }
  if (told) paint();
}

new ResizeObserver(() => {
  for (const [name, chart] of Object.entries(charts)) chart.setSize({ width: part(name).clientWidth, height: 200 });
}).observe(root);
whenThemed(redraw);
look(); // both scripts are deferred, and uPlot is the first of them
