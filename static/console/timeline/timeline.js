// The timeline of one sandbox: history and live rows, follow and hold, verified to #N.
import { say } from "../app.js";
import { tick } from "../time.js";
import { toggleAside } from "./aside.js";
import { Bounds, missing } from "./bounds.js";
import { dresser, fold, measure } from "./cards.js";
import { Filters } from "./filters.js";
import { Journey } from "./journey.js";
import { keys, walk } from "./keys.js";
import { page, Pages } from "./pages.js";
import { parse, Rows } from "./rows.js";
import { announce, healed, lifecycle, stale, WORDS } from "./say.js";
import { Skips } from "./skips.js";
import { Stream } from "./stream.js";
import { View } from "./view.js";

const FILL = 600; // rows up to which more are fetched though nobody scrolls
const NEAR_EDGE = 1200; // pixels from an end at which the next page is fetched

const root = document.getElementById("timeline");
const scroller = root.querySelector(".tl-scroll");
const list = root.querySelector(".tl-rows");
const part = (name) => root.querySelector(`[data-part="${name}"]`);

const rows = new Rows(list, dresser(Number(root.dataset.started)));
const view = new View(scroller, list, part("room"), () => {
  paintState();
  journey.turned();
});
const bounds = new Bounds(rows, view);
const filters = new Filters(part("filters"), () => refilter());
view.attached = () => rows.tail >= edge && !journey.active;
const journey = new Journey(root, {
  rows,
  view,
  edge: () => edge,
  replace,
  append(fresh, to) {
    view.keep(() => append(fresh, to));
    verified();
  },
  live,
  changed: paintState,
  failed: () => say("That moment could not be loaded. Try again.", "warning"),
});
let edge = Number(root.dataset.verified); // the last gapless seq that came in
let link = "connecting";
let unseen = { events: 0, output: false };
let loading = false;
let asked = false; // the reader wants to see further back than the page goes by itself

function take(incoming, { found = false } = {}) {
  const fresh = rows.add(incoming);
  for (const row of fresh) filters.meet(row);
  if (filters.active && !found) narrow(fresh);
  else filters.trust(fresh);
  queueMicrotask(() => measureSoon());
  return fresh;
}

function narrow(fresh) {
  const unwanted = new Set(filters.unwanted(fresh));
  for (const row of fresh) {
    const top = row.closest(".tl-rows > *");
    if (top && !unwanted.has(top)) top.removeAttribute("data-out");
  }
  rows.hide(unwanted);
}
let marked = false;
async function mark() {
  if (!marked && !filters.parts.length) return;
  marked = true;
  (await import("./highlight.js")).highlight(list, filters.parts);
}
let measuring = 0;
function measureSoon() {
  measuring ||= requestAnimationFrame(() => {
    measuring = 0;
    if (rows.touched.size || filters.parts.length) view.keep(() => measure(rows.touched));
    mark();
  });
}

function receive({ from, to, html }) {
  if (from > edge + 1) return repair(to);
  const incoming = to > edge ? parse(html) : [];
  const detached = rows.tail < edge;
  edge = Math.max(edge, to);
  if (!detached) view.keep(() => append(incoming, to));
  else if (view.following && !journey.active) newer();
  if (!view.following || journey.active) countUnseen(incoming);
  journey.strip.take(incoming);
  if (link === "live") {
    announce(part("voice"), incoming);
    lifecycle(incoming);
  }
  verified();
}

function append(incoming, to) {
  take(incoming);
  rows.tail = Math.max(rows.tail, to);
  bounds.dropFar();
}

const skips = new Skips(part("skip"), root.dataset.rows, (row, html, rest) =>
  view.keep(() => {
    row.remove();
    take(parse(html));
    rows.add(rest);
  }),
);

function skipped({ from, to }) {
  const row = skips.row(from, to);
  edge = Math.max(edge, to);
  if (rows.tail >= from - 1) view.keep(() => append([row], to));
  verified();
}

// A gap comes from history.
let wanted = 0;
let repairing = false;
async function repair(to) {
  wanted = Math.max(wanted, to);
  if (repairing) return;
  repairing = true;
  try {
    while (edge < wanted) {
      const got = await page(root.dataset.rows, { after: edge, limit: 500 });
      if (got.to <= edge) break;
      receive({ from: edge + 1, to: got.to, html: got.html });
    }
  } catch {
    stream.socket?.close();
  } finally {
    repairing = false;
  }
}

