// Uploads: by a button or dropped, each with its progress, of any size, straight to a signed link.
import { say } from "../app.js";

/** `changed(folder)` is called when a folder has something new in it. */
export function listen({ root, pane, changed }) {
  const folder = () => pane.querySelector("[data-drop]")?.dataset.drop;
  const may = () => pane.querySelector("[data-upload]");

  root.addEventListener("click", (event) => {
    if (!event.target.closest("[data-upload]")) return;
    event.preventDefault();
    document.getElementById("upload-files").click();
  });
  root.addEventListener("change", ({ target }) => {
    if (target.id !== "upload-files") return;
    send([...target.files], folder());
    target.value = "";
  });
  for (const kind of ["dragenter", "dragover"])
    root.addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      const takes = may() && folder();
      event.dataTransfer.dropEffect = takes ? "copy" : "none";
      root.toggleAttribute("data-dropping", Boolean(takes));
    });
  root.addEventListener("dragleave", (event) => {
    if (!root.contains(event.relatedTarget)) root.removeAttribute("data-dropping");
  });
  root.addEventListener("drop", (event) => {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    root.removeAttribute("data-dropping");
    if (!may()) return say("Open a folder that can be written to, and drop them there.", "warning");
    send([...event.dataTransfer.files], folder());
  });

  async function send(files, into) {
    let sent = 0;
    for (const file of files) sent += (await one(file, into)) ? 1 : 0;
    if (!sent) return;
    changed(into);
    if (folder() === into) window.htmx.ajax("GET", `${location.pathname}?${new URLSearchParams({ path: into })}`, { target: "#file-pane" });
  }

  async function one(file, into) {
    const row = line(file.name);
    try {
      const place = await ask(into, file.name);
      if (place.is_folder) throw new Error("A folder has this name.");
      if (place.exists && !confirm(`Replace ${file.name}? It is there already.`)) {
        row.remove();
        return false;
      }
      await put(place.url, file, row);
      row.done("Done");
      return true;
    } catch (error) {
      row.failed(error.message);
      return false;
    }
  }

  async function ask(path, name) {
    const headers = { "HX-Request": "true", ...JSON.parse(document.body.getAttribute("hx-headers")) };
    const answer = await fetch(root.dataset.link, { method: "POST", body: new URLSearchParams({ path, name }), credentials: "same-origin", headers });
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(told.message ?? `The server answered ${answer.status}.`);
    return told;
  }
}

function put(address, file, row) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PUT", address);
    request.upload.addEventListener("progress", ({ loaded, total }) => row.progress(loaded, total || 1));
    request.addEventListener("load", () => {
      if (request.status < 300) return resolve();
      let message = `The server answered ${request.status}.`;
      try {
        message = JSON.parse(request.responseText).detail;
      } catch {
        // It said so in no words of ours.
      }
      reject(new Error(message));
    });
    request.addEventListener("error", () => reject(new Error("The connection broke; try again.")));
    request.send(file);
    row.onstop = () => request.abort();
    request.addEventListener("abort", () => reject(new Error("Stopped.")));
  });
}

function line(name) {
  const list = document.getElementById("uploads");
  list.hidden = false;
  const row = document.createElement("div");
  row.className = "upload";
  const label = document.createElement("span");
  label.className = "upload-name";
  label.textContent = name;
  const bar = document.createElement("progress");
  bar.className = "meter";
  bar.max = 1;
  bar.value = 0;
  const state = document.createElement("span");
  state.className = "upload-state";
  const stop = document.createElement("button");
  stop.type = "button";
  stop.className = "copy";
  stop.textContent = "Stop";
  row.append(label, bar, state, stop);
  list.append(row);
  const handle = {
    remove() {
      row.remove();
      list.hidden = !list.childElementCount;
    },
    progress(loaded, total) {
      bar.value = loaded / total;
      state.textContent = `${Math.floor((100 * loaded) / total)} %`;
    },
    done(text) {
      bar.value = 1;
      state.textContent = text;
      row.dataset.state = "done";
      stop.remove();
      setTimeout(() => handle.remove(), 4000);
    },
    failed(text) {
      row.dataset.state = "failed";
      state.textContent = text;
      stop.textContent = "Close";
      stop.onclick = () => handle.remove();
    },
    onstop: () => handle.remove(),
  };
  stop.onclick = () => handle.onstop();
  return handle;
}
