// A grid of any number of cells of which only those in sight are in the page.
// To a screen reader it is a list box: one stop for Tab, arrows move, Enter opens.

import { make } from "./dom.js";

const MOST_HIGH = 12_000_000;  // px; browsers cut off taller elements
const SPARE = 2;               // rows above and below

/** Larger letters on large screens mean larger pictures too. */
const letters = () => parseFloat(getComputedStyle(document.documentElement).fontSize);

export class Grid {
  #cells = new Map();   // number -> element
  #free = [];
  #options;
  #height;
  #waiting = 0;
  #watch;

  /**
   * options: count, fill(cell, number) -> false while unknown, seen(first, last), open(number),
   * label, side (px wanted), words (px below each picture), keys {key: act(number)}.
   */
  constructor(place, options) {
    this.#options = { words: 22, keys: {}, ...options };
    this.active = 0;
    this.#height = make("div", { class: "grid-height" });
    this.element = make("div", {
      class: "grid", role: "listbox", tabindex: 0, "aria-label": options.label,
      on: {
        scroll: () => this.#soon(), keydown: (event) => this.#key(event), focus: () => this.#mark(),
        click: (event) => this.#click(event),
      },
    }, this.#height);
    place.append(this.element);
    this.#watch = new ResizeObserver(() => this.#measure());
    this.#watch.observe(this.element);
    this.#measure();
  }

  close() {
    this.#watch.disconnect();
    cancelAnimationFrame(this.#waiting);
  }

  /** Other cells, from the top. */
  reset(count) {
    this.#options.count = count;
    this.active = 0;
    this.element.scrollTop = 0;
    this.#clear();
    this.#measure();
  }

  side(side) {
    this.#options.side = side;
    const first = this.#first();
    this.#clear();
    this.#measure();
    this.#show(first);
  }

  /** Fill cells that were unknown. */
  refresh() {
    this.#soon();
  }

  focus(number) {
    this.active = Math.max(0, Math.min(this.#options.count - 1, number));
    this.#show(this.active);
    this.#draw();
    this.#mark();
  }

  #measure() {
    const gap = 8, width = this.element.clientWidth - gap;
    const { words, count } = this.#options, side = this.#options.side * letters() / 15;
    this.columns = Math.max(width < 500 ? 2 : 1, Math.floor(width / (side + gap)));
    this.wide = width / this.columns;
    this.high = this.wide + words;
    this.rows = Math.ceil(count / this.columns);
    this.full = this.rows * this.high + gap;
    this.#height.style.height = `${Math.min(this.full, MOST_HIGH)}px`;
    this.#soon();
  }

  /** How far down the cells we are: as far as scrolled, unless they are too many for that. */
  #top() {
    const { scrollTop, clientHeight } = this.element;
    if (this.full <= MOST_HIGH) return scrollTop;
    return scrollTop * (this.full - clientHeight) / (MOST_HIGH - clientHeight);
  }

  #first() {
    return Math.floor(this.#top() / this.high) * this.columns;
  }

  #show(number) {
    const top = Math.floor(number / this.columns) * this.high, now = this.#top();
    const height = this.element.clientHeight;
    let wanted = now;
    if (top < now) wanted = top;
    else if (top + this.high > now + height) wanted = top + this.high + 8 - height;
    if (wanted === now) return;
    const share = this.full <= MOST_HIGH ? 1 : (MOST_HIGH - height) / (this.full - height);
    this.element.scrollTop = wanted * share;
  }

  #soon() {
    if (!this.#waiting) this.#waiting = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    cancelAnimationFrame(this.#waiting);
    this.#waiting = 0;
    const { count, seen } = this.#options, top = this.#top(), height = this.element.clientHeight;
    const from = Math.max(0, Math.floor(top / this.high) - SPARE) * this.columns;
    const to = Math.min(count, (Math.ceil((top + height) / this.high) + SPARE) * this.columns);
    for (const [number, cell] of this.#cells) {
      if (number >= from && number < to) continue;
      this.#cells.delete(number);
      cell.hidden = true;
      cell.filled = false;
      this.#free.push(cell);
    }
    const shift = this.element.scrollTop - top;
    for (let number = from; number < to; number++) this.#put(number, shift);
    if (to > from) seen?.(from, to - 1);
  }

  #put(number, shift) {
    let cell = this.#cells.get(number);
    if (!cell) {
      cell = this.#free.pop() ?? this.#height.appendChild(make("div", { class: "cell", role: "option" }));
      this.#cells.set(number, cell);
      cell.hidden = false;
      cell.filled = false;
      cell.number = number;
      cell.id = `cell-${number}`;
      cell.setAttribute("aria-posinset", number + 1);
      cell.setAttribute("aria-setsize", this.#options.count);
      cell.setAttribute("aria-selected", String(number === this.active));
      cell.replaceChildren();
    }
    const x = (number % this.columns) * this.wide + 8, y = Math.floor(number / this.columns) * this.high + 8 + shift;
    cell.style.transform = `translate(${x}px, ${y}px)`;
    cell.style.width = `${this.wide - 8}px`;
    cell.style.height = `${this.high - 8}px`;
    if (!cell.filled) cell.filled = this.#options.fill(cell, number) !== false;
  }

  #clear() {
    for (const cell of this.#cells.values()) {
      cell.hidden = true;
      this.#free.push(cell);
    }
    this.#cells.clear();
  }

  #mark() {
    for (const [number, cell] of this.#cells) cell.setAttribute("aria-selected", String(number === this.active));
    this.element.setAttribute("aria-activedescendant", `cell-${this.active}`);
  }

  #click(event) {
    const cell = event.target.closest(".cell");
    if (!cell) return;
    this.active = cell.number;
    this.#mark();
    this.#options.open(cell.number);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.#options.count) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.high)) * this.columns;
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, PageUp: -page,
      PageDown: page, Home: -this.active, End: this.#options.count - 1 - this.active,
    };
    const own = event.key === "Enter" ? this.#options.open : this.#options.keys[event.key.toLowerCase()];
    if (!(event.key in steps) && !own) return;
    event.preventDefault();
    if (own) return own(this.active);
    const wanted = this.active + steps[event.key];
    if (wanted >= 0 && wanted < this.#options.count) this.focus(wanted);
    else if (event.key.startsWith("Page")) this.focus(wanted);
  }
}
