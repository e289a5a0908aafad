// What lies over the points: thumbnails when there is room, names of groups, selection, lasso.

import { thumbnail } from "./api.js";
import { colour } from "./theme.js";

const LEAST = 40, MOST = 132, AT_ONCE = 10, KEPT = 1200, TRIED = 3000, SHOWN = 500;  // px, px, requests, pictures, points, pictures

/** Thumbnails, loaded a few at a time, the last asked for first. */
export class Pictures {
  #found = new Map();
  #wanted = [];
  #loading = 0;

  constructor(arrived) {
    this.arrived = arrived;
  }

  of(id) {
    const known = this.#found.get(id);
    if (known === undefined) {
      this.#found.set(id, null);
      this.#wanted.push(id);
      this.#next();
    }
    return known ?? null;
  }

  #next() {
    while (this.#loading < AT_ONCE && this.#wanted.length) {
      const id = this.#wanted.pop(), image = new Image();
      this.#loading++;
      const done = (what) => {
        this.#loading--;
        this.#found.set(id, what);
        for (const old of this.#found.keys()) {
          if (this.#found.size <= KEPT) break;
          this.#found.delete(old);
        }
        this.arrived();
        this.#next();
      };
      image.onload = () => done(image);
      image.onerror = () => done(null);
      image.src = thumbnail(id);
    }
    if (this.#wanted.length > 300) for (const id of this.#wanted.splice(0, 150)) this.#found.delete(id);
  }
}

/** Draw what lies over the points; the shown pictures with their sides. scene: {places, ids, paint(n), shown(n), names, selected, over, pictures, outline}. */
export function drawOver(brush, camera, scene) {
  const { width, height, dots } = camera;
  brush.setTransform(dots, 0, 0, dots, 0, 0);
  brush.clearRect(0, 0, width, height);
  const put = thumbs(brush, camera, scene);
  rings(brush, camera, scene, put);
  names(brush, camera, scene);
  scene.outline.draw(brush, colour("--accent"));
  return put;
}

/** How large thumbnails are at this zoom, px; where there is no room for all, some are shown. */
const sideAt = (camera, places) => Math.max(LEAST, Math.min(MOST, camera.scale * places.spacing * 1.25));

function thumbs(brush, camera, { places, order, ids, paint, shown, selected, pictures }) {
  const side = sideAt(camera, places), put = new Map();
  const taken = new Taken(side + 3), [x0, y1] = camera.place(-side, -side), [x1, y0] = camera.place(camera.width + side, camera.height + side);
  let tried = 0;
  const place = (n) => {
    const x = places.x[n], y = places.y[n];
    if (x < x0 || x > x1 || y < y0 || y > y1 || put.has(n) || !shown(n)) return;
    tried++;
    const [px, py] = camera.screen(places.x[n], places.y[n]);
    if (!taken.free(px, py)) return;
    const image = pictures.of(ids[n]);
    taken.take(px, py);
    put.set(n, side);
    if (!image) return;
    const part = Math.min(image.naturalWidth, image.naturalHeight);
    brush.fillStyle = paint(n);
    brush.fillRect(px - side / 2 - 1.5, py - side / 2 - 1.5, side + 3, side + 3);
    brush.drawImage(image, (image.naturalWidth - part) / 2, (image.naturalHeight - part) / 2, part, part, px - side / 2, py - side / 2, side, side);
  };
  for (const n of selected) if (put.size < SHOWN) place(n);
  for (let at = 0; at < order.length && put.size < SHOWN && tried < TRIED; at++) place(order[at]);
  return put;
}

/** Squares of one size that must not overlap. */
class Taken {
  #at = new Map();

  constructor(side) {
    this.side = side;
  }

  #key = (x, y, dx = 0, dy = 0) => (Math.floor(x / this.side) + dx) * 65536 + Math.floor(y / this.side) + dy;

  free(x, y) {
    for (let dx = -1; dx <= 1; dx++) {
      for (let dy = -1; dy <= 1; dy++) {
        const other = this.#at.get(this.#key(x, y, dx, dy));
        if (other && Math.abs(other[0] - x) < this.side && Math.abs(other[1] - y) < this.side) return false;
      }
    }
    return true;
  }

  take(x, y) {
    this.#at.set(this.#key(x, y), [x, y]);
  }
}

const mixed = (n) => Math.imul(n + 1, 2654435761) >>> 0;

/** The points in the order in which their pictures are placed: mixed, and the same at each zoom. */
export const mixedOrder = (count) => Uint32Array.from({ length: count }, (_, n) => n).sort((a, b) => mixed(a) - mixed(b));

function rings(brush, camera, { places, selected, over, centre }, put) {
  const ring = (n, paint, wide) => {
    const [px, py] = camera.screen(places.x[n], places.y[n]), side = (put.get(n) ?? 9) + 6;
    if (px < -side || py < -side || px > camera.width + side || py > camera.height + side) return;
    brush.lineWidth = wide;
    brush.strokeStyle = paint;
    brush.strokeRect(px - side / 2, py - side / 2, side, side);
  };
  const accent = colour("--accent"), text = colour("--text");
  for (const n of selected) ring(n, accent, 2.5);
  if (over >= 0) ring(over, text, 2);
  if (centre >= 0) ring(centre, colour("--focus"), 3);
}

function names(brush, camera, { names: groups }) {
  const written = [], ground = colour("--ground"), text = colour("--text");
  brush.textAlign = "center";
  brush.textBaseline = "middle";
  brush.lineJoin = "round";
  for (const { word, x, y, size } of groups) {
    const [px, py] = camera.screen(x, y), high = Math.min(20, 11 + Math.log2(1 + size));
    brush.font = `650 ${high}px system-ui, sans-serif`;
    const half = brush.measureText(word).width / 2 + 5;
    if (px + half < 0 || px - half > camera.width || py < 0 || py > camera.height) continue;
    if (written.some(([a, b, w, h]) => Math.abs(a - px) < w + half && Math.abs(b - py) < (h + high) * 0.7)) continue;
    written.push([px, py, half, high]);
    brush.lineWidth = 5;
    brush.strokeStyle = ground;
    brush.strokeText(word, px, py);
    brush.fillStyle = text;
    brush.fillText(word, px, py);
  }
}

/** An outline drawn by hand; found(outline, adding) when it is closed. */
export class Lasso {
  #points = [];
  drawing = false;
  wanted = false;

  constructor(changed, found) {
    Object.assign(this, { changed, found });
  }

  begin(x, y) {
    this.drawing = true;
    this.#points = [[x, y]];
  }

  add(x, y) {
    this.#points.push([x, y]);
    this.changed();
  }

  end(adding) {
    const points = this.#points;
    this.cancel();
    if (points.length > 3) this.found(points, adding);
  }

  cancel() {
    this.drawing = false;
    this.#points = [];
    this.changed();
  }

  draw(brush, paint) {
    if (this.#points.length < 2) return;
    brush.beginPath();
    for (const [x, y] of this.#points) brush.lineTo(x, y);
    brush.closePath();
    brush.lineWidth = 2;
    brush.strokeStyle = paint;
    brush.setLineDash([6, 4]);
    brush.stroke();
    brush.setLineDash([]);
    brush.globalAlpha = 0.12;
    brush.fillStyle = paint;
    brush.fill();
    brush.globalAlpha = 1;
  }
}
