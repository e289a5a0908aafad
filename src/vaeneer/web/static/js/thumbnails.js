// The small picture of an item with its name: in grids, lists, trays.

import { make } from "./dom.js";
import { fileOf, percent, printable } from "./format.js";

export const nameOf = (item) => printable(item.name || item.file || fileOf(item.path));

/** A picture that is asked for when it comes into sight; a broken one says so. */
export function thumb(address, words, rgb = null, more = {}) {
  const image = make("img", { alt: words, decoding: "async", draggable: "false", class: "thumb", ...more });
  if (rgb) image.style.backgroundColor = `rgb(${rgb.map((one) => Math.round(one * 255)).join(" ")})`;
  image.addEventListener("error", () => {
    image.classList.add("broken");
    image.title = "This picture cannot be read: the file is gone or damaged. Index the folder again.";
  });
  image.src = address;
  return image;
}

/** Fill a cell of a grid. */
export function fillCell(cell, item) {
  const offline = item.offline ? make("span", { class: "chip offline" }, "offline") : null;
  cell.replaceChildren(...[thumb(item.thumbnail, "", item.mean_rgb), offline, make("span", { class: "caption" }, nameOf(item))].filter(Boolean));
  cell.title = item.path;
  cell.setAttribute("aria-label", [nameOf(item), item.category, offline ? "offline" : null].filter(Boolean).join(", "));
}

/** A picture with its own proportions, on which a place (pixels: x, y, width, height) is drawn. */
export function placed(address, words, { width_px, height_px, box, rgb }) {
  const frame = make("span", { class: "placed" }, thumb(address, words, rgb));
  frame.style.aspectRatio = `${width_px} / ${height_px}`;
  if (width_px >= height_px) frame.style.width = "100%";
  else frame.style.height = "100%";
  if (box) {
    const mark = make("span", { class: "mark", "aria-hidden": "true" });
    const [x, y, width, height] = box;
    mark.style.left = `${x / width_px * 100}%`;
    mark.style.top = `${y / height_px * 100}%`;
    mark.style.width = `${width / width_px * 100}%`;
    mark.style.height = `${height / height_px * 100}%`;
    frame.append(mark);
  }
  return frame;
}

/** How likely, as a word and a colour; the cosine where the model is not calibrated. */
export function chance(hit) {
  if (hit.probability == null) return make("span", { class: "chance", title: "cosine" }, hit.score.toFixed(3));
  const level = hit.probability >= 0.9 ? "high" : hit.probability >= 0.5 ? "middle" : "low";
  return make("span", { class: `chance ${level}`, title: `Probability that both show one surface; cosine ${hit.score.toFixed(3)}` }, percent(hit.probability));
}

// A picture shown 1x1, 2x2 or 3x3, to see whether it repeats without a seam.

export class Tiles {
  #times = 1;

  /** address: of the picture; words: what it shows; size, box: its pixels, and a place in it. */
  constructor(address, words, { size = [1, 1], box = null } = {}) {
    Object.assign(this, { address, words, size, box });
    this.element = make("div", { class: "tiles" });
    this.element.style.setProperty("--ratio", size[0] / size[1]);
    this.show(1);
  }

  next() {
    this.show(this.#times % 3 + 1);
  }

  picture(address) {
    this.address = address;
    for (const image of this.element.querySelectorAll("img")) image.src = address;
  }

  show(times) {
    this.#times = times;
    this.element.style.setProperty("--times", times);
    this.element.dataset.times = times;
    const [width_px, height_px] = this.size;
    const box = times === 1 ? this.box : null;
    this.element.replaceChildren(...Array.from({ length: times * times }, (_, number) =>
      placed(this.address, number ? "" : this.words, { width_px, height_px, box })));
  }
}
