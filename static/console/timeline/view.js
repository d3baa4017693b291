// Where the reader looks: stuck to the live edge, or held still while the stream goes on.

const NEAR = 32;

export class View {
  /** `changed()` is called when following turns to holding or back. */
  constructor(scroller, list, changed) {
    this.scroller = scroller;
    this.list = list;
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

  pin() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.last = this.scroller.scrollTop;
  }

  hold() {
    this.#set(false);
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
    const moved = anchor.getBoundingClientRect().top - before;
    if (moved) this.scroller.scrollTop += moved;
    this.last = this.scroller.scrollTop;
  }

  // The first visible row; inside a tall card, the first visible piece of its output.
  #anchor() {
    const edge = this.scroller.getBoundingClientRect().top;
    const row = firstBelow(this.list.children, edge);
    if (!row || row.getBoundingClientRect().top >= edge) return row;
    const inner = row.querySelector('[data-slot="output"]');
    return (inner && firstBelow(inner.children, edge)) ?? row;
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
