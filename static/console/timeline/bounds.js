// How much the page holds: what folded cards do not show goes first, and nothing goes that is in view.

const MOST = 900; // rows on the page
const KEEP = 800; // rows left after dropping some
const MUCH = 100; // pieces of output in one folded card
const SPARE = 200; // pixels above what a card shows that it keeps

export class Bounds {
  constructor(rows, view) {
    this.rows = rows;
    this.view = view;
  }

  /** Drops what is oldest, if there is too much. */
  dropOldest() {
    if (this.#full()) this.rows.dropOldest(KEEP, this.view.shown[0]);
  }

  /** Drops what is newest, if there is too much. */
  dropNewest() {
    if (this.#full()) this.rows.dropNewest(KEEP, this.view.shown[1]);
  }

  /** Drops at the end that is further from where the reader is. */
  dropFar() {
    if (!this.#full()) return;
    const { following, above, list } = this.view;
    if (following || above > list.offsetHeight / 2) this.dropOldest();
    else this.dropNewest();
  }

  #full() {
    if (this.rows.size > MOST) cut(this.rows.list);
    return this.rows.size > MOST;
  }
}

// `data-cut` says that there is more output than a card holds.
function cut(list) {
  const doomed = [...list.querySelectorAll(".card:not([data-open], [data-partial])")].flatMap(hidden);
  for (const row of doomed) {
    row.closest(".card").dataset.cut = "";
    row.remove();
  }
}

// Its pieces lie in their order: from the newest back, all behind the first that is far enough above the frame.
function hidden(card) {
  const pieces = [...card.querySelectorAll('[data-slot="output"] > .out')];
  if (pieces.length <= MUCH) return [];
  const top = card.querySelector(".card-clip").getBoundingClientRect().top - SPARE;
  const last = pieces.findLastIndex((piece) => piece.getBoundingClientRect().bottom < top);
  return pieces.slice(0, last + 1);
}

/** The seq behind which a card's output has to be read again, for who wants to see all of it; undefined where it is all there. */
export function missing(card) {
  if (!card || !("cut" in card.dataset)) return undefined;
  const pieces = card.querySelectorAll('[data-slot="output"] > [data-seq]');
  return Number(pieces[pieces.length - 1]?.dataset.seq ?? card.dataset.seq);
}
