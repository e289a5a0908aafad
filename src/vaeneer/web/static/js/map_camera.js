// Where we look at the map: moving and zooming with mouse, touch, wheel and keys.

/** Screen = left + x * scale, top - y * scale, in CSS pixels. */
export class Camera {
  #fingers = new Map();
  #travelled = 0;

  /** acts: moved(), tapped(x, y), hovered(x, y), outline: a Lasso that may take the pointer. */
  constructor(element, bounds, acts) {
    Object.assign(this, { element, bounds, acts, scale: 1, left: 0, top: 0, width: 1, height: 1, dots: 1 });
    element.addEventListener("pointerdown", (event) => this.#down(event));
    element.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) element.addEventListener(kind, (event) => this.#up(event));
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      const [x, y] = this.#at(event), lines = event.deltaMode === 1 ? 16 : 1;
      this.zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), x, y);
    }, { passive: false });
    element.addEventListener("dblclick", (event) => this.zoom(2, ...this.#at(event)));
  }

  size(width, height) {
    const centre = this.centre();
    Object.assign(this, { width, height, dots: Math.min(2, window.devicePixelRatio || 1) });
    this.look(...centre);
  }

  fit() {
    const [x0, y0, x1, y1] = this.bounds;
    this.scale = 0.88 * Math.min(this.width / Math.max(1e-6, x1 - x0), this.height / Math.max(1e-6, y1 - y0));
    this.look((x0 + x1) / 2, (y0 + y1) / 2);
  }

  centre() {
    return this.place(this.width / 2, this.height / 2);
  }

  /** Put a place of the map into the middle. */
  look(x, y, scale = this.scale) {
    this.scale = scale;
    this.left = this.width / 2 - x * scale;
    this.top = this.height / 2 + y * scale;
    this.acts.moved();
  }

  place(px, py) {
    return [(px - this.left) / this.scale, (this.top - py) / this.scale];
  }

  screen(x, y) {
    return [this.left + x * this.scale, this.top - y * this.scale];
  }

  zoom(factor, px = this.width / 2, py = this.height / 2) {
    const [x0, y0, x1, y1] = this.bounds, whole = Math.min(this.width / Math.max(1e-6, x1 - x0), this.height / Math.max(1e-6, y1 - y0));
    const [x, y] = this.place(px, py);
    this.scale = Math.max(whole * 0.3, Math.min(whole * 4000, this.scale * factor));
    this.left = px - x * this.scale;
    this.top = py + y * this.scale;
    this.acts.moved();
  }

  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.acts.moved();
  }

  /** Whether a key was one of ours. */
  key(event) {
    const step = Math.min(this.width, this.height) / 8;
    const keys = {
      ArrowLeft: () => this.pan(step, 0), ArrowRight: () => this.pan(-step, 0), ArrowUp: () => this.pan(0, step), ArrowDown: () => this.pan(0, -step),
      "+": () => this.zoom(1.4), "=": () => this.zoom(1.4), "-": () => this.zoom(1 / 1.4), 0: () => this.fit(),
    };
    keys[event.key]?.();
    return event.key in keys;
  }

  #at(event) {
    const area = this.element.getBoundingClientRect();
    return [event.clientX - area.left, event.clientY - area.top];
  }

  #down(event) {
    if (event.button) return;
    this.element.setPointerCapture(event.pointerId);
    this.#fingers.set(event.pointerId, this.#at(event));
    this.#travelled = this.#fingers.size > 1 ? 99 : 0;
    if (this.#fingers.size > 1) this.acts.outline.cancel();
    else if (this.acts.outline.wanted || event.shiftKey) this.acts.outline.begin(...this.#at(event));
  }

  #move(event) {
    const before = this.#fingers.get(event.pointerId), here = this.#at(event);
    if (!before) return this.acts.hovered(...here);
    this.#fingers.set(event.pointerId, here);
    this.#travelled += Math.hypot(here[0] - before[0], here[1] - before[1]);
    if (this.acts.outline.drawing) return this.acts.outline.add(...here);
    if (this.#fingers.size === 2) {
      const [other] = [...this.#fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const apart = (place) => Math.max(1, Math.hypot(place[0] - other[0], place[1] - other[1]));
      this.zoom(apart(here) / apart(before), (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
    }
    const share = 1 / this.#fingers.size;
    this.pan((here[0] - before[0]) * share, (here[1] - before[1]) * share);
  }

  #up(event) {
    if (!this.#fingers.delete(event.pointerId) || this.#fingers.size) return;
    const tap = event.type === "pointerup" && this.#travelled <= 5;
    if (this.acts.outline.drawing) this.acts.outline.end(event.shiftKey || event.ctrlKey);
    if (tap) this.acts.tapped(...this.#at(event));
  }
}
