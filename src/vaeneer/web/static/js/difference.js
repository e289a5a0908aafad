// What differs between two files of a group: the copy is turned and placed like the one to keep.

import { picture } from "./api.js";
import { make } from "./dom.js";

const SIDE = 512, STRONGER = 4, LOOK = 48, WAYS = [0, 1, 2, 3, 4, 5, 6, 7];

async function loaded(id) {
  const image = new Image();
  image.src = picture(id, 768);
  await image.decode();
  return image;
}

/** The copy, drawn as large as the canvas: mirrored left to right first, then turned counter-clockwise. */
function oriented(brush, image, orientation, width, height) {
  const turns = orientation % 4, across = turns % 2 ? [height, width] : [width, height];
  brush.save();
  brush.translate(width / 2, height / 2);
  brush.rotate(-turns * Math.PI / 2);
  if (orientation >= 4) brush.scale(-1, 1);
  brush.drawImage(image, -across[0] / 2, -across[1] / 2, across[0], across[1]);
  brush.restore();
}

function canvas(width, height, words) {
  const made = make("canvas", { width, height, role: "img", "aria-label": words });
  return [made, made.getContext("2d", { willReadFrequently: true })];
}

/** How to turn the copy, where the server does not say: the way in which the two are most alike. */
function likeliest(one, image) {
  const [, brush] = canvas(LOOK, LOOK, "");
  const grey = (draw) => {
    draw();
    const { data } = brush.getImageData(0, 0, LOOK, LOOK);
    const values = Array.from({ length: LOOK * LOOK }, (_, n) => data[4 * n] + data[4 * n + 1] + data[4 * n + 2]);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const length = Math.hypot(...values.map((value) => value - mean)) || 1;
    return values.map((value) => (value - mean) / length);
  };
  const wanted = grey(() => brush.drawImage(one, 0, 0, LOOK, LOOK));
  const alike = WAYS.map((way) => grey(() => oriented(brush, image, way, LOOK, LOOK)).reduce((sum, value, n) => sum + value * wanted[n], 0));
  return alike.indexOf(Math.max(...alike));
}

/**
 * Three pictures of the same place: the one to keep, the other, and |difference| made stronger, once
 * the other has the first's brightness and colours.
 * Answers {keep, other, apart, mean, left}: canvases, the mean difference 0 to 255, what is left of it.
 */
export async function difference(keep, other) {
  const [first, second] = await Promise.all([loaded(keep.id), loaded(other.id)]);
  const [x, y, wide, high] = other.box ?? [0, 0, keep.width_px, keep.height_px];
  const ratio = wide / high, width = Math.round(ratio >= 1 ? SIDE : SIDE * ratio), height = Math.round(ratio >= 1 ? SIDE / ratio : SIDE);
  const [one, brush] = canvas(width, height, "The one to keep");
  const sx = first.naturalWidth / keep.width_px, sy = first.naturalHeight / keep.height_px;
  brush.drawImage(first, x * sx, y * sy, wide * sx, high * sy, 0, 0, width, height);
  const [two, second_brush] = canvas(width, height, "The other, turned and placed like it");
  oriented(second_brush, second, other.orientation ?? likeliest(one, second), width, height);
  const a = brush.getImageData(0, 0, width, height), b = second_brush.getImageData(0, 0, width, height);
  const [three, third] = canvas(width, height, `The difference, ${STRONGER} times as strong`);
  const out = third.createImageData(width, height);
  const matched = colours(a.data, b.data);
  let sum = 0, left = 0;
  for (let n = 0; n < a.data.length; n++) {
    if (n % 4 === 3) { out.data[n] = 255; continue; }
    const [gain, shift] = matched[n % 4], apart = Math.abs(a.data[n] - (b.data[n] * gain + shift));
    sum += Math.abs(a.data[n] - b.data[n]);
    left += apart;
    out.data[n] = apart * STRONGER;
  }
  third.putImageData(out, 0, 0);
  const values = a.data.length * 0.75;
  return { keep: one, other: two, apart: three, mean: sum / values, left: left / values, stronger: STRONGER };
}

/** Gain and shift for each channel that give the second picture the mean and spread of the first. */
function colours(a, b) {
  return [0, 1, 2].map((channel) => {
    const facts = (data) => {
      let sum = 0, squares = 0, count = 0;
      for (let n = channel; n < data.length; n += 4) { sum += data[n]; squares += data[n] ** 2; count++; }
      return [sum / count, Math.sqrt(Math.max(0, squares / count - (sum / count) ** 2))];
    };
    const [mean_a, spread_a] = facts(a), [mean_b, spread_b] = facts(b);
    const gain = spread_b > 1 ? spread_a / spread_b : 1;
    return [gain, mean_a - gain * mean_b];
  });
}
