// The tree: folders open where they are, arrows walk it, and one line of it can be reached by Tab.

export class Tree {
  /** `list` is the element with the role; `address` answers a folder's lines. */
  constructor(list, address) {
    this.list = list;
    this.address = address;
    this.asked = new WeakMap(); // how often a folder was asked for
    list.addEventListener("click", (event) => this.#clicked(event), true);
    list.addEventListener("keydown", (event) => this.#pressed(event));
    this.#reachable(list.querySelector("[aria-selected=true]") ?? this.items[0]);
  }

  get items() {
    return [...this.list.querySelectorAll("[role=treeitem]")].filter((item) => item.offsetParent);
  }

  find(path) {
    return [...this.list.querySelectorAll("[role=treeitem]")].find((item) => item.dataset.path === path);
  }

  /** Marks the line of what the pane shows. */
  select(path) {
    for (const old of this.list.querySelectorAll("[aria-selected]")) old.removeAttribute("aria-selected");
    const item = path && this.find(path);
    if (!item) return;
    item.setAttribute("aria-selected", "true");
    this.#reachable(item);
    item.scrollIntoView({ block: "nearest" });
  }

  /** Fetches an open folder's lines again. */
  async reload(folder) {
    const item = this.find(folder);
    const group = item && groupOf(item);
    if (!group) return;
    await this.#fill(group, item, "");
    this.select(document.querySelector("#file-pane [data-path]")?.dataset.path);
  }

  async open(item) {
    if (item.getAttribute("aria-expanded") !== "false") return;
    item.setAttribute("aria-expanded", "true");
    let group = groupOf(item);
    if (group) return;
    group = document.createElement("ul");
    group.setAttribute("role", "group");
    item.after(group);
    if (!(await this.#fill(group, item, ""))) {
      group.remove();
      item.setAttribute("aria-expanded", "false");
    }
  }

  close(item) {
    if (item.getAttribute("aria-expanded") === "true") item.setAttribute("aria-expanded", "false");
  }

  // Of several answers about one folder the one that was asked for last counts, whichever comes last.
  async #fill(group, item, after) {
    const asked = (this.asked.get(group) ?? 0) + (after ? 0 : 1);
    this.asked.set(group, asked);
    const level = Number(item.dataset.level) + 1;
    const query = new URLSearchParams({ path: item.dataset.path, level, after });
    const answer = await fetch(`${this.address}?${query}`, { credentials: "same-origin", headers: { "HX-Request": "true" } }).catch(() => null);
    if (!answer?.ok) return false;
    const html = await answer.text();
    if (this.asked.get(group) !== asked) return true;
    if (after) group.lastElementChild?.remove();
    else group.replaceChildren();
    group.insertAdjacentHTML("beforeend", html);
    window.htmx?.process(group);
    return true;
  }

  #clicked(event) {
    const more = event.target.closest(".node-more");
    if (more) {
      const group = more.closest("[role=group]");
      this.#fill(group, group.previousElementSibling, more.dataset.after);
      return;
    }
    const item = event.target.closest("[role=treeitem]");
    if (!item) return;
    this.#reachable(item);
    if (!item.hasAttribute("aria-expanded")) return;
    const twist = event.target.closest(".twist");
    if (twist) {
      event.preventDefault();
      event.stopPropagation();
    }
    if (item.getAttribute("aria-expanded") === "false") this.open(item);
    else if (twist || item.getAttribute("aria-selected")) this.close(item);
  }

  #pressed(event) {
    const item = event.target.closest("[role=treeitem]");
    if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
    const go = {
      ArrowDown: () => this.#step(item, 1),
      ArrowUp: () => this.#step(item, -1),
      ArrowRight: () => (item.getAttribute("aria-expanded") === "false" ? this.open(item) : this.#focus(groupOf(item)?.querySelector("[role=treeitem]"))),
      ArrowLeft: () => (item.getAttribute("aria-expanded") === "true" ? this.close(item) : this.#focus(item.closest("[role=group]")?.previousElementSibling)),
      Home: () => this.#focus(this.items[0]),
      End: () => this.#focus(this.items.at(-1)),
      " ": () => item.click(),
    }[event.key];
    if (!go) return;
    event.preventDefault();
    go();
  }

  #step(item, by) {
    const items = this.items;
    this.#focus(items[items.indexOf(item) + by]);
  }

  #focus(item) {
    if (!item) return;
    this.#reachable(item);
    item.focus();
  }

  #reachable(item) {
    for (const old of this.list.querySelectorAll("[role=treeitem][tabindex='0']")) old.tabIndex = -1;
    if (item) item.tabIndex = 0;
  }
}

function groupOf(item) {
  const next = item.nextElementSibling;
  return next?.getAttribute("role") === "group" ? next : null;
}
