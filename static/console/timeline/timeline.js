// The timeline of one sandbox: history and live rows, follow and hold, verified to #N.
import { say } from "../app.js";
import { tick } from "../time.js";
import { dresser, fold, measure } from "./cards.js";
import { Filters } from "./filters.js";
import { keys, walk } from "./keys.js";
import { page } from "./pages.js";
import { parse, Rows } from "./rows.js";
import { announce, healed, WORDS } from "./say.js";
import { Stream } from "./stream.js";
import { View } from "./view.js";

const MOST = 1400; // rows on the page
const KEEP = 1000; // rows left after dropping some
const NEAR_EDGE = 600; // pixels from an end at which the next page is fetched

const root = document.getElementById("timeline");
const scroller = root.querySelector(".tl-scroll");
const list = root.querySelector(".tl-rows");
const part = (name) => root.querySelector(`[data-part="${name}"]`);

const rows = new Rows(list, dresser(Number(root.dataset.started)));
const view = new View(scroller, list, () => paintState());
const filters = new Filters(part("filters"), list, () => refilter());
view.attached = () => rows.tail >= edge;

let edge = Number(root.dataset.verified); // the last gapless seq that came in
let solid = 1; // below it, rows were fetched for a filter and have gaps
let link = "connecting";
let unseen = { events: 0, output: false };
let loading = false;
let asked = false; // the reader wants to see further back than the page goes by itself

// --- rows come in ------------------------------------------------------------------------------

function take(incoming) {
  const fresh = rows.add(incoming);
  if (filters.active) filters.apply(tops(fresh));
  queueMicrotask(() => measureSoon());
  return fresh;
}

const tops = (some) => new Set(some.map((row) => row.closest(".tl-rows > *")).filter(Boolean));

let measuring = 0;
function measureSoon() {
  measuring ||= requestAnimationFrame(() => {
    measuring = 0;
    view.keep(() => measure(rows.touched));
  });
}

function receive({ from, to, html }) {
  if (from > edge + 1) return repair(to);
  const incoming = to > edge ? parse(html) : [];
  const detached = rows.tail < edge;
  edge = Math.max(edge, to);
  if (!detached) view.keep(() => append(incoming, to));
  else if (view.following) newer();
  if (!view.following) countUnseen(incoming);
  if (link === "live") {
    announce(part("voice"), incoming);
    lifecycle(incoming);
  }
  verified();
}

function append(incoming, to) {
  take(incoming);
  rows.tail = Math.max(rows.tail, to);
  if (rows.size <= MOST) return;
  if (view.following) {
    rows.dropOldest(KEEP);
    solid = Math.max(solid, rows.head);
  } else if (scroller.scrollTop > scroller.scrollHeight / 2) rows.dropOldest(KEEP);
  else rows.dropNewest(KEEP);
}

function skipRow(from, to) {
  const row = part("skip").content.firstElementChild.cloneNode(true);
  Object.assign(row.dataset, { seq: from, from, to });
  row.id = `skip${from}`;
  row.querySelector("[data-count]").textContent = (to - from + 1).toLocaleString();
  return row;
}

function skipped({ from, to }) {
  const row = skipRow(from, to);
  edge = Math.max(edge, to);
  if (rows.tail >= from - 1) view.keep(() => append([row], to));
  verified();
}

async function loadSkipped(row) {
  const { from, to } = row.dataset;
  row.toggleAttribute("data-busy", true);
  try {
    const got = await page(root.dataset.rows, { after: Number(from) - 1, limit: Math.min(500, to - from + 1) });
    view.keep(() => {
      row.remove();
      take(parse(got.html));
      if (got.to && got.to < to) rows.add([skipRow(got.to + 1, Number(to))]);
    });
  } finally {
    row.toggleAttribute("data-busy", false);
  }
}

// A gap: what lies in it comes from history, until the page holds every seq up to `to`.
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

// --- pages of history --------------------------------------------------------------------------

async function load(ask, use) {
  if (loading) return;
  loading = true;
  root.toggleAttribute("data-loading", true);
  try {
    const got = await page(root.dataset.rows, ask);
    view.keep(() => use(got));
  } catch {
    say("Older events could not be loaded. Scroll again to retry.", "warning");
  } finally {
    loading = false;
    root.toggleAttribute("data-loading", false);
    paintEnds();
    // Rows that fold away or are filtered out move nothing: go on until the screen is filled.
    if (rows.size <= KEEP) requestAnimationFrame(edges);
  }
}

function older() {
  if (rows.head <= 1 || loading) return undefined;
  if ((filters.active || view.following) && rows.size > KEEP && !asked) return undefined;
  asked = false;
  const filter = filters.query;
  return load({ before: rows.head, filter }, (got) => {
    const fresh = take(parse(got.html));
    rows.head = got.from && fresh.length ? got.from : 1;
    if (!filters.active) solid = rows.head;
    if (rows.size > MOST && !view.following) rows.dropNewest(KEEP);
  });
}

function newer() {
  if (rows.tail >= edge) return undefined;
  return load({ after: rows.tail }, (got) => {
    take(parse(got.html));
    rows.tail = got.to || edge;
    if (rows.size > MOST) rows.dropOldest(KEEP);
  });
}

function edges() {
  if (scroller.scrollTop < NEAR_EDGE) older();
  else if (scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_EDGE) newer();
}

