export type ClientOptions = {
    /**
     * a token; `ORKESTR_API_KEY` where there is an environment
     */
    apiKey?: string;
    /**
     * where the console is; `ORKESTR_BASE_URL`, or the page's own origin
     */
    baseUrl?: string;
    /**
     * in place of the platform's
     */
    fetch?: typeof fetch;
};
export type RequestOptions = {
    query?: Record<string, string | number | undefined>;
    /**
     * sent as JSON
     */
    body?: unknown;
    /**
     * gives up waiting; what was begun goes on
     */
    signal?: AbortSignal;
};
/** What all sandboxes of one account are reached through. */
export declare class OrkestrClient {
    #private;
    baseUrl: string;
    /** @param {ClientOptions} [options] */
    constructor(options?: ClientOptions);
    /**
     * A JSON answer; null for one without a body.
     * @param {string} method
     * @param {string} path
     * @param {RequestOptions} [options]
     * @returns {Promise<any>}
     */
    request(method: string, path: string, options?: RequestOptions): Promise<any>;
    /**
     * The frames of a stream of server-sent events.
     * @param {string} method
     * @param {string} path
     * @param {RequestOptions} [options]
     * @returns {AsyncGenerator<any, void, void>}
     */
    stream(method: string, path: string, options?: RequestOptions): AsyncGenerator<any, void, void>;
}
/**
 * The client that is used where none is given: made from the environment when first needed.
 * @returns {OrkestrClient}
 */
export declare function defaultClient(): OrkestrClient;
/**
 * Use another client from now on where none is given.
 * @param {OrkestrClient | undefined} client
 */
export declare function setDefaultClient(client: OrkestrClient | undefined): void;
