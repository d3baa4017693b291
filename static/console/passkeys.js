// Passkeys: what the server asks for goes to the browser, and the browser's answer back.

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

const withIds = (list) => (list ?? []).map((one) => ({ ...one, id: bytes(one.id) }));

const ways = {
  get: async (asked) => {
    const publicKey = { ...asked, challenge: bytes(asked.challenge), allowCredentials: withIds(asked.allowCredentials) };
    return navigator.credentials.get({ publicKey });
  },
  create: async (asked) => {
    const user = { ...asked.user, id: bytes(asked.user.id) };
    const excludeCredentials = withIds(asked.excludeCredentials);
    return navigator.credentials.create({ publicKey: { ...asked, challenge: bytes(asked.challenge), user, excludeCredentials } });
  },
};

/** A credential as JSON: every buffer in base64url. */
function plain(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"])
    if (credential.response[name]) response[name] = text(credential.response[name]);
  return JSON.stringify({ id: credential.id, rawId: text(credential.rawId), type: credential.type, response });
}

async function send(url, fields, csrf) {
  const body = new URLSearchParams(fields);
  const headers = { "X-CSRFToken": csrf, Accept: "application/json" };
  const answer = await fetch(url, { method: "POST", headers, body });
  const told = await answer.json().catch(() => ({}));
  if (told.prove) location.assign(told.prove);
  if (!answer.ok) throw new Error(told.message ?? "That did not work. Reload the page and try again.");
  return told;
}

async function run(form) {
  const fields = Object.fromEntries(new FormData(form));
  const csrf = fields.csrfmiddlewaretoken;
  const asked = await send(form.dataset.options, {}, csrf);
  const credential = await ways[form.dataset.passkey](asked);
  const { to } = await send(form.action, { ...fields, answer: plain(credential) }, csrf);
  location.assign(to);
}

const WORDS = {
  NotAllowedError: "The browser was not let, or it took too long. Try again.",
  InvalidStateError: "This device has a passkey for you already.",
  SecurityError: "The browser makes no passkeys for this address. Open the console by its name.",
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential) continue;
  form.hidden = false;
  const wrong = form.querySelector("[data-passkey-wrong]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    wrong.hidden = true;
    try {
      await run(form);
    } catch (error) {
      wrong.textContent = WORDS[error.name] ?? error.message;
      wrong.hidden = false;
    }
  });
}
