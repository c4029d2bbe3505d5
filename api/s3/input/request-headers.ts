// A request's headers: lower-case names, values as node:http has them (Latin-1, repeated ones
// joined).

export type RequestHeaders = Record<string, string | undefined>;
