export type FileEntry = {
    name: string;
    isDir: boolean;
    size: number;
    mode: number;
    modifiedAt: Date;
};
export type FileStat = {
    path: string;
    exists: boolean;
    isDir: boolean;
    size: number;
    mode: number | null;
    modifiedAt: Date | null;
};
export type BatchResult = {
    path: string;
    bytesWritten: number | null;
    error: {
        code: string;
        message: string;
    } | null;
};
export type PresignedUrl = {
    url: string;
    method: string;
    path: string;
    expiresAt: Date;
};
/** @typedef {{name: string, isDir: boolean, size: number, mode: number, modifiedAt: Date}} FileEntry */
/** @typedef {{path: string, exists: boolean, isDir: boolean, size: number, mode: number | null, modifiedAt: Date | null}} FileStat */
/** @typedef {{path: string, bytesWritten: number | null, error: {code: string, message: string} | null}} BatchResult */
/** @typedef {{url: string, method: string, path: string, expiresAt: Date}} PresignedUrl */
/** Paths are absolute. What is written lies under /workspace, /tmp or /persist. */
export declare class Files {
    #private;
    /**
     * @param {import("./client.js").OrkestrClient} client
     * @param {string} sandboxId
     */
    constructor(client: import("./client.js").OrkestrClient, sandboxId: string);
    /**
     * Write a whole file of at most 16 MiB; its directories are made. The number of bytes written.
     * @param {string} path
     * @param {string | Uint8Array} content
     * @param {{mode?: number}} [options]
     * @returns {Promise<number>}
     */
    write(path: string, content: string | Uint8Array, { mode }?: {
        mode?: number;
    }): Promise<number>;
    /**
     * Write up to 64 files. One that cannot be written has an `error` in its row; the others are written.
     * @param {{path: string, content: string | Uint8Array, mode?: number}[]} files
     * @returns {Promise<BatchResult[]>}
     */
    writeBatch(files: {
        path: string;
        content: string | Uint8Array;
        mode?: number;
    }[]): Promise<BatchResult[]>;
    /**
     * A file as text in UTF-8.
     * @param {string} path
     * @returns {Promise<string>}
     */
    read(path: string): Promise<string>;
    /**
     * A file of at most 16 MiB; larger ones come by `presignDownload`.
     * @param {string} path
     * @returns {Promise<Uint8Array>}
     */
    readBytes(path: string): Promise<Uint8Array>;
    /**
     * What is in a directory.
     * @param {string} path
     * @returns {Promise<FileEntry[]>}
     */
    list(path: string): Promise<FileEntry[]>;
    /**
     * Remove a file.
     * @param {string} path
     * @returns {Promise<void>}
     */
    delete(path: string): Promise<void>;
    /**
     * Make a directory and, unless told otherwise, those above it.
     * @param {string} path
     * @param {{parents?: boolean}} [options]
     * @returns {Promise<void>}
     */
    mkdir(path: string, { parents }?: {
        parents?: boolean;
    }): Promise<void>;
    /**
     * Move or rename.
     * @param {string} source
     * @param {string} destination
     * @returns {Promise<void>}
     */
    move(source: string, destination: string): Promise<void>;
    /**
     * What a path is. That nothing is there is an answer, not an error.
     * @param {string} path
     * @returns {Promise<FileStat>}
     */
    stat(path: string): Promise<FileStat>;
    /**
     * Whether anything is there.
     * @param {string} path
     * @returns {Promise<boolean>}
     */
    exists(path: string): Promise<boolean>;
    /**
     * A link by which anybody who has it gets the file, of any size, with a plain GET.
     * @param {string} path
     * @param {{expiresIn?: number}} [options] seconds, 60 to 3600
     * @returns {Promise<PresignedUrl>}
     */
    presignDownload(path: string, options?: {
        expiresIn?: number;
    }): Promise<PresignedUrl>;
    /**
     * A link by which anybody who has it writes the file, of any size, with a plain PUT.
     * @param {string} path
     * @param {{expiresIn?: number}} [options] seconds, 60 to 3600
     * @returns {Promise<PresignedUrl>}
     */
    presignUpload(path: string, options?: {
        expiresIn?: number;
    }): Promise<PresignedUrl>;
}
