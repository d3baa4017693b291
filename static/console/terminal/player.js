// Plays an asciicast v2 recording on a screen: any speed, idle time cut, and to any moment.

const IDLE = 2; // seconds of silence that are worth watching

/** The header and the events of a recording; a line that was cut off is left out. */
export function parse(text) {
  const lines = text.split("\n");
  const header = JSON.parse(lines[0]);
  const events = [];
  for (const line of lines.slice(1)) {
    try {
      if (line) events.push(JSON.parse(line));
    } catch {
      break;
    }
  }
  return { header, events };
}

/** The moments of events once every silence is at most `IDLE` seconds long. */
export function withoutIdle(events) {
  let shift = 0;
  let last = 0;
  return events.map(([at]) => {
    shift += Math.max(0, at - last - IDLE);
    last = at;
    return at - shift;
  });
}

export class Player {
  /** `changed()` is called whenever the position or the state has. */
  constructor(terminal, { header, events }, { resized, changed }) {
    Object.assign(this, { terminal, header, events, resized, changed });
    this.original = events.map(([at]) => at);
    this.cut = withoutIdle(events);
    this.skipIdle = true;
    this.speed = 1;
    this.index = 0;
    this.position = 0;
    this.playing = false;
    this.#restart();
  }

  get times() {
    return this.skipIdle ? this.cut : this.original;
  }

  get length() {
    return this.times.at(-1) ?? 0;
  }

  /** Where the position is for a second of the recording as it was, idle times cut or not. */
  placeOf(second) {
    const index = this.original.findLastIndex((at) => at <= second);
    return index < 0 ? 0 : this.times[index];
  }

  #restart() {
    this.index = 0;
    this.terminal.write("\x1bc"); // in its place among what is still being drawn
    this.#resize(`${this.header.width}x${this.header.height}`);
  }

  #resize(text) {
    const [columns, rows] = text.split("x").map(Number);
    if (!(columns > 1 && rows > 1 && columns <= 1000 && rows <= 500)) return;
    this.terminal.write("", () => {
      this.terminal.resize(columns, rows);
      this.resized({ columns, rows });
    });
  }

  #show() {
    let text = "";
    while (this.index < this.events.length && this.times[this.index] <= this.position) {
      const [, kind, data] = this.events[this.index];
      this.index += 1;
      if (kind === "o") text += data;
      if (kind !== "r") continue;
      this.terminal.write(text);
      text = "";
      this.#resize(data);
    }
    if (text) this.terminal.write(text);
  }

  play() {
    if (this.playing) return;
    if (this.position >= this.length) this.seek(0);
    this.playing = true;
    let before = performance.now();
    const frame = (now) => {
      if (!this.playing) return;
      this.position = Math.min(this.length, this.position + ((now - before) / 1000) * this.speed);
      before = now;
      this.#show();
      if (this.position >= this.length) this.playing = false;
      else requestAnimationFrame(frame);
      this.changed();
    };
    requestAnimationFrame(frame);
    this.changed();
  }

  pause() {
    this.playing = false;
    this.changed();
  }

  seek(position) {
    const target = Math.min(Math.max(0, position), this.length);
    if (target < this.position) this.#restart();
    this.position = target;
    this.#show();
    this.changed();
  }

  /** Cuts idle time or not, staying at the same event. */
  cutIdle(skip) {
    const at = Math.max(0, this.index - 1);
    this.skipIdle = skip;
    this.position = this.index ? (this.times[at] ?? 0) : 0;
    this.changed();
  }
}
