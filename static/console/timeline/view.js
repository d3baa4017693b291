// Where the reader looks: stuck to the live edge, or held still while the stream goes on.

const NEAR = 32;
const ROOM = 100_000; // pixels above the rows for older ones to come into, at most
const LITTLE = 5_000; // pixels of it with which there is little left
const PEEK = 240; // pixels of the room above the rows that may be seen while older ones are on their way

export class View {
  /**
   * `room` is an empty element above the rows: what comes in there takes of it, so that nothing moves and nothing has
   * to be painted again. `changed()` is called when following turns to holding or back.
   */
  constructor(scroller, list, room, changed) {
    this.scroller = scroller;
    this.list = list;
    this.room = room;
    this.free = 0; // pixels of room
    this.changed = changed;
    this.following = true;
    this.attached = () => true;
    this.last = scroller.scrollTop;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    const watcher = new ResizeObserver(() => this.following && this.pin());
    watcher.observe(list);
    watcher.observe(scroller);
  }

  get atBottom() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR;
  }

  /** Pixels of rows above what is shown. */
  get above() {
    return this.scroller.scrollTop - this.free;
  }

  /** Makes that many pixels of room above the rows. What is shown stays, though it has to be painted again. */
  makeRoom(pixels) {
    const more = pixels - this.free;
    if (!more) return;
    this.#setRoom(pixels);
    this.#scrollBy(more);
  }

  /** Makes room for as many older events as are to come, each as high as the `held` ones are, if there is little left. */
  roomFor(older, held) {
    if (older <= 0) return this.makeRoom(0);
    if (this.free > LITTLE) return undefined;
    const { offsetHeight: height } = this.list;
    if (height < this.scroller.clientHeight) return this.makeRoom(0);
    const coming = Math.round((height / held) * older);
    return this.free < coming / 2 ? this.makeRoom(Math.min(ROOM, coming)) : undefined;
  }

  #setRoom(pixels) {
    this.free = pixels;
    this.room.style.blockSize = `${pixels}px`;
  }

  #scrollBy(pixels) {
    this.scroller.scrollTop += pixels;
    this.last = this.scroller.scrollTop;
  }

  pin() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.last = this.scroller.scrollTop;
  }

  hold() {
    this.#set(false);
  }

  /** Holds at the first row. */
  toTop() {
    this.hold();
    this.scroller.scrollTop = this.free;
  }

  follow() {
    this.#set(true);
    this.pin();
  }

  #set(following) {
    if (this.following === following) return;
    this.following = following;
    this.changed();
  }

  #scrolled() {
    if (this.above < -PEEK) this.scroller.scrollTop = this.free - PEEK;
    const up = this.scroller.scrollTop < this.last - 1;
    this.last = this.scroller.scrollTop;
    if (this.following && up && !this.atBottom) this.hold();
    else if (!this.following && !up && this.atBottom && this.attached()) this.follow();
  }

  /** Changes the page without moving what the reader is looking at. */
  keep(change) {
    if (this.following) {
      change();
      this.pin();
      return;
    }
    const anchor = this.#anchor();
    const before = anchor?.getBoundingClientRect().top;
    change();
    if (!anchor?.isConnected) return;
    this.#moved(anchor.getBoundingClientRect().top - before);
  }

  // What came in above takes of the room there, what went away leaves it, as far as there is any.
  #moved(by) {
    if (!by) return;
    const taken = this.free ? Math.min(by, this.free) : 0;
    if (taken) this.#setRoom(this.free - taken);
    if (by - taken) this.#scrollBy(by - taken);
  }

  // The first visible row; inside a tall card, the first visible piece of its output.
  #anchor() {
    const edge = this.scroller.getBoundingClientRect().top;
    const row = firstBelow(this.list.children, edge);
    if (!row || row.getBoundingClientRect().top >= edge) return row;
    const inner = row.querySelector('[data-slot="output"]');
    return (inner && firstBelow(inner.children, edge)) ?? row;
  }

  /** The first and the last seq of what is shown; of an open card, of the part of its output that is. */
  get shown() {
    const { top, bottom } = this.scroller.getBoundingClientRect();
    const seqs = [];
    let row = firstBelow(this.list.children, top);
    for (; row && row.getBoundingClientRect().top < bottom; row = row.nextElementSibling)
      if (row.getClientRects().length) seqs.push(...seqsOf(row, top, bottom));
    return [Math.min(...seqs), Math.max(...seqs)];
  }

  /** The row in the middle of what is shown. */
  middle() {
    const box = this.scroller.getBoundingClientRect();
    return firstBelow(this.list.children, box.top + box.height / 2);
  }

  /** Brings an element into the middle and holds there. */
  show(element) {
    this.hold();
    element.scrollIntoView({ block: element.offsetHeight > this.scroller.clientHeight ? "start" : "center" });
    this.last = this.scroller.scrollTop;
  }
}

function seqsOf(row, top, bottom) {
  const pieces = row.querySelectorAll("[data-seq]");
  const inner = "open" in row.dataset && row.querySelector('[data-slot="output"]');
  const held = inner
    ? [firstBelow(inner.children, top), firstBelow(inner.children, bottom) ?? pieces[pieces.length - 1]]
    : [row, ...pieces];
  if (inner && row.getBoundingClientRect().top >= top) held.push(row);
  return held.map((piece) => Number(piece?.dataset.seq)).filter(Boolean);
}

// Binary search: rows lie one under the other. Filtered rows have no box and count as above.
function firstBelow(children, edge) {
  let [low, high] = [0, children.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    let probe = middle;
    while (probe < high && !children[probe].getClientRects().length) probe += 1;
    if (probe < high && children[probe].getBoundingClientRect().bottom > edge) high = middle;
    else low = probe + 1;
  }
  let found = children[low];
  while (found && !found.getClientRects().length) found = found.nextElementSibling;
  return found ?? null;
}
