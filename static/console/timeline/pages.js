// History by keyset: the same rows as the stream's, a page at a time.

const LIMIT = 200;

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
