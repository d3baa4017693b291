// The socket: says what it already holds, acknowledges what it got, and comes back by itself.

const FIRST_RETRY = 400;
const LAST_RETRY = 15_000;
// The server pauses at 256 KiB unacknowledged; a word every 32 KiB keeps it going.
const ACKNOWLEDGE_EVERY = 32 * 1024;
const FINAL = { 4401: "signed-out", 4403: "forbidden", 4404: "gone" };

export class Stream {
  /** `on` has `frame(frame)`, `state("live" | "offline" | a final word)`. `after()` is the last seq held. */
  constructor(path, after, on) {
    this.path = path;
    this.after = after;
    this.on = on;
    this.tries = 0;
    this.bytes = 0;
    this.acknowledged = 0;
    this.timer = 0;
    addEventListener("online", () => this.#soon(0));
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.socket?.readyState !== WebSocket.OPEN) this.#soon(0);
    });
  }

  open() {
    clearTimeout(this.timer);
    this.timer = 0;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    this.bytes = this.acknowledged = 0;
    const socket = new WebSocket(`${scheme}//${location.host}${this.path}?after=${this.after()}`);
    this.socket = socket;
    socket.addEventListener("message", ({ data }) => {
      if (socket === this.socket) this.#message(JSON.parse(data));
    });
    socket.addEventListener("close", ({ code }) => {
      if (socket === this.socket) this.#closed(code);
    });
  }

  #message(frame) {
    if (frame.t === "edge") this.tries = 0;
    this.on.frame(frame);
    if (frame.html === undefined) return;
    this.bytes += frame.html.length;
    if (this.bytes - this.acknowledged < ACKNOWLEDGE_EVERY) return;
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.acknowledged = this.bytes;
    this.socket.send(JSON.stringify({ t: "ack", bytes: this.bytes }));
  }

  #closed(code) {
    this.socket = null;
    if (FINAL[code]) return this.on.state(FINAL[code]);
    this.on.state("offline");
    const wait = Math.min(LAST_RETRY, FIRST_RETRY * 2 ** this.tries);
    this.tries += 1;
    return this.#soon(wait * (0.5 + Math.random() / 2));
  }

  #soon(wait) {
    if (this.socket) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), wait);
  }
}
