// What is shown: a kind and a word, kept in the address so that a link shows the same view.

const FAILED = '[data-state="bad"], [data-state="late"], [data-kind="sandbox.failed"], [data-kind="limit.hit"], [data-kind="network.denied"]';
const SHOWS = {
  all: () => true,
  commands: (row) => row.matches(".card"),
  files: (row) => row.dataset.kind.startsWith("file."),
  network: (row) => row.dataset.kind.startsWith("network."),
  lifecycle: (row) => /^(sandbox|limit|note|signal)\./.test(row.dataset.kind),
  failed: (row) => row.matches(FAILED),
};

export class Filters {
  /** `changed()` is called after the reader chose something else. */
  constructor(bar, list, changed) {
    this.list = list;
    this.bar = bar;
    this.changed = changed;
    this.read();
    bar.addEventListener("click", (event) => this.#clicked(event));
    this.field = bar.querySelector("[name=q]");
    this.field.addEventListener("input", () => this.#typed());
    this.field.form.addEventListener("submit", (event) => event.preventDefault());
  }

  get active() {
    return this.show !== "all" || this.text !== "";
  }

  /** As the server's history understands it. */
  get query() {
    return { show: this.show === "all" ? "" : this.show, q: this.text };
  }

  read() {
    const query = new URLSearchParams(location.search);
    this.show = SHOWS[query.get("show")] ? query.get("show") : "all";
    this.text = query.get("q") ?? "";
  }

  #clicked(event) {
    const choice = event.target.closest("[data-show]");
    if (!choice) return;
    event.preventDefault();
    this.show = choice.dataset.show;
    this.#apply();
  }

  #typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.text = this.field.value.trim();
      this.#apply();
    }, 180);
  }

  #apply() {
    const url = new URL(location.href);
    for (const [name, value] of Object.entries(this.query)) {
      if (value) url.searchParams.set(name, value);
      else url.searchParams.delete(name);
    }
    history.replaceState(null, "", url);
    this.paint();
    this.changed();
  }

  /** Marks the chosen button and shows the rows that match. */
  paint() {
    for (const choice of this.bar.querySelectorAll("[data-show]"))
      choice.setAttribute("aria-pressed", choice.dataset.show === this.show);
    this.apply(this.list.children);
  }

  apply(rows) {
    const word = this.text.toLowerCase();
    for (const row of rows) row.toggleAttribute("data-out", !this.#matches(row, word));
  }

  #matches(row, word) {
    if (!row.dataset.kind) return true;
    if (!SHOWS[this.show](row)) return false;
    return !word || row.textContent.toLowerCase().includes(word);
  }
}
