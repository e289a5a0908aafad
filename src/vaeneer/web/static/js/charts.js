// Curves over epochs as SVG: axes, a legend, a line under the mouse or the arrow keys that tells values.

import { drawing, make } from "./dom.js";

const HEIGHT = 240, EDGE = { left: 62, right: 14, top: 12, bottom: 34 };
const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
const exact = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });

/** Round values that span a range, about `wanted` of them. */
export function ticks(least, most, wanted = 5) {
  if (!(most > least)) return [least];
  const rough = (most - least) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let value = Math.ceil(least / step) * step; value <= most + step * 1e-6; value += step) found.push(+value.toPrecision(12));
  return found;
}

/** One chart. lines: [{name, points: [[x, y], ...]}]; update(lines) draws again. */
export class Chart {
  constructor(title, unit, across = "epoch") {
    Object.assign(this, { title, unit, across, lines: [], at: null, width: 400 });
    this.svg = drawing("svg", { viewBox: `0 0 ${this.width} ${HEIGHT}`, tabindex: 0, role: "img" });
    this.told = make("output", { class: "told" });
    this.legend = make("ul", { class: "legend plain" });
    this.element = make("figure", { class: "chart panel" }, make("figcaption", {}, make("b", {}, title), make("span", { class: "lead" }, unit)), this.svg, this.legend, this.told);
    for (const kind of ["pointermove", "pointerdown"]) this.svg.addEventListener(kind, (event) => this.#point(event));
    this.svg.addEventListener("pointerleave", () => this.#tell(null));
    this.svg.addEventListener("keydown", (event) => this.#key(event));
    this.svg.addEventListener("blur", () => this.#tell(null));
    new ResizeObserver(([{ contentRect }]) => this.#resize(Math.round(contentRect.width))).observe(this.svg);
  }

  /** As wide as the figure, so that letters have the size of the page's. */
  #resize(width) {
    if (width < 1 || width === this.width) return;
    this.width = width;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.update(this.lines);
  }

  update(lines) {
    this.lines = lines.map((line) => ({ ...line, points: line.points.filter(([, y]) => Number.isFinite(y)) })).filter((line) => line.points.length);
    this.element.hidden = !this.lines.length;
    if (!this.lines.length) return;
    const all = this.lines.flatMap((line) => line.points), ys = all.map(([, y]) => y);
    const low = Math.min(...ys), high = Math.max(...ys), spare = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
    this.xs = [...new Set(all.map(([x]) => x))].sort((a, b) => a - b);
    const beside = this.xs.length === 1 ? 0.9 : 0;  // the only one stands in the middle
    this.from = [this.xs[0] - beside, low - spare];
    this.to = [this.xs.at(-1) + beside, high + spare];
    const last = this.lines.map((line) => `${line.name} ${exact.format(line.points.at(-1)[1])}`).join(", ");
    this.svg.setAttribute("aria-label", `${this.title}, ${this.unit}, ${this.xs.length} epochs. Last: ${last}. Arrow keys tell each.`);
    this.svg.replaceChildren(...this.#axes(), ...this.lines.map((line, n) => this.#line(line, n)));
    this.cursor = drawing("line", { class: "cursor", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" });
    this.svg.append(this.cursor);
    this.legend.replaceChildren(...this.lines.map((line, n) => make("li", { class: `line-${n}` }, make("i", {}), line.name)));
    this.#tell(this.at);
  }

  #x = (x) => EDGE.left + (x - this.from[0]) / (this.to[0] - this.from[0]) * (this.width - EDGE.left - EDGE.right);

  #y = (y) => HEIGHT - EDGE.bottom - (y - this.from[1]) / (this.to[1] - this.from[1]) * (HEIGHT - EDGE.top - EDGE.bottom);

  #axes() {
    const made = [];
    const text = (x, y, words, anchor) => drawing("text", { x, y, "text-anchor": anchor }, words);
    for (const y of ticks(this.from[1], this.to[1])) {
      made.push(drawing("line", { class: "axis", x1: EDGE.left, x2: this.width - EDGE.right, y1: this.#y(y), y2: this.#y(y) }), text(EDGE.left - 8, this.#y(y) + 4, short.format(y), "end"));
    }
    for (const x of ticks(this.from[0], this.to[0], 7).filter(Number.isInteger)) made.push(text(this.#x(x), HEIGHT - EDGE.bottom + 18, short.format(x), "middle"));
    made.push(text(this.width - EDGE.right, HEIGHT - 2, this.across, "end"));
    return made;
  }

  #line(line, n) {
    if (line.points.length === 1) return drawing("circle", { class: `line-${n} dot`, cx: this.#x(line.points[0][0]), cy: this.#y(line.points[0][1]), r: 4 });
    return drawing("polyline", { class: `line-${n}`, points: line.points.map(([x, y]) => `${this.#x(x).toFixed(1)},${this.#y(y).toFixed(1)}`).join(" ") });
  }

  #point(event) {
    if (!this.xs) return;
    const area = this.svg.getBoundingClientRect(), at = (event.clientX - area.left) / area.width * this.width;
    this.#tell(this.xs.reduce((best, x) => (Math.abs(this.#x(x) - at) < Math.abs(this.#x(best) - at) ? x : best)));
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !this.xs) return;
    event.preventDefault();
    const now = this.at === null ? (step > 0 ? -1 : this.xs.length) : this.xs.indexOf(this.at);
    this.#tell(this.xs[Math.max(0, Math.min(this.xs.length - 1, now + step))]);
  }

  #tell(x) {
    this.at = x;
    this.cursor?.setAttribute("visibility", x === null ? "hidden" : "visible");
    if (x === null) return void (this.told.textContent = "");
    for (const end of ["x1", "x2"]) this.cursor.setAttribute(end, this.#x(x));
    const values = this.lines.map((line) => [line.name, line.points.find(([at]) => at === x)?.[1]]).filter(([, y]) => y !== undefined);
    this.told.textContent = `${this.across} ${x}: ${values.map(([name, y]) => `${name} ${exact.format(y)}`).join(", ")}`;
  }
}
