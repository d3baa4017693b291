// Files of one sandbox.
import { fromBase64, toBase64 } from "./bytes.js";
import { APIError } from "./errors.js";

/** @typedef {{name: string, isDir: boolean, size: number, mode: number, modifiedAt: Date}} FileEntry */
/** @typedef {{path: string, exists: boolean, isDir: boolean, size: number, mode: number | null, modifiedAt: Date | null}} FileStat */
/** @typedef {{path: string, bytesWritten: number | null, error: {code: string, message: string} | null}} BatchResult */
/** @typedef {{url: string, method: string, path: string, expiresAt: Date}} PresignedUrl */

/** Paths are absolute. What is written lies under /workspace, /tmp or /persist. */
export class Files {
  /** @type {import("./client.js").OrkestrClient} */
  #client;
  #base;

  /**
   * @param {import("./client.js").OrkestrClient} client
   * @param {string} sandboxId
   */
  constructor(client, sandboxId) {
    this.#client = client;
    this.#base = `/v1/sandboxes/${sandboxId}/files`;
  }

  /**
   * Write a whole file of at most 16 MiB; its directories are made. The number of bytes written.
   * @param {string} path
   * @param {string | Uint8Array} content
   * @param {{mode?: number}} [options]
   * @returns {Promise<number>}
   */
  async write(path, content, { mode = 0o644 } = {}) {
    const body = { path, content: toBase64(content), mode };
    const answer = await this.#client.request("POST", this.#base, { body });
    return answer.bytes_written;
  }

  /**
   * Write up to 64 files. One that cannot be written has an `error` in its row; the others are written.
   * @param {{path: string, content: string | Uint8Array, mode?: number}[]} files
   * @returns {Promise<BatchResult[]>}
   */
  async writeBatch(files) {
    const rows = files.map(({ path, content, mode = 0o644 }) => ({ path, content: toBase64(content), mode }));
    const answer = await this.#client.request("POST", `${this.#base}/batch`, { body: { files: rows } });
    return answer.results.map((/** @type {any} */ row) => ({
      path: row.path,
      bytesWritten: row.bytes_written,
      error: row.error ?? null,
    }));
  }

  /**
   * A file as text in UTF-8.
   * @param {string} path
   * @returns {Promise<string>}
   */
  async read(path) {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(await this.readBytes(path));
  }

  /**
   * A file of at most 16 MiB; larger ones come by `presignDownload`.
   * @param {string} path
   * @returns {Promise<Uint8Array>}
   */
  async readBytes(path) {
    const found = await this.#client.request("GET", this.#base, { query: { path } });
    if (found.is_dir) throw new APIError(`${path} is a directory; use list.`, { code: "is_directory" });
    return fromBase64(found.content);
  }

  /**
   * What is in a directory.
   * @param {string} path
   * @returns {Promise<FileEntry[]>}
   */
  async list(path) {
    const found = await this.#client.request("GET", this.#base, { query: { path } });
    if (!found.is_dir) throw new APIError(`${path} is a file; use read.`, { code: "not_a_directory" });
    return found.entries.map((/** @type {any} */ entry) => ({
      name: entry.name,
      isDir: entry.is_dir,
      size: entry.size,
      mode: entry.mode,
      modifiedAt: new Date(entry.modified_at),
    }));
  }

  /**
   * Remove a file.
   * @param {string} path
   * @returns {Promise<void>}
   */
  async delete(path) {
    await this.#client.request("DELETE", this.#base, { query: { path } });
  }

  /**
   * Make a directory and, unless told otherwise, those above it.
   * @param {string} path
   * @param {{parents?: boolean}} [options]
   * @returns {Promise<void>}
   */
  async mkdir(path, { parents = true } = {}) {
    await this.#client.request("POST", `${this.#base}/mkdir`, { body: { path, parents } });
  }

  /**
   * Move or rename.
   * @param {string} source
   * @param {string} destination
   * @returns {Promise<void>}
   */
  async move(source, destination) {
    await this.#client.request("POST", `${this.#base}/move`, { body: { source, destination } });
  }

  /**
   * What a path is. That nothing is there is an answer, not an error.
   * @param {string} path
   * @returns {Promise<FileStat>}
   */
  async stat(path) {
    const found = await this.#client.request("GET", `${this.#base}/stat`, { query: { path } });
    return {
      path: found.path,
      exists: found.exists,
      isDir: found.is_dir,
      size: found.size,
      mode: found.mode,
      modifiedAt: found.modified_at ? new Date(found.modified_at) : null,
    };
  }

  /**
   * Whether anything is there.
   * @param {string} path
   * @returns {Promise<boolean>}
   */
  async exists(path) {
    return (await this.stat(path)).exists;
  }

  /**
   * A link by which anybody who has it gets the file, of any size, with a plain GET.
   * @param {string} path
   * @param {{expiresIn?: number}} [options] seconds, 60 to 3600
   * @returns {Promise<PresignedUrl>}
   */
  presignDownload(path, options) {
    return this.#presign("presign-download", path, options);
  }

  /**
   * A link by which anybody who has it writes the file, of any size, with a plain PUT.
   * @param {string} path
   * @param {{expiresIn?: number}} [options] seconds, 60 to 3600
   * @returns {Promise<PresignedUrl>}
   */
  presignUpload(path, options) {
    return this.#presign("presign-upload", path, options);
  }

  /**
   * @param {string} which
   * @param {string} path
   * @param {{expiresIn?: number}} [options]
   * @returns {Promise<PresignedUrl>}
   */
  async #presign(which, path, { expiresIn = 600 } = {}) {
    const body = { path, expires_in: expiresIn };
    const link = await this.#client.request("POST", `${this.#base}/${which}`, { body });
    return { url: link.url, method: link.method, path: link.path, expiresAt: new Date(link.expires_at) };
  }
}
