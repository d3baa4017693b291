// A socket that only listens: it comes back by itself, and says on the page whether it is there.

const FIRST_RETRY = 400;
const LAST_RETRY = 15_000;
// The server says something every ten seconds at the latest.
const SILENCE = 30_000;
const SIGNED_OUT = 4401;
const FORBIDDEN = 4403;

export class Feed {
  constructor(path, take) {
    this.path = path;
    this.take = take;
    this.tries = 0;
    this.timer = 0;
    addEventListener("online", () => this.#soon(0));
    document.addEventListener("visibilitychange", () => document.hidden || this.#soon(0));
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}${this.path}`);
    this.socket = socket;
    socket.addEventListener("message", ({ data }) => {
      if (socket !== this.socket) return;
      this.tries = 0;
      this.#state("open");
      this.#watch();
      this.take(JSON.parse(data));
    });
    socket.addEventListener("close", ({ code }) => socket === this.socket && this.#closed(code));
  }

  #watch() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.#closed(0), SILENCE);
  }

  #closed(code) {
    clearTimeout(this.silence);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.#state("away");
    if (code === SIGNED_OUT) return location.assign(`/login/?next=${encodeURIComponent(location.pathname)}`);
    if (code === FORBIDDEN) return location.reload();
    const wait = Math.min(LAST_RETRY, FIRST_RETRY * 2 ** this.tries);
    this.tries += 1;
    return this.#soon(wait * (0.5 + Math.random() / 2));
  }

  #soon(wait) {
    if (this.socket) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.socket || this.open(), wait);
  }

  #state(state) {
    document.documentElement.dataset.socket = state;
  }
}
