// What brings a websocket back: after a while that grows, and at once when the network or the reader is back.

/** A socket of this console's. */
export function socketTo(path) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return new WebSocket(`${scheme}//${location.host}${path}`);
}

export class Comeback {
  #timer = 0;

  /** `open()` opens the socket where `wanted()` says so; `first` and `last` are waits in milliseconds. */
  constructor({ open, wanted, first = 400, last = 15_000 }) {
    Object.assign(this, { open, wanted, first, last });
    this.tries = 0;
    addEventListener("online", () => this.#soon(0));
    document.addEventListener("visibilitychange", () => document.hidden || this.#soon(0));
  }

  /** It works: how often it failed before counts no more. */
  works() {
    this.tries = 0;
  }

  /** It is gone. */
  after() {
    const wait = Math.min(this.last, this.first * 2 ** this.tries);
    this.tries += 1;
    this.#soon(wait * (0.5 + Math.random() / 2));
  }

  #soon(wait) {
    if (!this.wanted()) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.wanted() && this.open(), wait);
  }
}
