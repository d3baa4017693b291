// Between moments of a run and places on its strip. Long idle gaps may be folded to a few pixels.

const FOLDED = 22; // pixels of a folded gap
const LEAST_GAP = 20_000;

/** Times in which nothing happened: longer than 20 s and than a twelfth of the run. */
export function gaps(busy, first, last) {
  const least = Math.max(LEAST_GAP, (last - first) / 12);
  const spans = busy.filter(([from, to]) => to >= from).sort((a, b) => a[0] - b[0]);
  const found = [];
  let reached = first;
  for (const [from, to] of [...spans, [last, last]]) {
    if (from - reached > least) found.push([reached, from]);
    reached = Math.max(reached, to);
  }
  return found;
}

export class Scale {
  /** `idle` are the gaps to fold, in order. */
  constructor(first, last, width, idle = []) {
    this.first = first;
    this.last = Math.max(last, first + 1);
    this.width = width;
    const folded = idle.slice(0, Math.floor(width / 3 / FOLDED));
    const away = folded.reduce((sum, [from, to]) => sum + to - from, 0);
    const rate = (width - folded.length * FOLDED) / Math.max(1, this.last - first - away);
    this.parts = [];
    let [at, x] = [first, 0];
    for (const [from, to] of folded) {
      this.#add(at, from, x, (x += (from - at) * rate));
      this.#add(from, to, x, (x += FOLDED), true);
      at = to;
    }
    this.#add(at, this.last, x, width);
  }

  #add(from, to, left, right, folded = false) {
    if (to > from) this.parts.push({ from, to, left, right, folded });
  }

  x(at) {
    const part = this.parts.find(({ to }) => at <= to) ?? this.parts.at(-1);
    const share = (Math.max(at, part.from) - part.from) / (part.to - part.from);
    return part.left + Math.min(1, share) * (part.right - part.left);
  }

  at(x) {
    const part = this.parts.find(({ right }) => x <= right) ?? this.parts.at(-1);
    const share = (Math.max(x, part.left) - part.left) / (part.right - part.left || 1);
    return part.from + Math.min(1, share) * (part.to - part.from);
  }
}
