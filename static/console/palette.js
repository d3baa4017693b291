// The command palette: pages, what this page can do, sandboxes and saved views, by keyboard.
// Actions are the page's own buttons, found when it opens: what a role is not offered is not here.

const DEBOUNCE = 120;
const SEARCHED = 3;
const ACTIONS = "main button, main summary, main a.btn, .top-end button, #bulk button";
// Rows have their own keys, and what needs a choice of rows or is half of a dialog is no command.
const NOT = "li, tr, article, dialog, [role=tree], [role=tablist], .row, .tl-rows, .pager, [data-palette]";
const GOES = { o: "overview", s: "sandboxes", t: "tokens", u: "usage", a: "audit", e: "settings", d: "docs" };

const dialog = document.getElementById("palette");
const input = dialog?.querySelector("[role=combobox]");
const list = document.getElementById("palette-list");
const said = dialog?.querySelector("[role=status]");

let own = [];
let found = [];
let foundFor = "";
let options = [];
let at = 0;
let asking = new AbortController();
let timer = 0;

const clean = (text) => text.replace(/\s+/g, " ").replace(/…$/, "").trim();
const labelOf = (element) => clean(element.getAttribute("aria-label") ?? element.dataset.command ?? element.textContent);

function page(link, hint) {
  return { group: hint, label: clean(link.textContent), icon: "link", go: () => link.click() };
}

/** What is on this page right now. */
function gather() {
  const seen = new Set();
  const items = [];
  const add = (item) => {
    const key = `${item.group} ${item.label}`;
    if (item.label && !seen.has(key)) items.push(item);
    seen.add(key);
  };
  for (const link of document.querySelectorAll(".box-tabs a")) add(page(link, "This sandbox"));
  for (const element of document.querySelectorAll(ACTIONS)) {
    if (element.closest(NOT) || element.disabled || !element.checkVisibility()) continue;
    const group = element.closest(".top") ? "Console" : "On this page";
    add({ group, label: labelOf(element), icon: "chevron", go: () => press(element) });
  }
  for (const link of document.querySelectorAll(".top nav a")) add(page(link, "Pages"));
  for (const link of document.getElementById("palette-links").content.querySelectorAll("a"))
    add({ group: "Go to", label: clean(link.textContent), words: link.dataset.words, icon: link.dataset.icon, href: link.getAttribute("href") });
  return items.sort((one, other) => (one.group === "Console") - (other.group === "Console"));
}

function press(element) {
  element.focus();
  element.click();
}

const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
const matches = (item, all) => {
  const text = `${item.label} ${item.sub ?? ""} ${item.words ?? ""} ${item.group}`.toLowerCase();
  return all.every((word) => text.includes(word));
};

function show() {
  const all = words(input.value);
  // What the server found for these words holds them; what it found before may not.
  const searched = input.value.trim().length >= SEARCHED && foundFor === input.value.trim();
  const fitting = [...own.filter((item) => matches(item, all)), ...found.filter((item) => searched || matches(item, all))];
  const first = fitting.filter((item) => all.length && item.label.toLowerCase().startsWith(all.join(" ")));
  options = [...first, ...fitting.filter((item) => !first.includes(item))];
  // Groups stay together, in the order in which the best of each comes.
  const groups = [...new Set(options.map((item) => item.group))];
  options = groups.flatMap((group) => options.filter((item) => item.group === group));
  at = 0;
  render(groups);
}

function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) if (value) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "i");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

function render(groups) {
  let number = 0;
  const option = (item) => {
    const state = item.state ? make("span", { class: "pill", "data-state": item.state }, item.stateLabel) : "";
    const texts = [make("span", { class: "palette-label" }, item.label), make("span", { class: "palette-sub" }, item.sub ?? "")];
    return make(item.href ? "a" : "div", { role: "option", id: `palette-${number++}`, href: item.href, tabindex: "-1" }, icon(item.icon), ...texts, state);
  };
  list.replaceChildren(...groups.map((group, place) => {
    const title = make("div", { class: "palette-group", id: `palette-group-${place}` }, group);
    return make("div", { role: "group", "aria-labelledby": title.id }, title, ...options.filter((item) => item.group === group).map(option));
  }));
  said.textContent = options.length ? "" : dialog.hasAttribute("data-busy") ? "Searching" : "Nothing matches.";
  choose(at);
}

const elements = () => [...list.querySelectorAll("[role=option]")];

function choose(place) {
  const all = elements();
  at = Math.min(Math.max(0, place), Math.max(0, all.length - 1));
  for (const [number, element] of all.entries()) element.setAttribute("aria-selected", number === at);
  if (all[at]) input.setAttribute("aria-activedescendant", all[at].id);
  else input.removeAttribute("aria-activedescendant");
  all[at]?.scrollIntoView({ block: "nearest" });
}

function run(place) {
  const item = options[place];
  if (!item) return;
  dialog.close();
  if (item.href) location.assign(item.href);
  else item.go();
}

async function ask() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  dialog.setAttribute("data-busy", "");
  try {
    const q = input.value.trim();
    const query = new URLSearchParams({ q });
    const answer = await fetch(`${dialog.dataset.search}?${query}`, { signal, headers: { "HX-Request": "true" } });
    if (answer.status === 401) return location.assign(`/login/?next=${encodeURIComponent(location.pathname)}`);
    if (!answer.ok) throw new Error(answer.status);
    found = (await answer.json()).items.map((item) => ({ icon: "box", ...item }));
    foundFor = q;
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    found = [];
    said.textContent = "Sandboxes cannot be searched right now.";
    dialog.removeAttribute("data-busy");
    return undefined;
  }
  dialog.removeAttribute("data-busy");
  return show();
}

function open() {
  if (dialog.open) return dialog.close();
  document.querySelector("dialog[open]")?.close();
  own = gather();
  found = [];
  input.value = "";
  dialog.showModal();
  input.focus();
  show();
  return ask();
}

const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };

function typed(event) {
  if (event.isComposing) return;
  const step = STEPS[event.key];
  const ends = Math.abs(step) === 1 && elements().length;
  if (step) {
    event.preventDefault();
    choose(ends ? (at + step + ends) % ends : at + step);
  } else if (event.key === "Enter") {
    event.preventDefault();
    run(at);
  }
}

let going = 0;

/** `g` and then a letter of a page. */
function goes(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input,textarea,select,[contenteditable]") || document.querySelector("dialog[open]")) return;
  const name = going > Date.now() && GOES[event.key];
  going = event.key === "g" ? Date.now() + 1500 : 0;
  if (!name) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  document.querySelector(`.top nav a[data-page="${name}"]`)?.click();
}

if (dialog) {
  input.addEventListener("input", () => {
    show();
    clearTimeout(timer);
    timer = setTimeout(ask, DEBOUNCE);
  });
  input.addEventListener("keydown", typed);
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (!option || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    run(elements().indexOf(option));
  });
  list.addEventListener("mousemove", ({ target }) => {
    const place = elements().indexOf(target.closest("[role=option]"));
    if (place >= 0 && place !== at) choose(place);
  });
  dialog.addEventListener("close", () => asking.abort());
  document.addEventListener("click", ({ target }) => target.closest?.("[data-palette]") && open());
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || event.altKey || event.shiftKey || event.metaKey === event.ctrlKey) return;
    // A shell has its own use for Ctrl-K.
    if (event.ctrlKey && event.target.closest?.(".xterm")) return;
    event.preventDefault();
    open();
  }, true);
  document.addEventListener("keydown", goes, true);
}
