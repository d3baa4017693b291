// What every page has: clocks, copy buttons, dialogs, messages, and a socket that comes back.
import "./focus.js";
import { exact, tick } from "./time.js";

tick();
setInterval(tick, 500);
for (const name of ["htmx:afterSettle", "htmx:wsAfterMessage"]) document.addEventListener(name, () => tick());

// On a phone the main navigation is wider than the screen.
for (const link of document.querySelectorAll("nav a[aria-current]")) {
  const nav = link.closest("nav");
  if (nav.scrollWidth > nav.clientWidth)
    nav.scrollLeft = link.offsetLeft - (nav.clientWidth - link.offsetWidth) / 2 - nav.offsetLeft;
}

document.addEventListener("mouseover", ({ target }) => {
  const time = target.closest?.("time[datetime]");
  if (time && !time.title) time.title = exact(Date.parse(time.dateTime));
});

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const text = source.value ?? source.textContent;
  try {
    await navigator.clipboard.writeText(text.trim());
  } catch {
    select(source);
    if (!document.execCommand("copy")) return say("Select the text and copy it by hand.", "warning");
  }
  const label = button.querySelector("span");
  button.dataset.done = "";
  if (label) label.textContent = "Copied";
  setTimeout(() => {
    delete button.dataset.done;
    if (label) label.textContent = "Copy";
  }, 1800);
}

function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  const selection = getSelection();
  selection.removeAllRanges();
  selection.addRange(range);
}

/** Shows a message in the corner for a while, and tells a screen reader. */
export function say(text, tone = "info") {
  const box = document.getElementById("toasts");
  const notice = document.createElement("p");
  notice.className = "notice";
  notice.dataset.tone = tone;
  notice.textContent = text;
  box.append(notice);
  setTimeout(() => notice.remove(), 7000);
}

document.addEventListener("click", (event) => {
  const target = event.target.closest?.("[data-copy],[data-open],[data-close],[data-tab]");
  if (!target) return;
  const { dataset } = target;
  if ("copy" in dataset) copy(target);
  if ("open" in dataset) openDialog(dataset.open, event);
  if ("close" in dataset) target.closest("dialog").close();
  if ("tab" in dataset) showTab(target);
});

function openDialog(id, event) {
  const dialog = document.getElementById(id);
  if (!dialog) return;
  event.preventDefault();
  dialog.showModal();
  dialog.querySelector("[autofocus]")?.focus();
}

// A dialog closes on its backdrop, which is the part of it outside its box.
document.addEventListener("mousedown", ({ target }) => {
  if (target.matches?.("dialog.modal")) target.close();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelector("dialog[open]")?.close();
});
for (const dialog of document.querySelectorAll("dialog[data-show]")) dialog.showModal();

function showTab(tab) {
  const list = tab.closest("[role=tablist]");
  for (const other of list.querySelectorAll("[role=tab]")) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", chosen);
    other.tabIndex = chosen ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
  }
}

document.addEventListener("keydown", (event) => {
  const tab = event.target.closest?.("[role=tab]");
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!tab || !step) return;
  const tabs = [...tab.closest("[role=tablist]").querySelectorAll("[role=tab]")];
  const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
  showTab(next);
  next.focus();
});

// A choice that is sent as soon as it is made.
document.addEventListener("change", ({ target }) => target.closest?.("form[data-sends]")?.requestSubmit());

// What cannot be taken back names itself once more before it is sent.
let answered = null; // the form whose question was answered with yes
document.addEventListener("submit", (event) => {
  const { target: form, submitter } = event;
  const agreed = form === answered;
  answered = null;
  if (!form.dataset?.confirm || agreed) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  ask(form, submitter);
}, true);

function ask(form, submitter) {
  const dialog = document.getElementById("ask");
  const yes = dialog.querySelector("[data-yes]");
  dialog.querySelector("h2").textContent = form.dataset.confirm;
  yes.textContent = form.dataset.act ?? "Go on";
  yes.onclick = () => {
    dialog.close();
    // What is drawn anew meanwhile may have taken the form out of the page.
    if (!form.isConnected) document.body.append(Object.assign(form, { hidden: true }));
    answered = form;
    form.requestSubmit(submitter?.form === form ? submitter : null);
  };
  dialog.showModal();
}

// Without htmx: what narrows a list does so when it is chosen.
document.addEventListener("change", ({ target }) => {
  if (target.matches?.("[data-submit]")) target.form.requestSubmit();
});

// Requests that fail say so; an ended session leads to the sign-in.
document.addEventListener("htmx:responseError", ({ detail }) => {
  const { status } = detail.xhr;
  if (status === 401) location.assign(`/login/?next=${encodeURIComponent(location.pathname)}`);
  else say(decodeURIComponent(detail.xhr.getResponseHeader("x-message") ?? "") || `That did not work (${status}). Reload the page and try again.`, "error");
});
document.addEventListener("htmx:sendError", () => say("The server cannot be reached. Try again in a moment.", "error"));

// The list's socket: shown as offline while it is away. htmx itself comes back after a crash,
// not after a server that said good-bye.
const setSocket = (state) => {
  document.documentElement.dataset.socket = state;
};
document.addEventListener("htmx:wsOpen", () => setSocket("open"));
document.addEventListener("htmx:wsClose", ({ detail }) => {
  setSocket("away");
  if ([1000, 1001].includes(detail.event.code)) setTimeout(() => detail.socketWrapper.reconnect(), 1500);
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "?" || event.target.closest?.("input,textarea,select,dialog")) return;
  openDialog("shortcuts", event);
});
