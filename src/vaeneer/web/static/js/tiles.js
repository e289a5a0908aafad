// A picture shown 1x1, 2x2 or 3x3, to see whether it repeats without a seam.

import { make } from "./dom.js";
import { placed } from "./cells.js";

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
