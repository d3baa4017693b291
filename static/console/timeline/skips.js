// What was left out for a reader who was too slow: a row that loads it.
import { page } from "./pages.js";

const MOST = 500; // events loaded by one click

/** `line` puts rows on the page: `put(html, rows)`. */
export class Skips {
  constructor(template, address, put) {
    this.template = template;
    this.address = address;
    this.put = put;
  }

  /** A row that stands for `from`…`to`. */
  row(from, to) {
    const row = this.template.content.firstElementChild.cloneNode(true);
    Object.assign(row.dataset, { seq: from, from, to });
    row.id = `skip${from}`;
    row.querySelector("[data-count]").textContent = (to - from + 1).toLocaleString();
    return row;
  }

  async load(row) {
    const [from, to] = [Number(row.dataset.from), Number(row.dataset.to)];
    row.toggleAttribute("data-busy", true);
    try {
      const got = await page(this.address, { after: from - 1, limit: Math.min(MOST, to - from + 1) });
      this.put(row, got.html, got.to && got.to < to ? [this.row(got.to + 1, to)] : []);
    } finally {
      row.toggleAttribute("data-busy", false);
    }
  }
}
