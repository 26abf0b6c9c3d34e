/**
 * The state of the server, looked at again and again; and questions that outlast its absence.
 *
 * While it serves it is asked rarely; while it does not, soon and then ever less often. Whoever waits goes on when it is back.
 */

import { ask, Problem } from "./api.js";

const CALM_MS = 10_000;
const FIRST_MS = 1_000;
const LONGEST_MS = 8_000;

class Server extends EventTarget {
  /** "starting", "serving", "unavailable" (the gRPC server) or "gone" (the server of this page). */
  state = "starting";
  detail = "";
  address = "";
  kind = "";
  models = [];
  limits = {};
  hasTestSet = false;
  hasRuns = false;
  #timer = 0;
  #pauseMs = FIRST_MS;
  #looking = null;

  start() {
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
    return this.look();
  }

  /** Look now. Fires "change" if anything is other than before, and "back" if it serves again. */
  look() {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  async #look() {
    clearTimeout(this.#timer);
    const before = JSON.stringify(this);
    const was = this.state;
    try {
      const told = await ask("v1/models");
      this.state = told.server.state;
      this.detail = told.server.detail ?? "";
      this.address = told.server.address ?? "";
      this.kind = told.server.kind;
      this.limits = told.limits ?? {};
      this.hasTestSet = told.has_test_set;
      this.hasRuns = told.has_runs;
      if (told.models.length || this.state === "serving") this.models = told.models;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.state = error.status === 503 ? "unavailable" : error.isPassing && error.status !== 0 ? was : "gone";
      this.detail = error.message;
    }
    this.#pauseMs =
      this.state === "serving" ? CALM_MS : was === "serving" ? FIRST_MS : Math.min(LONGEST_MS, this.#pauseMs * 1.5);
    if (!document.hidden) this.#timer = setTimeout(() => this.look(), this.#pauseMs);
    if (this.state === "serving" && was !== "serving") this.dispatchEvent(new Event("back"));
    if (JSON.stringify(this) !== before) this.dispatchEvent(new Event("change"));
  }

  /** Resolves after `pauseMs`, or once the server is back. */
  rest(pauseMs, signal) {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.removeEventListener("back", done);
        resolve();
      };
      const timer = setTimeout(done, pauseMs);
      this.addEventListener("back", done);
      signal?.addEventListener("abort", done, { once: true });
    });
  }
}

export const server = new Server();

/**
 * Ask until there is an answer: what passes (overload, a server that is away) is waited for.
 * @param {string} path
 * @param {{query?: Object, body?: Blob|FormData, signal?: AbortSignal, onWait?: function(Problem)}} options `onWait` hears why it takes longer.
 * @returns {Promise<any>}
 * @throws {Problem} where another try would be answered the same.
 */
export async function patiently(path, { onWait, ...options }) {
  for (let pauseMs = FIRST_MS; ; pauseMs = Math.min(LONGEST_MS, pauseMs * 1.5)) {
    try {
      return await ask(path, options);
    } catch (error) {
      if (!(error instanceof Problem) || !error.isPassing) throw error;
      onWait?.(error);
      if (error.status === 0 || error.status === 503) server.look();
      await server.rest(Math.max(pauseMs, 1000 * error.retryAfterS), options.signal);
      options.signal?.throwIfAborted();
    }
  }
}
