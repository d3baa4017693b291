/**
 * The body of a create. Throws `TypeError` for an option that there is not: left out, a misspelt limit would not hold.
 * @param {Record<string, any>} wanted
 */
export declare function inWords(wanted: Record<string, any>): any;
/**
 * snake_case names of an answer as camelCase, all the way down.
 * @param {any} value
 * @returns {any}
 */
export declare function camel(value: any): any;
