// History by keyset: the same rows as the stream's, a page at a time.

const LIMIT = 200;
const STEP = 60; // rows of a page while the reader scrolls: placing them takes less than a frame
const AHEAD = 3; // pages that are fetched before they are wanted

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

/** Pages in front of what is held or behind it; those in front are fetched while the last are being looked at. */
export class Pages {
  /** `onward`: towards the newest rows. */
  constructor(address, { onward = false } = {}) {
    this.address = address;
    this.onward = onward;
    this.#begin(0, "");
  }

  #begin(from, filter) {
    this.from = from;
    this.filter = filter;
    this.coming = [];
  }

  #ask(from, filter) {
    const where = this.onward ? { after: from } : { before: from };
    return page(this.address, { ...where, limit: STEP, filter });
  }

  async page(from, filter) {
    const narrowed = JSON.stringify(filter);
    if (this.from !== from || this.filter !== narrowed) this.#begin(from, narrowed);
    if (this.onward) return this.#ask(from, filter);
    this.#fetch(filter);
    const { coming } = this;
    try {
      const got = await coming[0];
      if (coming !== this.coming) return got; // others have been asked for meanwhile
      this.from = got.from;
      coming.shift();
      this.#fetch(filter);
      return got;
    } catch (error) {
      if (coming === this.coming) this.#begin(0, "");
      throw error;
    }
  }

  // One after the other: where a page begins is known when it is there.
  #fetch(filter) {
    while (this.coming.length < AHEAD) {
      const last = this.coming.at(-1) ?? Promise.resolve({ from: this.from });
      const next = last.then((got) => (got.from > 1 ? this.#ask(got.from, filter) : got));
      next.catch(() => {}); // who wants this page hears of it
      this.coming.push(next);
    }
  }
}
