// Back and forth in a run: the strip and the replay move the timeline, and follow it.
import { millis, showAt } from "../time.js";
import { teller } from "./beside.js";
import { page } from "./pages.js";
import { parse } from "./rows.js";
import { Strip } from "./strip.js";

const QUIET = 400; // milliseconds after a jump in which scrolling is the page's own

export class Journey {
  /** `line` is what the timeline offers: rows, view, edge(), replace(), append(), live(), changed(), failed(). */
  constructor(root, line) {
    this.root = root;
    this.line = line;
    this.quiet = 0;
    this.beside = teller(root.dataset.sandbox);
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.strip = new Strip(this.part("strip"), { seek: (at) => this.seek(at), live: () => line.live(), drawn: () => this.#drawn() });
    this.replay = { active: false, playing: false, stop() {}, pause() {} }; // until the first one
    this.part("play").addEventListener("click", () => this.toggle());
    this.part("speed").addEventListener("change", ({ target }) => (this.replay.speed = Number(target.value)));
    this.part("fold").addEventListener("click", () => (this.replay.cut = this.strip.folded));
    this.part("to-live").addEventListener("click", () => line.live());
    line.view.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    setInterval(() => !document.hidden && !this.strip.run.ended && this.strip.draw(), 1000);
  }

  get active() {
    return this.replay.active;
  }

  start() {
    this.strip.load();
  }

  /** Whether the whole run is there: nothing comes after its last event. */
  get complete() {
    const { first, ended } = this.strip.run;
    return Boolean(first) && ended;
  }

  #drawn() {
    if (this.root.toggleAttribute("data-complete", this.complete) !== this.said) this.line.changed();
    this.said = this.complete;
  }

  async #player() {
    const { Replay } = await import("./replay.js");
    if (this.replay instanceof Replay) return;
    this.replay = new Replay({
      page: (after, limit) => this.#page({ after, limit }),
      show: (rows, to) => this.line.append(rows, to),
      moved: (at) => this.#moved(at),
      over: () => this.#over(),
      state: () => this.#paint(),
    });
    this.replay.speed = Number(this.part("speed").value);
    this.replay.cut = this.strip.folded;
  }

  /** The timeline turned to following or holding. */
  turned() {
    if (this.replay.playing && !this.line.view.following) this.replay.pause();
    if (!this.active && this.line.view.following) this.strip.show(null);
  }

  /** Leaves the past. */
  end() {
    this.replay.stop();
    showAt(null);
    this.strip.show(null);
    this.#tell(null);
  }

  async #page(ask) {
    const got = await page(this.root.dataset.rows, ask);
    return { ...got, rows: parse(got.html) };
  }

  /** Shows a moment; what is recorded meanwhile goes on behind it. */
  async seek(at) {
    const playing = this.replay.playing;
    if (this.active) this.replay.stop();
    this.line.view.hold();
    this.strip.show(at);
    this.#tell(at);
    this.wanted = at;
    if (playing) return this.play(at);
    if (this.#holds(at)) return this.#bring(at);
    if (this.seeking) return undefined;
    this.seeking = true;
    try {
      while (!this.#holds(this.wanted)) {
        const moment = this.wanted;
        const got = await this.#page({ at: Math.round(moment) });
        this.line.replace(got);
        this.#bring(moment);
        if (this.wanted === moment) break;
      }
      this.#bring(this.wanted);
    } catch {
      this.line.failed();
    } finally {
      this.seeking = false;
    }
    return undefined;
  }

  #tops() {
    return [...this.line.rows.list.children].filter((row) => row.dataset.at && !("stub" in row.dataset));
  }

  #holds(at) {
    const tops = this.#tops();
    if (!tops.length) return false;
    const [first, last] = [millis(tops[0].dataset.at), millis(tops.at(-1).dataset.at)];
    const { rows } = this.line;
    return (first <= at || rows.head <= 1) && (last >= at || rows.tail >= this.line.edge());
  }

  #bring(at) {
    const tops = this.#tops();
    const row = tops.findLast((row) => millis(row.dataset.at) <= at) ?? tops[0];
    if (!row) return;
    this.quiet = performance.now() + QUIET;
    this.line.view.show(row);
  }

  /** Plays from a moment on: what was before it is there, the rest comes in as it did. */
  async play(at) {
    const moment = at ?? this.strip.moment ?? this.strip.run.first;
    try {
      await this.#player();
      const got = await this.#page({ at: Math.round(moment) });
      const before = got.rows.filter((row) => Number(row.dataset.seq) <= got.at);
      this.replay.stop();
      this.replay.active = true;
      this.line.replace({ ...got, rows: before, to: got.at });
      this.line.view.follow();
      this.replay.play(moment, got.at);
    } catch {
      this.replay.stop();
      this.line.failed();
    }
  }

  toggle() {
    if (this.replay.playing) this.replay.pause();
    else if (this.active) {
      this.line.view.follow();
      this.replay.resume();
    } else this.play();
  }

  #moved(at) {
    showAt(at);
    this.strip.show(at);
    this.#tell(at);
  }

  #over() {
    if (!this.strip.run.ended) this.line.live();
  }

  // Held without a replay, the strip shows what is in the middle of the page.
  #scrolled() {
    const { view } = this.line;
    if (this.active || view.following || performance.now() < this.quiet) return;
    const row = view.middle();
    if (!row?.dataset.at) return;
    const at = millis(row.dataset.at);
    this.strip.show(at);
    this.#tell(at);
  }

  // The tabs of files and terminals open at the same moment.
  #lead(at) {
    for (const link of document.querySelectorAll(".box-tabs a")) {
      const address = new URL(link.href);
      if (!/\/(files|terminal)\/$/.test(address.pathname)) continue;
      if (at === null) address.searchParams.delete("at");
      else address.searchParams.set("at", Math.round(at));
      link.href = address;
    }
  }

  #tell(at) {
    clearTimeout(this.leading);
    this.leading = setTimeout(() => this.#lead(at), 100);
    this.beside(at);
    const detail = { at, live: at === null, playing: this.replay.playing };
    this.root.dispatchEvent(new CustomEvent("playhead", { bubbles: true, detail }));
  }

  #paint() {
    const { playing, active } = this.replay;
    this.root.dataset.replay = playing ? "playing" : active ? "paused" : "";
    const play = this.part("play");
    play.setAttribute("aria-label", playing ? "Pause the replay" : "Replay");
    play.toggleAttribute("data-playing", playing);
    if (!active) showAt(null);
    this.line.changed();
  }
}
