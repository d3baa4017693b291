// History by keyset: the same rows as the stream's, a page at a time.

const LIMIT = 200;
const STEP = 50; // rows of a page while the reader scrolls: no more than a frame or two of layout
const FAST = 200; // for one who is through with the last page already: placing few costs as much as placing many
const SOON = 400; // milliseconds after a page within which the next one says that they are

/** One page of rows `before` or `after` a seq, or `at` a moment. `filter` narrows what is sent. */
export async function page(address, { before, after, at, limit = LIMIT, filter = {}, signal }) {
  const query = new URLSearchParams({ limit });
  if (before !== undefined) query.set("before", before);
  if (after !== undefined) query.set("after", after);
  if (at !== undefined) query.set("at", at);
  for (const [name, value] of Object.entries(filter)) if (value) query.set(name, value);
  const answer = await fetch(`${address}?${query}`, {
    credentials: "same-origin",
    headers: { "HX-Request": "true" },
    signal,
  });
  if (!answer.ok) throw new Error(`history answered ${answer.status}`);
  return {
    html: await answer.text(),
    from: Number(answer.headers.get("x-from")),
    to: Number(answer.headers.get("x-to")),
    at: Number(answer.headers.get("x-at")),
  };
}

/** Pages in front of what is held or behind it, the next one fetched while the last is being looked at. */
export class Pages {
  /** `ahead`: towards the newest rows. */
  constructor(address, { ahead = false } = {}) {
    this.address = address;
    this.ahead = ahead;
    this.next = null;
    this.done = 0;
  }

  #ask(from, filter, limit) {
    const key = JSON.stringify([from, filter]);
    if (this.next?.key === key) return this.next.got;
    const where = this.ahead ? { after: from } : { before: from };
    this.next = { key, got: page(this.address, { ...where, limit, filter }) };
    return this.next.got;
  }

  async page(from, filter) {
    const limit = performance.now() - this.done < SOON ? FAST : STEP;
    const got = await this.#ask(from, filter, limit).catch((error) => {
      this.next = null;
      throw error;
    });
    this.next = null;
    if (!this.ahead && got.from > 1) this.#ask(got.from, filter, limit).catch(() => (this.next = null));
    return got;
  }

  /** What was fetched is on the page. */
  placed() {
    this.done = performance.now();
  }
}
