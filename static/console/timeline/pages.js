// History by keyset: the same rows as the stream's, a page at a time.

const LIMIT = 200;

/** One page of rows `before` or `after` a seq. `filter` narrows what the server sends. */
export async function page(address, { before, after, limit = LIMIT, filter = {} }) {
  const query = new URLSearchParams({ limit });
  if (before !== undefined) query.set("before", before);
  if (after !== undefined) query.set("after", after);
  for (const [name, value] of Object.entries(filter)) if (value) query.set(name, value);
  const answer = await fetch(`${address}?${query}`, {
    credentials: "same-origin",
    headers: { "HX-Request": "true" },
  });
  if (!answer.ok) throw new Error(`history answered ${answer.status}`);
  return {
    html: await answer.text(),
    from: Number(answer.headers.get("x-from")),
    to: Number(answer.headers.get("x-to")),
  };
}
