// A box drawn on a picture, with mouse, touch or keys. All numbers are pixels of the file.

import { later, make } from "./dom.js";

const LEAST = 16;  // px: the server refuses smaller boxes
const CORNERS = ["nw", "ne", "sw", "se"];

/** A box inside a picture of some size, whole pixels, not too small. */
export function fitted([x, y, width, height], [wide, high]) {
  const w = Math.min(wide, Math.max(Math.min(LEAST, wide), Math.round(width)));
  const h = Math.min(high, Math.max(Math.min(LEAST, high), Math.round(height)));
  return [Math.max(0, Math.min(wide - w, Math.round(x))), Math.max(0, Math.min(high - h, Math.round(y))), w, h];
}

export function parsed(text) {
  const numbers = (text ?? "").split(",").map(Number);
  return numbers.length === 4 && numbers.every(Number.isFinite) && numbers[2] > 0 && numbers[3] > 0 ? numbers : null;
}

export class BoxDrawing {
  #drag = null;
  #settled;

  /** size: [width, height] of the picture; changed(box | null) is called when the person is done. */
  constructor({ address, words, size, box = null, changed }) {
    Object.assign(this, { size, changed });
    this.#settled = later(() => this.changed(this.box), 450);
    this.frame = make("div", { class: "box", hidden: true }, CORNERS.map((at) => make("i", { "data-corner": at })));
    this.image = make("img", { alt: words, src: address, draggable: "false" });
    this.shade = make("div", { class: "drawing-shade" }, this.frame);
    this.element = make("div", {
      class: "drawing", tabindex: 0, role: "application", "aria-roledescription": "picture to draw a box on",
      "aria-label": `${words}. Enter makes a box, arrow keys move it, Shift with arrow keys resizes it, Delete removes it.`,
      on: {
        pointerdown: (event) => this.#down(event), pointermove: (event) => this.#move(event),
        pointerup: (event) => this.#up(event), pointercancel: () => this.#cancel(), keydown: (event) => this.#key(event),
      },
    }, this.image, this.shade);
    this.element.style.setProperty("--ratio", size[0] / size[1]);
    this.set(box);
  }

  set(box) {
    this.box = box && fitted(box, this.size);
    this.frame.hidden = !this.box;
    if (!this.box) return;
    const [x, y, width, height] = this.box, [wide, high] = this.size;
    Object.assign(this.frame.style, {
      left: `${x / wide * 100}%`, top: `${y / high * 100}%`, width: `${width / wide * 100}%`, height: `${height / high * 100}%`,
    });
  }

  #at(event) {
    const area = this.image.getBoundingClientRect(), [wide, high] = this.size;
    const share = (value, from, length) => Math.max(0, Math.min(1, (value - from) / length));
    return [share(event.clientX, area.left, area.width) * wide, share(event.clientY, area.top, area.height) * high];
  }

  #down(event) {
    if (event.button) return;
    event.preventDefault();
    this.element.focus({ preventScroll: true });
    this.element.setPointerCapture(event.pointerId);
    this.#settled.cancel();
    const [px, py] = this.#at(event), corner = event.target.dataset?.corner, before = this.box;
    if (corner) {
      const [x, y, width, height] = before;
      this.#drag = { before, fixed: [corner.includes("w") ? x + width : x, corner.includes("n") ? y + height : y] };
    } else if (event.target === this.frame) {
      this.#drag = { before, grip: [px - before[0], py - before[1]] };
    } else {
      this.#drag = { before, fixed: [px, py], fresh: true };
    }
    this.#drag.start = [event.clientX, event.clientY];
  }

  #move(event) {
    const drag = this.#drag;
    if (!drag) return;
    if (Math.hypot(event.clientX - drag.start[0], event.clientY - drag.start[1]) > 4) drag.moved = true;
    if (!drag.moved) return;
    const [px, py] = this.#at(event);
    if (drag.grip) return this.set([px - drag.grip[0], py - drag.grip[1], drag.before[2], drag.before[3]]);
    const [fx, fy] = drag.fixed;
    this.set([Math.min(px, fx), Math.min(py, fy), Math.abs(px - fx), Math.abs(py - fy)]);
  }

  #up(event) {
    const drag = this.#drag;
    this.#drag = null;
    if (!drag?.moved) return;
    if (this.element.hasPointerCapture(event.pointerId)) this.element.releasePointerCapture(event.pointerId);
    this.changed(this.box);
  }

  #cancel() {
    if (this.#drag) this.set(this.#drag.before);
    this.#drag = null;
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [wide, high] = this.size, step = Math.max(1, Math.round(Math.min(wide, high) / 40));
    const ways = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === "Delete" || event.key === "Backspace") {
      if (this.box) { this.set(null); this.#settled(); }
    } else if (event.key === "Enter" && !this.box) {
      this.set([wide / 4, high / 4, wide / 2, high / 2]);
      this.#settled();
    } else if (event.key in ways && this.box) {
      const [dx, dy] = ways[event.key], [x, y, width, height] = this.box;
      this.set(event.shiftKey ? [x, y, Math.min(width + dx, wide - x), Math.min(height + dy, high - y)] : [x + dx, y + dy, width, height]);
      this.#settled();
    } else {
      return;
    }
    event.preventDefault();
  }
}
