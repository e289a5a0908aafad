// What differs between two files of a group: the copy is turned and placed like the one to keep.

import { picture } from "./api.js";
import { make } from "./dom.js";

const SIDE = 512, STRONGER = 4;

async function loaded(id) {
  const image = new Image();
  image.src = picture(id, 768);
  await image.decode();
  return image;
}

/** The copy, drawn as large as the canvas: mirrored left to right first, then turned counter-clockwise. */
function oriented(brush, image, orientation, width, height) {
  const turns = (orientation ?? 0) % 4, across = turns % 2 ? [height, width] : [width, height];
  brush.save();
  brush.translate(width / 2, height / 2);
  brush.rotate(-turns * Math.PI / 2);
  if ((orientation ?? 0) >= 4) brush.scale(-1, 1);
  brush.drawImage(image, -across[0] / 2, -across[1] / 2, across[0], across[1]);
  brush.restore();
}

function canvas(width, height, words) {
  const made = make("canvas", { width, height, role: "img", "aria-label": words });
  return [made, made.getContext("2d", { willReadFrequently: true })];
}

/**
 * Three pictures of the same place: the one to keep, the other, and |difference| made stronger.
 * Answers {keep, other, apart, mean}: canvases, and the mean difference 0 to 255.
 */
export async function difference(keep, other) {
  const [first, second] = await Promise.all([loaded(keep.id), loaded(other.id)]);
  const [x, y, wide, high] = other.box ?? [0, 0, keep.width_px, keep.height_px];
  const ratio = wide / high, width = Math.round(ratio >= 1 ? SIDE : SIDE * ratio), height = Math.round(ratio >= 1 ? SIDE / ratio : SIDE);
  const [one, brush] = canvas(width, height, "The one to keep");
  const sx = first.naturalWidth / keep.width_px, sy = first.naturalHeight / keep.height_px;
  brush.drawImage(first, x * sx, y * sy, wide * sx, high * sy, 0, 0, width, height);
  const [two, second_brush] = canvas(width, height, "The other, turned and placed like it");
  oriented(second_brush, second, other.orientation, width, height);
  const a = brush.getImageData(0, 0, width, height), b = second_brush.getImageData(0, 0, width, height);
  const [three, third] = canvas(width, height, `The difference, ${STRONGER} times as strong`);
  const out = third.createImageData(width, height);
  let sum = 0;
  for (let n = 0; n < a.data.length; n++) {
    const apart = Math.abs(a.data[n] - b.data[n]);
    if (n % 4 === 3) out.data[n] = 255;
    else { sum += apart; out.data[n] = apart * STRONGER; }
  }
  third.putImageData(out, 0, 0);
  return { keep: one, other: two, apart: three, mean: sum / (a.data.length * 0.75), stronger: STRONGER };
}
