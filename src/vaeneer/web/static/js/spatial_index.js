// Which points lie where: a grid of buckets over the map, for picking, and for what is in sight.

export class Places {
  constructor(x, y) {
    Object.assign(this, { x, y });
    const count = x.length;
    let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let n = 0; n < count; n++) {
      x0 = Math.min(x0, x[n]); x1 = Math.max(x1, x[n]); y0 = Math.min(y0, y[n]); y1 = Math.max(y1, y[n]);
    }
    if (!count || x1 - x0 + y1 - y0 === 0) { x0 = (count ? x[0] : 0) - 1; x1 = x0 + 2; y0 = (count ? y[0] : 0) - 1; y1 = y0 + 2; }
    this.bounds = [x0, y0, x1, y1];
    this.step = Math.max(x1 - x0, y1 - y0) / Math.max(1, Math.ceil(Math.sqrt(count) / 2));
    this.columns = Math.floor((x1 - x0) / this.step) + 1;
    this.rows = Math.floor((y1 - y0) / this.step) + 1;
    this.starts = new Uint32Array(this.columns * this.rows + 1);
    const of = Uint32Array.from(x, (_, n) => this.#bucket(x[n], y[n]));
    for (const one of of) this.starts[one + 1]++;
    for (let n = 1; n < this.starts.length; n++) this.starts[n] += this.starts[n - 1];
    const next = this.starts.slice();
    this.sorted = new Uint32Array(count);
    of.forEach((one, n) => { this.sorted[next[one]++] = n; });
    this.spacing = this.#spacing();
  }

  #bucket(x, y) {
    const column = Math.floor((x - this.bounds[0]) / this.step), row = Math.floor((y - this.bounds[1]) / this.step);
    return Math.max(0, Math.min(this.rows - 1, row)) * this.columns + Math.max(0, Math.min(this.columns - 1, column));
  }

  /** The points between two corners; see(n) for each. */
  between(x0, y0, x1, y1, see) {
    const clamp = (value, last) => Math.max(0, Math.min(last, Math.floor(value / this.step)));
    const c0 = clamp(x0 - this.bounds[0], this.columns - 1), c1 = clamp(x1 - this.bounds[0], this.columns - 1);
    const r0 = clamp(y0 - this.bounds[1], this.rows - 1), r1 = clamp(y1 - this.bounds[1], this.rows - 1);
    for (let row = r0; row <= r1; row++) {
      for (let at = this.starts[row * this.columns + c0]; at < this.starts[row * this.columns + c1 + 1]; at++) {
        const n = this.sorted[at];
        if (this.x[n] >= x0 && this.x[n] <= x1 && this.y[n] >= y0 && this.y[n] <= y1) see(n);
      }
    }
  }

  /** The nearest point no farther than `reach`, of those that `may` be, or -1. */
  nearest(x, y, reach, may = () => true) {
    let best = -1, least = reach * reach;
    this.between(x - reach, y - reach, x + reach, y + reach, (n) => {
      const apart = (this.x[n] - x) ** 2 + (this.y[n] - y) ** 2;
      if (apart <= least && may(n)) { least = apart; best = n; }
    });
    return best;
  }

  /** The usual distance to the nearest other point. */
  #spacing() {
    const count = this.x.length, step = Math.max(1, Math.floor(count / 500)), found = [];
    for (let n = 0; n < count; n += step) {
      const near = this.nearest(this.x[n], this.y[n], this.step * 2, (other) => other !== n);
      if (near >= 0) found.push(Math.hypot(this.x[near] - this.x[n], this.y[near] - this.y[n]));
    }
    found.sort((a, b) => a - b);
    return found.length ? Math.max(found[found.length >> 1], this.step / 50) : this.step;
  }
}

/** Whether a place lies inside an outline [[x, y], ...] (even-odd rule). */
export function inside(outline, x, y) {
  let within = false;
  for (let n = 0, before = outline.length - 1; n < outline.length; before = n++) {
    const [ax, ay] = outline[n], [bx, by] = outline[before];
    if ((ay > y) !== (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax) within = !within;
  }
  return within;
}
