// The API's names and JavaScript's, which are snake_case and camelCase.
/**
 * What `create` takes, and how the API calls it.
 * @type {Record<string, string>}
 */
const OPTIONS = {
  template: "template",
  snapshot: "snapshot",
  size: "size",
  network: "network",
  allowDomains: "allow_domains",
  timeoutSeconds: "timeout_seconds",
  onTimeout: "on_timeout",
  autoResume: "auto_resume",
  previewAuth: "preview_auth",
  env: "env",
  metadata: "metadata",
  region: "region",
  volume: "volume",
};

/**
 * The body of a create. Throws `TypeError` for an option that there is not: left out, a misspelt limit would not hold.
 * @param {Record<string, any>} wanted
 */
export function inWords(wanted) {
  const unknown = Object.keys(wanted).find((name) => !Object.hasOwn(OPTIONS, name));
  if (unknown === "apiKey" || unknown === "baseUrl") {
    throw new TypeError(`Give ${unknown} to a client, and the client to this: { client: new OrkestrClient({ ${unknown}: … }) }.`);
  }
  if (unknown !== undefined) {
    throw new TypeError(`There is no option ${unknown}; it takes ${Object.keys(OPTIONS).join(", ")}, client and retryMaxSeconds.`);
  }
  return Object.fromEntries(Object.entries(wanted).map(([name, value]) => [OPTIONS[name], value]));
}

/**
 * snake_case names of an answer as camelCase, all the way down.
 * @param {any} value
 * @returns {any}
 */
export function camel(value) {
  if (Array.isArray(value)) return value.map(camel);
  if (value === null || typeof value !== "object") return value;
  const named = Object.entries(value).map(([name, inner]) => [
    name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase()),
    camel(inner),
  ]);
  return Object.fromEntries(named);
}
