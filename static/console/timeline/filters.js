// What is shown: kind, who, and text, kept in the address so that a link shows the same view.
// The server finds what there is; here only rows that come in live are judged.

const FAILED = '[data-state="bad"], [data-state="late"], [data-kind="sandbox.failed"], [data-kind="limit.hit"], [data-kind="network.denied"]';
const SHOWS = {
  "": () => true,
  commands: (row) => row.matches(".card"),
  files: (row) => /^(file|snapshot)\./.test(row.dataset.kind),
  network: (row) => row.dataset.kind.startsWith("network."),
  lifecycle: (row) => /^(sandbox|limit|note|signal|log)\./.test(row.dataset.kind),
  failed: (row) => row.matches(FAILED),
};
const NAMES = ["show", "actor", "q"];

// A part begins where a word does, and may end within one: the server's rule too.
function expression(part) {
  const literal = part.replace(/[.*+?^${}()|[\]\\/-]/g, "\\$&");
  return new RegExp((/^[\p{L}\p{N}]/u.test(part) ? "(?<![\\p{L}\\p{N}])" : "") + literal, "gu");
}

export class Filters {
  /** `changed()` is called after the reader chose something else. */
  constructor(bar, changed) {
    this.bar = bar;
    this.changed = changed;
    this.field = bar.querySelector("[name=q]");
    this.who = bar.querySelector("[name=actor]");
    this.found = new WeakSet();
    if (matchMedia("(max-width: 1000px)").matches) this.field.placeholder = this.field.dataset.short;
    this.#read();
    bar.addEventListener("click", (event) => this.#clicked(event));
    this.who.addEventListener("change", () => this.#set({ actor: this.who.value }));
    this.field.addEventListener("input", () => this.#typed());
  }

  get active() {
    return NAMES.some((name) => this.query[name] !== "");
  }

  /** What is searched for, as expressions that all have to match. */
  get parts() {
    return this.query.q.toLowerCase().split(/\s+/).filter(Boolean).map(expression);
  }

  #read() {
    const address = new URLSearchParams(location.search);
    this.query = Object.fromEntries(NAMES.map((name) => [name, address.get(name)?.trim() ?? ""]));
    if (!SHOWS[this.query.show]) this.query.show = "";
    this.#paint();
  }

  /** Shows everything again; answers whether that made a difference. */
  clear() {
    if (!this.active) return false;
    this.field.value = "";
    this.#write({ show: "", actor: "", q: "" });
    return true;
  }

  /** Offers somebody who was not there when the page was made. */
  meet(row) {
    const { by } = row.dataset;
    if (!by || [...this.who.options].some((option) => option.value === by)) return;
    this.who.add(new Option(row.querySelector(".chip")?.textContent.trim() || by, by));
    this.who.hidden = this.who.options.length < 3;
  }

  #clicked(event) {
    const choice = event.target.closest("[data-show]");
    if (!choice) return;
    event.preventDefault();
    this.#set({ show: choice.dataset.show });
  }

  #typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#set({ q: this.field.value.trim() }), 200);
  }

  /** What is typed counts now; resolves when it shows. */
  async submit() {
    clearTimeout(this.timer);
    this.field.blur();
    await this.#set({ q: this.field.value.trim() });
  }

  #set(change) {
    const before = JSON.stringify(this.query);
    this.#write(change);
    return JSON.stringify(this.query) === before ? undefined : this.changed();
  }

  #write(change) {
    Object.assign(this.query, change);
    const url = new URL(location.href);
    for (const name of NAMES) {
      if (this.query[name]) url.searchParams.set(name, this.query[name]);
      else url.searchParams.delete(name);
    }
    url.hash = "";
    history.replaceState(null, "", url);
    this.#paint();
  }

  #paint() {
    for (const choice of this.bar.querySelectorAll("[data-show]"))
      choice.setAttribute("aria-pressed", choice.dataset.show === this.query.show);
    this.who.value = this.query.actor;
    this.who.toggleAttribute("data-set", this.query.actor !== "");
    if (document.activeElement !== this.field) this.field.value = this.query.q;
  }

  /** What the server found is shown as it is. */
  trust(rows) {
    for (const row of rows) this.found.add(row.closest(".tl-rows > *"));
  }

  /** Judges rows that came in live: answers those of the list that are not wanted. */
  unwanted(rows) {
    const tops = new Set();
    for (const row of rows) {
      const top = row.closest(".tl-rows > *");
      if (!top) continue;
      tops.add(top);
      if (!this.found.has(top) && this.#has(row)) this.found.add(top);
    }
    return [...tops].filter((top) => !this.#wants(top));
  }

  #wants(top) {
    if (!top.dataset.kind) return true;
    const { show, actor } = this.query;
    return SHOWS[show](top) && (!actor || top.dataset.by === actor) && this.found.has(top);
  }

  #has(row) {
    const parts = this.parts;
    if (!parts.length) return true;
    const text = row.textContent.toLowerCase();
    return parts.every((part) => text.search(part) >= 0);
  }
}
