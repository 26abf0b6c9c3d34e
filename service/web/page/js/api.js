/** Requests to the server of this page, and their errors. */

const TIMEOUT_MS = 120_000;
const TRANSIENT = new Set([0, 408, 425, 429, 502, 503, 504]);

/** A failed request: the server's problem details (RFC 9457), or status 0 if there was no answer. */
export class Problem extends Error {
  constructor(status, { title = "", detail = "" } = {}, retryAfterS = 0) {
    super(detail || title || `The server answered with status ${status}.`);
    this.status = status;
    this.title = title;
    this.retryAfterS = retryAfterS;
  }

  /** Whether the same request may succeed later. */
  get isTransient() {
    return TRANSIENT.has(this.status);
  }
}

/**
 * Send a request: GET, or POST if there is a body.
 * @param {string} path relative to the page, such as "v1/models".
 * @param {{query?: Object, body?: Blob|FormData, signal?: AbortSignal}} options null and "" in `query` are left out.
 * @returns {Promise<any>} the JSON response.
 * @throws {Problem} on failure; an abort by `signal` throws AbortError instead.
 */
export async function ask(path, { query = {}, body, signal } = {}) {
  return answer(path, { query, body, signal }, (response) => response.json());
}

/** Fetch a file from the server, such as a sample. @returns {Promise<Blob>} @throws {Problem} */
export async function fetched(path) {
  return answer(path, {}, (response) => response.blob());
}

async function answer(path, { query = {}, body, signal }, read) {
  const wanted = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const address = wanted.length ? `${path}?${new URLSearchParams(wanted)}` : path;
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  let response;
  try {
    response = await fetch(address, {
      method: body ? "POST" : "GET",
      body,
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    if (response.ok) return await read(response);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, {
      detail: limit.aborted ? "The server did not answer in time." : "The server of this page does not answer.",
    });
  }
  throw new Problem(response.status, await problemOf(response), Number(response.headers.get("Retry-After")) || 0);
}

async function problemOf(response) {
  try {
    return await response.json();
  } catch {
    return { title: response.statusText }; // a proxy's page, not our problem+json
  }
}

/** Make a URL from the server relative to the page. */
export const own = (url) => url.replace(/^\//, "");

/** Decode base64 of little-endian float32. */
export function floats(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] === 1) return new Float32Array(bytes.buffer);
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => view.getFloat32(4 * index, true));
}
