// The socket of a terminal: bytes in both directions, each acknowledged, and it comes back by itself.

const FIRST_RETRY = 250;
const LAST_RETRY = 5_000;
const ACKNOWLEDGE_EVERY = 16 * 1024;
const PIECE = 8 * 1024;
const MOST_UNTAKEN = 32 * 1024; // typed bytes that the shell has not taken yet
const FINAL = { 4400: "malformed", 4401: "signed-out", 4403: "forbidden", 4404: "gone", 4410: "over" };

export class Socket {
  /** `on` has `word(message)`, `bytes(data, shown)` and `state("open" | "away" | a final word)`. */
  constructor(path, on) {
    this.path = path;
    this.on = on;
    this.tries = 0;
    this.queue = [];
    this.untaken = 0;
    this.timer = 0;
    addEventListener("online", () => this.#soon(0));
    document.addEventListener("visibilitychange", () => !document.hidden && this.#soon(0));
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  open() {
    clearTimeout(this.timer);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}${this.path}`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.shown = this.acknowledged = this.waiting = 0;
    const mine = (use) => (event) => socket === this.socket && use(event);
    socket.addEventListener("open", mine(() => this.on.state("open")));
    socket.addEventListener("message", mine(({ data }) => this.#message(data)));
    socket.addEventListener("close", mine(({ code }) => this.#closed(code)));
  }

  #message(data) {
    this.tries = 0;
    if (typeof data !== "string") {
      const { socket } = this;
      this.waiting += 1;
      return this.on.bytes(new Uint8Array(data), () => socket === this.socket && this.#showed(data.byteLength));
    }
    const message = JSON.parse(data);
    if (message.t === "typed") this.untaken = Math.max(0, this.untaken - message.bytes);
    if (message.t === "screen" || message.t === "refused" || message.t === "away") this.#forget();
    this.on.word(message);
    return this.#pump();
  }

  // What is on the screen is acknowledged, not what has arrived: a slow page slows the server down.
  #showed(count) {
    this.shown += count;
    this.waiting -= 1;
    if (this.waiting && this.shown - this.acknowledged < ACKNOWLEDGE_EVERY) return;
    this.acknowledged = this.shown;
    this.say({ t: "ack", bytes: this.shown });
  }

  say(message) {
    if (this.isOpen) this.socket.send(JSON.stringify(message));
  }

  /** Types: in pieces, and no faster than the shell takes them. */
  type(bytes) {
    if (!this.isOpen) return;
    for (let at = 0; at < bytes.length; at += PIECE) this.queue.push(bytes.subarray(at, at + PIECE));
    this.#pump();
  }

  #pump() {
    while (this.queue.length && this.isOpen && this.untaken < MOST_UNTAKEN) {
      const piece = this.queue.shift();
      this.untaken += piece.length;
      this.socket.send(piece);
    }
  }

  #forget() {
    this.queue = [];
    this.untaken = 0;
  }

  #closed(code) {
    this.socket = null;
    this.#forget();
    if (FINAL[code]) return this.on.state(FINAL[code]);
    this.on.state("away");
    const wait = Math.min(LAST_RETRY, FIRST_RETRY * 2 ** this.tries);
    this.tries += 1;
    return this.#soon(wait * (0.5 + Math.random() / 2));
  }

  #soon(wait) {
    if (this.socket || !this.tries) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), wait);
  }
}