/** Shows the page that ends before `before`, in place of what is there. */
async function jump(before) {
  const got = await page(root.dataset.rows, { before });
  rows.clear();
  take(parse(got.html));
  rows.cover(got.from, got.to);
  solid = got.from;
  filters.paint();
  paintEnds();
  verified();
}

async function live() {
  if (rows.tail < edge) await jump(edge + 1);
  if (rows.tail < edge) await newer(); // what came in meanwhile
  unseen = { events: 0, output: false };
  view.follow();
  choose(null);
  paintState();
}

function refilter() {
  view.keep(() => {
    if (rows.head < solid) rows.dropBefore(solid);
  });
  paintEnds();
  if (view.following) view.pin();
  edges();
}

// --- what the reader is told -------------------------------------------------------------------

function verified() {
  const shown = Math.min(edge, Math.max(rows.tail, 0));
  root.dataset.verified = shown;
  part("verified").textContent = `#${shown.toLocaleString()}`;
  paintState();
}

function paintState() {
  const state = link === "live" ? (view.following ? "live" : "held") : "offline";
  root.dataset.live = state;
  part("state").textContent = WORDS[link === "live" ? state : link];
  const pill = part("unseen");
  if (view.following && rows.tail >= edge) unseen = { events: 0, output: false };
  pill.hidden = view.following;
  part("unseen-count").textContent = unseen.events
    ? `${unseen.events.toLocaleString()} new`
    : unseen.output ? "New output" : "Back to live";
  part("follow").setAttribute("aria-pressed", view.following);
}

function paintEnds() {
  part("start").hidden = rows.head > 1;
  part("older").hidden = rows.head <= 1;
  const shown = !filters.active || list.querySelector(":scope > :not([data-out])");
  part("nothing").hidden = Boolean(shown);
  part("search-older").hidden = rows.head <= 1;
}

function countUnseen(incoming) {
  const events = incoming.filter((row) => !row.dataset.kind.endsWith(".output")).length;
  unseen = { events: unseen.events + events, output: unseen.output || incoming.length > events };
}

let fetched = 0;
function heal(count) {
  fetched = count;
  if (count) healed(part("healed"), count);
}

// --- the header follows what happens to the sandbox --------------------------------------------

function lifecycle(incoming) {
  if (incoming.some((row) => row.dataset.kind.startsWith("sandbox.")))
    document.getElementById("sandbox-head")?.dispatchEvent(new CustomEvent("stale"));
}

// --- permalinks and choosing -------------------------------------------------------------------

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
  if (!document.getElementById(`e${seq}`) && seq <= edge) await jump(seq + 60);
  const row = document.getElementById(`e${seq}`);
  if (!row) return say(`Event #${seq} is not there.`, "warning");
  const card = row.parentElement.closest(".card");
  if (card && !("open" in card.dataset)) fold(card);
  for (const old of list.querySelectorAll("[data-linked]")) delete old.dataset.linked;
  row.dataset.linked = "";
  choose(row.closest(".tl-rows > *"), { focus: false });
  view.show(row);
}

// --- everything starts -------------------------------------------------------------------------

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
  if (lost !== null) document.getElementById("sandbox-head")?.dispatchEvent(new CustomEvent("stale"));
  [lost, fetched] = [null, 0];
  paintState();
}

function start() {
  rows.adopt();
  rows.cover(Number(root.dataset.from) || 1, edge);
  solid = rows.head;
  filters.paint();
  measure(rows.touched);
  tick(root);
  root.dataset.ready = "";
  view.pin();
  paintEnds();
  verified();
  permalink();
  stream.open();
  if (filters.active) edges();
}

list.addEventListener("click", (event) => {
  const more = event.target.closest(".card-more, .card-command[data-tall]");
  if (more) view.keep(() => fold(more.closest(".card")));
  if (event.target.closest("summary")) view.hold();
  const skip = event.target.closest("[data-part=load-skip]");
  if (skip) loadSkipped(skip.closest("[data-from]"));
});
scroller.addEventListener("scroll", edges, { passive: true });
part("unseen").addEventListener("click", live);
function further() {
  asked = true;
  view.hold();
  older();
}
part("older").addEventListener("click", further);
part("search-older").addEventListener("click", further);
scroller.addEventListener("wheel", ({ deltaY }) => {
  if (deltaY < 0 && scroller.scrollTop < 1 && rows.head > 1) further();
}, { passive: true });
part("follow").addEventListener("click", () => (view.following ? view.hold() : live()));
addEventListener("hashchange", permalink);
setInterval(() => tick(list), 200);

const box = document.getElementById("box-body");
function aside() {
  const shown = getComputedStyle(document.getElementById("details")).display !== "none";
  box.dataset.aside = shown ? "closed" : "open";
}
document.addEventListener("click", ({ target }) => target.closest?.("[data-toggle-aside]") && aside());

const chosen = () => list.querySelector("[data-chosen]");
keys({
  j: () => choose(walk(list, scroller, 1)),
  k: () => choose(walk(list, scroller, -1)),
  e: () => chosen()?.matches(".card") && view.keep(() => fold(chosen())),
  Enter: () => chosen()?.matches(".card") && view.keep(() => fold(chosen())),
  f: () => (view.following ? view.hold() : live()),
  d: aside,
  End: live,
  Home: () => {
    view.hold();
    scroller.scrollTop = 0;
  },
  Escape: () => choose(null),
  "/": () => filters.field.focus(),
});

start();
