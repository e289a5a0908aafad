// The items of a library that meet some filters, fetched a page at a time as they come into sight.

import { get } from "./api.js";

const PAGE = 200;
const KEPT = 60;  // pages; far ones are let go

export class Items {
  #pages = new Map();   // page number -> items, or null while it is asked for
  #stop = new AbortController();
  #changed;
  #filters;

  /** changed: called when items came, or with the error when they did not. */
  constructor(filters, changed) {
    this.#filters = filters;
    this.#changed = changed;
    this.total = 0;
    this.allWords = null;  // of the total, those with all words
  }

  /** Fetch the first page, which says how many there are. */
  async begin() {
    await this.#fetch(0);
    return this.total;
  }

  at(number) {
    return this.#pages.get(Math.floor(number / PAGE))?.[number % PAGE] ?? null;
  }

  /** Fetch what is missing between two numbers. */
  need(first, last) {
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page++) {
      if (this.#pages.has(page) || page * PAGE >= this.total) continue;
      this.#fetch(page).catch((error) => {
        if (error.name !== "AbortError") this.#changed(error);
      });
    }
  }

  close() {
    this.#stop.abort();
  }

  async #fetch(page) {
    this.#pages.set(page, null);
    try {
      const query = { ...this.#filters, offset: page * PAGE, limit: PAGE };
      const { total, all_words, items } = await get("items", query, this.#stop.signal);
      this.total = total;
      this.allWords = all_words;
      this.#pages.delete(page);
      this.#pages.set(page, items);
    } catch (error) {
      this.#pages.delete(page);
      throw error;
    }
    for (const old of this.#pages.keys()) {
      if (this.#pages.size <= KEPT) break;
      this.#pages.delete(old);
    }
    this.#changed(null);
  }
}