const behind = new Pages(root.dataset.rows);
const onward = new Pages(root.dataset.rows, { onward: true });
async function load(pages, from, use) {
  if (loading) return;
  loading = true;
  const mine = turn;
  root.toggleAttribute("data-loading", true);
  try {
    const got = await pages.page(from, filters.query).catch(() => null);
    if (mine !== turn) return; // other rows have been asked for meanwhile
    if (got) view.keep(() => (use(got), measure(rows.touched)));
    else say("Older events could not be loaded. Scroll again to retry.", "warning");
    makeRoom();
  } finally {
    loading = false;
    root.toggleAttribute("data-loading", false);
    paintEnds();
    // What comes in moves nothing, so nobody scrolls: go on until the screen is filled.
    const isShort = list.offsetHeight < scroller.clientHeight;
    if (rows.size <= FILL || view.above < 0 || isShort) requestAnimationFrame(edges);
  }
}

const makeRoom = () => view.roomFor(rows.head - 1, rows.tail - rows.head + 1);

function older() {
  if (rows.head <= 1 || loading || journey.replay.playing) return undefined;
  if (view.following && rows.size > FILL && !asked) return undefined;
  asked = false;
  return load(behind, rows.head, (got) => {
    const fresh = take(parse(got.html), { found: true });
    rows.head = got.from && (fresh.length || filters.active) ? got.from : 1;
    if (!view.following) bounds.dropNewest();
  });
}

function newer() {
  if (rows.tail >= edge || journey.active) return undefined;
  return load(onward, rows.tail, (got) => {
    take(parse(got.html), { found: true });
    rows.tail = Math.min(got.to || edge, edge);
    bounds.dropOldest();
  });
}

function edges() {
  if (view.above < NEAR_EDGE && rows.head > 1) older();
  else if (scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_EDGE) newer();
}
let turn = 0; // of pages that replace all rows, the last one asked for counts; it is over when they are there
async function jump(before) {
  const mine = (turn += 1);
  root.toggleAttribute("data-loading", true);
  try {
    const got = await page(root.dataset.rows, { before, filter: filters.query });
    if (mine !== turn) return false;
    replace(got);
    return true;
  } finally {
    if (mine === turn) root.toggleAttribute("data-loading", false);
    paintEnds();
  }
}

function replace(got) {
  turn += 1; // what was asked for by the rows that go now is not wanted any more
  root.toggleAttribute("data-loading", false);
  view.makeRoom(0);
  rows.clear();
  take(got.rows ?? parse(got.html), { found: true });
  rows.cover(got.from, got.to);
  makeRoom();
  paintEnds();
  verified();
}

async function live() {
  journey.end();
  if (rows.tail < edge) await jump(edge + 1);
  if (rows.tail < edge) await newer(); // what came in meanwhile
  unseen = { events: 0, output: false };
  view.follow();
  choose(null);
  paintState();
}

async function refilter() {
  try {
    if (await jump(edge + 1)) await live();
    edges();
  } catch {
    say("The timeline could not be searched. Try again.", "warning");
  }
}

function verified() {
  const shown = Math.min(edge, Math.max(rows.tail, 0));
  root.dataset.verified = shown;
  part("verified").textContent = `#${shown.toLocaleString()}`;
  paintState();
}

function paintState() {
  const following = view.following && !journey.active;
  const state = link === "live" ? (following ? "live" : "held") : "offline";
  root.dataset.live = state;
  const finer = following && journey.complete ? "complete" : journey.replay.playing ? "playing" : state;
  part("state").textContent = WORDS[link === "live" ? finer : link];
  const pill = part("unseen");
  if (following && rows.tail >= edge) unseen = { events: 0, output: false };
  pill.hidden = following;
  part("unseen-count").textContent = unseen.events
    ? `${unseen.events.toLocaleString()} new`
    : unseen.output ? "New output" : "Back to live";
  part("follow").setAttribute("aria-pressed", following);
}

function paintEnds() {
  part("start").hidden = rows.head > 1;
  part("older").hidden = rows.head <= 1;
  const shown = !filters.active || list.querySelector(":scope > :not([data-out])");
  part("nothing").hidden = Boolean(shown);
}

function countUnseen(incoming) {
  const events = incoming.filter((row) => !row.dataset.kind.endsWith(".output")).length;
  unseen = { events: unseen.events + events, output: unseen.output || incoming.length > events };
}
let fetched = 0;
const heal = (count) => {
  if ((fetched = count)) healed(part("healed"), count);
};

