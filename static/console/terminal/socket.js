// The socket of a terminal: bytes in both directions, each acknowledged, and it comes back by itself.
import { Comeback, socketTo } from "../comeback.js";

const ACKNOWLEDGE_EVERY = 16 * 1024;
const PIECE = 8 * 1024;
const MOST_UNTAKEN = 32 * 1024; // typed bytes that the shell has not taken yet
const KEPT = 30_000; // ms for which a key that may have been lost with the link is worth typing
const FINAL = { 4400: "malformed", 4401: "signed-out", 4403: "forbidden", 4404: "gone", 4410: "over" };

export class Socket {
  /** `on` has `word(message)`, `bytes(data, shown)` and `state("open" | "away" | a final word)`. */
  constructor(path, on) {
    this.path = path;
    this.on = on;
    const wanted = () => !this.socket && this.comeback.tries > 0;
    this.comeback = new Comeback({ open: () => this.open(), wanted, first: 250, last: 5_000 });
    // Keys are counted from the page's beginning, so that what the link may have lost is typed once.
    this.page = crypto.getRandomValues(new Uint32Array(3)).join("-");
    this.given = 0; // typed here
    this.taken = 0; // by the shell
    this.sent = []; // on the way: it is not known whether they were taken
    this.queue = []; // not sent yet
    this.inStep = false; // whether the other side knows which key comes next
  }

  get isOpen() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  open() {
    const socket = socketTo(`${this.path}&page=${this.page}`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.inStep = false;
    this.shown = this.acknowledged = this.waiting = 0;
    const mine = (use) => (event) => socket === this.socket && use(event);
    socket.addEventListener("open", mine(() => this.on.state("open")));
    socket.addEventListener("message", mine(({ data }) => this.#message(data)));
    socket.addEventListener("close", mine(({ code }) => this.#closed(code)));
  }

  #message(data) {
    this.comeback.works();
    if (typeof data !== "string") {
      const { socket } = this;
      this.waiting += 1;
      return this.on.bytes(new Uint8Array(data), () => socket === this.socket && this.#showed(data.byteLength));
    }
    const message = JSON.parse(data);
    if (message.t === "typed") return this.#typed(message);
    if (message.t === "refused") this.forget();
    if (message.t === "away") this.inStep = false;
    return this.on.word(message);
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
    for (let at = 0; at < bytes.length; at += PIECE) {
      const piece = bytes.subarray(at, at + PIECE);
      this.given += piece.length;
      this.queue.push({ bytes: piece, end: this.given, at: Date.now() });
    }
    this.#pump();
  }

  #pump() {
    while (this.queue.length && this.isOpen && this.inStep && (this.sent.at(-1)?.end ?? 0) - this.taken < MOST_UNTAKEN) {
      const piece = this.queue.shift();
      this.sent.push(piece);
      this.socket.send(piece.bytes);
    }
  }

  // How far the shell has come; `fresh` on a new link, where what it does not know is said again.
  #typed({ bytes, fresh }) {
    this.taken = Math.max(this.taken, bytes);
    this.given = Math.max(this.given, this.taken);
    while (this.sent.length && this.sent[0].end <= this.taken) this.sent.shift();
    if (fresh) {
      const late = Date.now() - KEPT;
      const pieces = [...this.sent, ...this.queue].filter(({ end, at }) => end > this.taken && at > late);
      this.queue = pieces.map((piece) => ({ ...piece, bytes: piece.bytes.subarray(Math.max(0, piece.bytes.length - (piece.end - this.taken))) }));
      this.sent = [];
      this.inStep = true;
      const [first] = this.queue;
      this.say({ t: "from", bytes: first ? first.end - first.bytes.length : this.given });
    }
    this.#pump();
  }

  /** Keys that are nobody's business any more: another drives, or the sandbox stands still. */
  forget() {
    this.queue = [];
    this.sent = [];
    this.given = this.taken;
  }

  #closed(code) {
    this.socket = null;
    if (FINAL[code]) return this.on.state(FINAL[code]);
    this.on.state("away");
    return this.comeback.after();
  }
}
