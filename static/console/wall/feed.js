// A socket that only listens: it comes back by itself, and says on the page whether it is there.
import { Comeback, socketTo } from "../comeback.js";

// The server says something every ten seconds at the latest.
const SILENCE = 30_000;
const SIGNED_OUT = 4401;
const FORBIDDEN = 4403;

export class Feed {
  constructor(path, take) {
    this.path = path;
    this.take = take;
    this.comeback = new Comeback({ open: () => this.open(), wanted: () => !this.socket });
  }

  open() {
    const socket = socketTo(this.path);
    this.socket = socket;
    socket.addEventListener("message", ({ data }) => {
      if (socket !== this.socket) return;
      this.comeback.works();
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
    return this.comeback.after();
  }

  #state(state) {
    document.documentElement.dataset.socket = state;
  }
}