function choose(card, { focus = true } = {}) {
  for (const old of list.querySelectorAll("[data-chosen]")) delete old.dataset.chosen;
  if (!card) return;
  card.dataset.chosen = "";
  view.show(card);
  if (focus) card.focus({ preventScroll: true });
}

async function permalink() {
  const match = /^#e(\d+)$/.exec(location.hash);
  if (!match) return;
  const seq = Number(match[1]);
  const held = document.getElementById(`e${seq}`);
  if ((!held || missing(held.closest(".card")) !== undefined) && seq <= edge) {
    const { hash } = location;
    if (filters.clear()) history.replaceState(null, "", hash);
    await jump(seq + 60);
  }
  point(seq);
}

function point(seq) {
  const row = document.getElementById(`e${seq}`);
  if (!row) return say(`Event #${seq} is not there.`, "warning");
  const card = row.parentElement.closest(".card");
  if (card && !("open" in card.dataset)) fold(card);
  for (const old of list.querySelectorAll("[data-linked]")) delete old.dataset.linked;
  row.dataset.linked = "";
  choose(row.closest(".tl-rows > *"), { focus: false });
  view.show(row);
  return edges(); // a few rows fill no screen, and then nobody can scroll
}

async function open(card) {
  const seq = missing(card);
  if (seq === undefined) return view.keep(() => fold(card));
  if (await jump(seq + 1)) point(seq);
}

async function context(card) {
  const seq = Number(card.dataset.seq);
  filters.clear();
  history.replaceState(null, "", `#e${seq}`);
  await jump(seq + 60);
  point(seq);
}

const stream = new Stream(root.dataset.socket, () => edge, {
  state(word) {
    link = word;
    lost = word === "offline" ? edge : lost;
    paintState();
    if (word === "signed-out") location.assign(`/login/?next=${encodeURIComponent(location.pathname)}`);
  },
  frame(frame) {
    if (frame.t === "rows") receive(frame);
    else if (frame.t === "skip") skipped(frame);
    else if (frame.t === "repaired") heal(frame.count);
    else if (frame.t === "edge") arrived(frame.seq);
  },
});

let lost = null; // the last seq held when the connection went away
function arrived(seq) {
  link = "live";
  if (lost !== null && !fetched) heal(seq - lost);
  if (lost !== null) stale();
  [lost, fetched] = [null, 0];
  paintState();
}

function start() {
  filters.trust(rows.adopt());
  rows.cover(Number(root.dataset.from) || 1, edge);
  measure(rows.touched);
  mark();
  tick(root);
  root.dataset.ready = "";
  makeRoom();
  view.pin();
  paintEnds();
  verified();
  permalink();
  stream.open();
  journey.start();
  edges();
}

list.addEventListener("click", (event) => {
  const more = event.target.closest(".card-more, .card-command[data-tall]");
  if (more) open(more.closest(".card"));
  if (event.target.closest("summary")) view.hold();
  const whole = event.target.closest("[data-part=context]");
  if (whole) {
    event.preventDefault();
    context(whole.closest(".card"));
  }
  const skip = event.target.closest("[data-part=load-skip]");
  if (skip) skips.load(skip.closest("[data-from]"));
});
scroller.addEventListener("scroll", edges, { passive: true });
part("unseen").addEventListener("click", live);
function further() {
  asked = true;
  view.hold();
  older();
}
part("older").addEventListener("click", further);
filters.field.form.addEventListener("submit", async (event) => {
  event.preventDefault();
  await filters.submit();
  choose(walk(list, scroller, -1));
});
scroller.addEventListener("wheel", ({ deltaY }) => {
  if (deltaY < 0 && view.above < 1 && rows.head > 1) further();
}, { passive: true });
const follow = () => (view.following && !journey.active ? view.hold() : live());
part("follow").addEventListener("click", follow);
addEventListener("hashchange", permalink);
setInterval(() => tick(list), 200);

root.addEventListener("click", async ({ target }) => {
  const tool = target.closest("[data-tool], [data-rest]");
  if (tool) (await import("./tools.js")).use(tool, root, (change) => view.keep(change));
});
const chosen = () => list.querySelector("[data-chosen]");
keys({
  j: () => choose(walk(list, scroller, 1)),
  k: () => choose(walk(list, scroller, -1)),
  e: () => chosen()?.matches(".card") && open(chosen()),
  Enter: () => chosen()?.matches(".card") && open(chosen()),
  f: follow,
  " ": () => journey.toggle(),
  d: toggleAside,
  End: live,
  Home: () => view.toTop(),
  Escape: () => choose(null),
  "/": () => filters.field.focus(),
});

start();
