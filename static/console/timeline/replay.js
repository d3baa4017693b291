// Plays a run again: rows come in as they did, at a speed, with idle times cut if wanted.

const AHEAD = 400; // events fetched at a time
const LOW = 150; // left when the next are fetched
const CUT = 2000; // milliseconds of nothing after which an idle time is cut
const BEFORE_CUT = 400;
const MOST_A_FRAME = 60;

export class Replay {
  /**
   * `on.page(after, limit)` fetches flat rows and `to`, `on.show(rows, to)` puts them on the page,
   * `on.moved(ms)` is told where it is, `on.over()` that there is no more, `on.state()` of changes.
   */
  constructor(on) {
    this.on = on;
    this.playing = false;
    this.active = false;
    this.speed = 1;
    this.cut = true;
    this.queue = [];
  }

  /** From a moment on; `after` is the last event that is shown already. */
  play(at, after) {
    this.stop();
    this.active = this.playing = true;
    this.clock = at;
    this.reached = after;
    this.queue = [];
    this.finished = false;
    this.last = performance.now();
    this.#fill();
    this.frame = requestAnimationFrame(() => this.#tick());
    this.on.state();
  }

  pause() {
    this.playing = false;
    cancelAnimationFrame(this.frame);
    this.on.state();
  }

  resume() {
    if (!this.active || this.playing) return;
    this.playing = true;
    this.last = performance.now();
    this.frame = requestAnimationFrame(() => this.#tick());
    this.on.state();
  }

  stop() {
    cancelAnimationFrame(this.frame);
    this.turn = (this.turn ?? 0) + 1;
    const was = this.active;
    this.active = this.playing = false;
    this.filling = false;
    if (was) this.on.state();
  }

  async #fill() {
    if (this.filling || this.finished) return;
    this.filling = true;
    const turn = this.turn;
    try {
      const { rows, to } = await this.on.page(this.reached, AHEAD);
      if (turn !== this.turn) return;
      this.finished = to <= this.reached;
      this.queue.push(...rows.filter((row) => Number(row.dataset.seq) > this.reached));
      this.reached = Math.max(this.reached, to);
    } catch {
      if (turn === this.turn) this.pause();
    } finally {
      if (turn === this.turn) this.filling = false;
    }
  }

  #tick() {
    if (!this.playing) return;
    const time = performance.now();
    if (this.queue.length || this.finished) this.clock += Math.min(250, time - this.last) * this.speed;
    this.last = time;
    this.#due();
    if (this.queue.length < LOW) this.#fill();
    if (this.finished && !this.queue.length) {
      this.pause();
      this.on.over();
      return;
    }
    this.frame = requestAnimationFrame(() => this.#tick());
  }

  // A clock that jumped back does not hold up what comes after it.
  #due() {
    const at = (row) => Number(row.dataset.at) / 1000;
    let count = 0;
    while (count < this.queue.length && count < MOST_A_FRAME && at(this.queue[count]) <= this.clock) count += 1;
    const due = this.queue.splice(0, count);
    if (due.length) this.on.show(due, Number(due.at(-1).dataset.seq));
    const next = this.queue[0];
    if (this.cut && !due.length && next && at(next) - this.clock > CUT * Math.max(1, this.speed / 4))
      this.clock = at(next) - BEFORE_CUT * this.speed;
    this.on.moved(this.clock);
  }
}
