// The rows on the page: placed by seq, put into their command's card, and never too many.

const TARGET = {
  "command.output": "output",
  "command.exited": "status",
  "terminal.output": "output",
  "terminal.input": "output",
  "terminal.resized": "output",
  "terminal.closed": "status",
  "code.output": "output",
  "code.result": "output",
  "code.error": "output",
  "code.done": "status",
};
const STARTS = new Set(["command.started", "terminal.opened", "code.run"]);
const ENDS = new Set(["command.exited", "terminal.closed", "code.done"]);
const HIDDEN = 20; // events of output kept of a command that a filter hides while it runs
const seqOf = (element) => Number(element.dataset.seq);

/** Turns a server's fragment into its row elements. */
export function parse(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return [...template.content.children];
}

export class Rows {
  /** `list` holds the rows; `dress(row)` is called once for each row that comes in. */
  constructor(list, dress) {
    this.list = list;
    this.dress = dress;
    this.cards = new Map();
    this.touched = new Set();
    this.hint = null;
    this.head = Infinity;
    this.tail = 0;
  }

  get size() {
    return this.list.querySelectorAll("[data-seq]").length;
  }

  /** Takes over the flat rows that the server rendered. */
  adopt() {
    const rows = [...this.list.children];
    this.list.replaceChildren();
    return this.add(rows);
  }

  clear() {
    this.list.replaceChildren();
    this.cards.clear();
    this.head = Infinity;
    this.tail = 0;
  }

  /** Places rows, ignoring those already held. Answers what is new on the page. */
  add(rows) {
    this.hint = null;
    return rows.map((row) => row.dataset.seq && this.#place(row)).filter(Boolean);
  }

  /** Says that every seq from `from` to `to` is now held. */
  cover(from, to) {
    this.head = Math.min(this.head, from);
    this.tail = Math.max(this.tail, to);
  }

  #place(row) {
    const held = document.getElementById(row.id);
    if (held) return this.#known(held, row);
    this.dress(row);
    if (STARTS.has(row.dataset.kind)) {
      this.cards.set(row.dataset.span, row);
      this.touched.add(row);
    }
    const card = this.cards.get(row.dataset.span);
    const target = card && TARGET[row.dataset.kind];
    this.#insert(target ? card.querySelector(`[data-slot="${target}"]`) : this.list, row);
    if (target) this.#joined(card, row, target);
    return row;
  }

  // A stub stands for a command whose start lies further up; the real row moves it to its place.
  #known(held, row) {
    if (!("stub" in held.dataset) || "stub" in row.dataset) return null;
    delete held.dataset.stub;
    this.#insert(this.list, held);
    this.touched.add(held);
    return held;
  }

  #joined(card, row, target) {
    this.touched.add(card);
    if (target === "output" && card.dataset.said !== "image") card.dataset.said = row.querySelector("img") ? "image" : "text";
    if (ENDS.has(row.dataset.kind)) card.dataset.state = row.dataset.state ?? "bad";
  }

  #insert(parent, row) {
    const seq = seqOf(row);
    let before = this.hint?.parentNode === parent && seqOf(this.hint) < seq ? this.hint : null;
    if (before && before.nextElementSibling && seqOf(before.nextElementSibling) < seq) before = null;
    if (!before) {
      before = parent.lastElementChild;
      while (before && (before === row || !before.dataset.seq || seqOf(before) > seq))
        before = before.previousElementSibling;
    }
    if (before) before.after(row);
    else parent.prepend(row);
    this.hint = row;
  }

  /** Drops the oldest rows in front of `seen` until `keep` are left. Cards that still speak stay, as stubs. */
  dropOldest(keep, seen = Infinity) {
    const seqs = this.#seqs();
    if (seqs.length <= keep) return;
    const cut = Math.min(seqs[seqs.length - keep], seen);
    this.#drop((row) => seqOf(row) < cut, true);
    this.head = cut;
  }

  /** Drops the newest rows behind `seen` until `keep` are left; the stream goes on without showing. */
  dropNewest(keep, seen = 0) {
    const seqs = this.#seqs();
    if (seqs.length <= keep) return;
    const cut = Math.max(seqs[keep], seen + 1);
    if (cut > seqs.at(-1)) return;
    this.#drop((row) => seqOf(row) >= cut, false);
    this.tail = cut - 1;
  }

  /** Takes rows out that are not wanted. A command that runs stays hidden, with little output. */
  hide(tops) {
    for (const top of tops) {
      const runs = top.dataset.state === "running";
      top.toggleAttribute("data-out", runs);
      if (!runs) this.#forget(top);
      else for (const row of [...top.querySelectorAll(".out")].slice(0, -HIDDEN)) row.remove();
    }
  }

  #seqs() {
    return [...this.list.querySelectorAll("[data-seq]")].map(seqOf).sort((a, b) => a - b);
  }

  #drop(doomed, stubs) {
    const cards = [];
    for (const row of this.list.querySelectorAll("[data-seq]")) {
      if (!doomed(row)) continue;
      if (STARTS.has(row.dataset.kind)) cards.push(row);
      else this.#remove(row, stubs);
    }
    for (const card of cards) {
      const speaks = card.dataset.state === "running" || card.querySelector("[data-seq]");
      if (stubs && speaks) card.dataset.stub = "";
      else this.#forget(card);
    }
  }

  // Dropped from the newest end, a command's exit is still to come as far as the page knows.
  #remove(row, oldest) {
    const card = row.parentElement.closest("[data-span]");
    if (card && !oldest && ENDS.has(row.dataset.kind)) card.dataset.state = "running";
    const slot = row.parentElement;
    row.remove();
    if (card && slot.dataset.slot === "output" && !slot.firstElementChild) delete card.dataset.said;
  }

  #forget(card) {
    this.cards.delete(card.dataset.span);
    card.remove();
  }
}
