// The whole run as a strip: where the reader is in it, dragged or moved by keys, and its live edge.
import { now, offset } from "../time.js";
import { paint } from "./paint.js";
import { gaps, Scale } from "./scale.js";

const REFRESH = 15_000;
const STEP = { ArrowLeft: -0.01, ArrowRight: 0.01, PageDown: -0.1, PageUp: 0.1 };
const NOTHING = { first: 0, last: 0, bars: [], counts: [], marks: [], ticks: [], usage: [], ended: true };
const STATES = { ok: "exit 0", bad: "failed", late: "timed out", running: "running" };

export class Strip {
  /** `on.seek(ms)` is called for a moment in the past, `on.live()` for the live edge,
   *  `on.drawn()` whenever the strip shows a run. */
  constructor(root, on) {
    this.on = on;
    this.address = root.dataset.address;
    this.started = Number(root.closest("[data-started]").dataset.started);
    this.canvas = root.querySelector("canvas");
    this.track = root.querySelector("[role=slider]");
    this.head = root.querySelector(".strip-head");
    this.bubble = root.querySelector(".strip-bubble");
    this.fold = root.querySelector("[data-part=fold]");
    this.root = root;
    this.run = NOTHING;
    this.moment = null; // null: at the live edge
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    new MutationObserver(() => this.draw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  get folded() {
    return this.fold.getAttribute("aria-pressed") === "true";
  }

  get until() {
    return this.run.ended ? this.run.last : Math.max(this.run.last, now());
  }

  async load() {
    clearTimeout(this.timer);
    try {
      const answer = await fetch(this.address, { credentials: "same-origin" });
      if (answer.ok) this.run = await answer.json();
    } catch {
      // The next round asks again.
    }
    this.draw();
    if (!this.run.ended) this.timer = setTimeout(() => this.load(), REFRESH);
  }

  /** Rows that came in live. */
  take(rows) {
    for (const row of rows) {
      const { dataset } = row;
      const at = Number(dataset.at) / 1000;
      this.run.last = Math.max(this.run.last, at);
      if (!this.run.first) this.run.first = at;
      if (/^(command\.started|code\.run)$/.test(dataset.kind)) this.#begun(row, at);
      else if (/^(command\.exited|code\.done)$/.test(dataset.kind)) this.#done(dataset, at);
      else if (/^(file|network)\./.test(dataset.kind)) this.run.ticks.push(at);
      if (/^sandbox\.(terminated|failed)$/.test(dataset.kind)) {
        this.run.ended = true;
        this.draw();
      }
    }
  }

  #begun(row, at) {
    const label = row.querySelector(".card-command").textContent.slice(0, 90);
    const bar = [Number(row.dataset.seq), at, null, "running", label];
    this.run.bars.push(bar);
    (this.spans ??= new Map()).set(row.dataset.span, bar);
  }

  #done({ span, state }, at) {
    const bar = this.spans?.get(span);
    if (bar) [bar[2], bar[3]] = [at, state];
    else this.load();
  }

  draw() {
    const { run, canvas } = this;
    const shown = run.first && this.until > run.first;
    this.root.toggleAttribute("data-empty", !shown);
    if (!shown || !canvas.clientWidth) return;
    const busy = [
      ...run.bars.map(([, from, to]) => [from, to ?? this.until]),
      ...run.counts,
      ...run.marks.map(([, at]) => [at, at]),
      ...run.ticks.map((at) => [at, at]),
    ];
    const idle = gaps(busy, run.first, this.until);
    this.fold.hidden = !idle.length;
    this.scale = new Scale(run.first, this.until, canvas.clientWidth, this.folded ? idle : []);
    paint(canvas, run, this.scale, this.until);
    this.#place();
    this.on.drawn();
  }

  /** Where the reader is; null for the live edge. Painted with the next frame. */
  show(moment) {
    this.moment = moment;
    this.placing ||= requestAnimationFrame(() => {
      this.placing = 0;
      if (this.scale) this.#place();
    });
  }

  #place() {
    const at = Math.min(this.moment ?? this.until, this.until);
    const x = this.scale.x(at);
    this.head.style.transform = `translateX(${x}px)`;
    const text = offset(at - this.started);
    this.bubble.textContent = text;
    this.bubble.toggleAttribute("data-left", x > this.scale.width - 70);
    this.root.toggleAttribute("data-past", this.moment !== null);
    this.track.setAttribute("aria-valuemax", Math.round((this.until - this.run.first) / 1000));
    this.track.setAttribute("aria-valuenow", Math.round((at - this.run.first) / 1000));
    this.track.setAttribute("aria-valuetext", this.moment === null ? `${text}, live edge` : `${text}${this.#at(at)}`);
  }

  #at(at) {
    const bar = this.run.bars.findLast(([, from, to]) => from <= at && at <= (to ?? this.until));
    return bar ? `, ${bar[4]}, ${STATES[bar[3]]}` : "";
  }

  #listen() {
    const { track } = this;
    const seek = (event) => {
      const x = event.clientX - track.getBoundingClientRect().left;
      const { clientWidth } = this.canvas;
      if (!this.scale) return;
      if (x >= clientWidth - 3) this.on.live();
      else this.on.seek(this.scale.at(Math.max(0, x)));
    };
    track.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      track.setPointerCapture(event.pointerId);
      seek(event);
    });
    track.addEventListener("pointermove", (event) => {
      if (track.hasPointerCapture(event.pointerId)) seek(event);
      else this.#hint(event);
    });
    track.addEventListener("keydown", (event) => this.#key(event));
    this.fold.addEventListener("click", () => {
      this.fold.setAttribute("aria-pressed", !this.folded);
      this.draw();
    });
  }

  #hint(event) {
    if (!this.scale) return;
    const at = this.scale.at(event.clientX - this.track.getBoundingClientRect().left);
    this.track.title = `${offset(at - this.started)}${this.#at(at)}`;
  }

  #key(event) {
    if (!this.scale || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.moment ?? this.until;
    if (event.key === "End") this.on.live();
    else if (event.key === "Home") this.on.seek(this.run.first);
    else if (STEP[event.key]) {
      const x = this.scale.x(at) + STEP[event.key] * this.canvas.clientWidth;
      if (x >= this.canvas.clientWidth) this.on.live();
      else this.on.seek(this.scale.at(Math.max(0, x)));
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
