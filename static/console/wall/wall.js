// The fleet wall: takes what changed from its socket, a little at a time, and the keyboard.
import { walkRows } from "../rows.js";
import { tick } from "../time.js";
import { Feed } from "./feed.js";

const wall = document.getElementById("wall");
const list = document.getElementById("wall-rows");
const counts = document.getElementById("wall-counts");
const late = wall.querySelector(".wall-late");
const hold = wall.querySelector(".wall-hold");
// Milliseconds of work between two frames of the screen; a page of 300 rows stays answerable.
const AT_ONCE = 8;

let order = [...list.children].map((row) => row.dataset.sandbox);
let work = [];
let working = 0;

const rowOf = (id) => document.getElementById(`row-${id}`);
const isInside = () => list.matches(":hover") || list.contains(document.activeElement);

/** Does things one after the other, some in each frame of the screen. */
function soon(jobs) {
  work.push(...jobs);
  if (!working) working = requestAnimationFrame(some);
}

function some() {
  working = 0;
  const until = performance.now() + AT_ONCE;
  while (work.length && performance.now() < until) work.shift()();
  if (work.length) working = requestAnimationFrame(some);
}

function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

function put(id, html) {
  const was = rowOf(id);
  if (was && html.includes(`data-mark="${was.dataset.mark}"`)) return;
  const row = parse(html);
  tick(row);
  if (!was) return void list.append(row);
  const focused = was.contains(document.activeElement);
  was.replaceWith(row);
  if (focused) row.querySelector("a.whole").focus({ preventScroll: true });
}

function change(id, cells) {
  const row = rowOf(id);
  if (!row) return;
  for (const [name, html] of Object.entries(cells)) {
    if (name === "tone" || name === "mark") row.dataset[name] = html;
    else fill(row.querySelector(`[data-cell="${name}"]`), html);
  }
}

function fill(cell, html) {
  const focused = cell.contains(document.activeElement);
  cell.innerHTML = html;
  tick(cell);
  if (focused) cell.querySelector("a")?.focus({ preventScroll: true });
}

/** Rows that left go at once; those that stay move only while nobody is among them. */
function arrange() {
  const known = new Set(order);
  for (const row of [...list.children]) if (!known.has(row.dataset.sandbox)) leave(row);
  const waits = isInside() && [...list.children].some((row, at) => row.dataset.sandbox !== order[at]);
  hold.hidden = !waits;
  if (waits) return;
  let at = list.firstElementChild;
  for (const id of order) {
    const row = rowOf(id);
    if (!row) continue;
    if (row === at) at = at.nextElementSibling;
    else list.insertBefore(row, at);
  }
}

function leave(row) {
  const next = row.nextElementSibling ?? row.previousElementSibling;
  if (row.contains(document.activeElement)) next?.querySelector("a.whole").focus();
  row.remove();
}

function take(frame) {
  late.hidden = frame.t !== "behind";
  if (frame.t === "beat" || frame.t === "behind") return;
  if (frame.t === "all") work = [];
  if (frame.counts) counts.innerHTML = frame.counts;
  if (frame.order) order = frame.order;
  const jobs = [
    ...Object.entries(frame.rows ?? {}).map(([id, html]) => () => put(id, html)),
    ...Object.entries(frame.cells ?? {}).map(([id, cells]) => () => change(id, cells)),
  ];
  if (frame.order) jobs.push(arrange);
  jobs.push(() => (wall.dataset.state = frame.state));
  soon(jobs);
}

for (const name of ["mouseleave", "focusout"]) list.addEventListener(name, () => setTimeout(() => soon([arrange])));

walkRows(() => [...list.children]);

new Feed("/ws/fleet/", take).open();
