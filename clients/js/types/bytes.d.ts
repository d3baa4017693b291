/**
 * @param {string | Uint8Array} content
 * @returns {string}
 */
export declare function toBase64(content: string | Uint8Array): string;
/**
 * @param {string} text
 * @returns {Uint8Array}
 */
export declare function fromBase64(text: string): Uint8Array;
