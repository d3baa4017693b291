// The socket: says what it already holds, acknowledges what it got, and comes back by itself.
import { Comeback, socketTo } from "../comeback.js";

// The server pauses at 256 KiB unacknowledged; a word every 32 KiB keeps it going.
const ACKNOWLEDGE_EVERY = 32 * 1024;
const FINAL = { 4401: "signed-out", 4403: "forbidden", 4404: "gone" };

export class Stream {
  /** `on` has `frame(frame)`, `state("live" | "offline" | a final word)`. `after()` is the last seq held. */
  constructor(path, after, on) {
    this.path = path;
    this.after = after;
    this.on = on;
    this.bytes = 0;
    this.acknowledged = 0;
    this.comeback = new Comeback({ open: () => this.open(), wanted: () => !this.socket });
  }

  open() {
    this.bytes = this.acknowledged = 0;
    const socket = socketTo(`${this.path}?after=${this.after()}`);
    this.socket = socket;
    socket.addEventListener("message", ({ data }) => {
      if (socket === this.socket) this.#message(JSON.parse(data));
    });
    socket.addEventListener("close", ({ code }) => {
      if (socket === this.socket) this.#closed(code);
    });
  }

  #message(frame) {
    if (frame.t === "edge") this.comeback.works();
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
    return this.comeback.after();
  }
}
