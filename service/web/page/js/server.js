/**
 * Polls the state of the server, and retries requests while it is away.
 *
 * Polls every ten seconds while it serves; else after one second, backing off to eight. Waiting requests go on once it is back.
 */

import { ask, Problem } from "./api.js";

const SERVING_POLL_MS = 10_000;
const FIRST_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 8_000;

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
  #pauseMs = FIRST_PAUSE_MS;
  #polling = null;

  start() {
    document.addEventListener("visibilitychange", () => document.hidden || this.poll());
    return this.poll();
  }

  /** Poll now. Fires "change" if anything has changed, and "back" if it serves again. */
  poll() {
    this.#polling ??= this.#poll().finally(() => {
      this.#polling = null;
    });
    return this.#polling;
  }

  async #poll() {
    clearTimeout(this.#timer);
    const before = JSON.stringify(this);
    const was = this.state;
    try {
      const response = await ask("v1/models");
      this.state = response.server.state;
      this.detail = response.server.detail ?? "";
      this.address = response.server.address ?? "";
      this.kind = response.server.kind;
      this.limits = response.limits ?? {};
      this.hasTestSet = response.has_test_set;
      this.hasRuns = response.has_runs;
      if (response.models.length || this.state === "serving") this.models = response.models;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.state = error.status === 503 ? "unavailable" : error.isTransient && error.status !== 0 ? was : "gone";
      this.detail = error.message;
    }
    this.#pauseMs =
      this.state === "serving" ? SERVING_POLL_MS : was === "serving" ? FIRST_PAUSE_MS : Math.min(MAX_PAUSE_MS, this.#pauseMs * 1.5);
    if (!document.hidden) this.#timer = setTimeout(() => this.poll(), this.#pauseMs);
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
 * Send a request, and repeat it with backoff while errors are transient (overload, a server that is away).
 * @param {string} path
 * @param {{query?: Object, body?: Blob|FormData, signal?: AbortSignal, onWait?: function(Problem)}} options `onWait` is called with each transient error.
 * @returns {Promise<any>}
 * @throws {Problem} if the error is not transient.
 */
export async function askWithRetries(path, { onWait, ...options }) {
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(MAX_PAUSE_MS, pauseMs * 1.5)) {
    try {
      return await ask(path, options);
    } catch (error) {
      if (!(error instanceof Problem) || !error.isTransient) throw error;
      onWait?.(error);
      if (error.status === 0 || error.status === 503) server.poll();
      await server.rest(Math.max(pauseMs, 1000 * error.retryAfterS), options.signal);
      options.signal?.throwIfAborted();
    }
  }
}
