// History by keyset: the same rows as the stream's, a page at a time.

const LIMIT = 200;
const STEP = 50; // rows of a page while the reader scrolls: no more than a frame or two of layout

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

/** Pages in front of what is held, the next one fetched while the last is being looked at. */
export class Behind {
  constructor(address) {
    this.address = address;
    this.next = null;
  }

  #ask(before, filter) {
    const key = JSON.stringify([before, filter]);
    if (this.next?.key !== key) this.next = { key, got: page(this.address, { before, limit: STEP, filter }) };
    return this.next.got;
  }

  async page(before, filter) {
    const asked = this.#ask(before, filter);
    const got = await asked.catch((error) => {
      this.next = null;
      throw error;
    });
    if (got.from > 1) this.#ask(got.from, filter).catch(() => (this.next = null));
    return got;
  }
}

/** A page behind what is held. */
export const onward = (address, after, filter) => page(address, { after, limit: STEP, filter });
