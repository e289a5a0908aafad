const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const map = byId("map"), brush = map.getContext("2d"), card = byId("card"), words = byId("words");
const { columns, rows, cells, names, files, tags, means, levels, modes, neighbours } = data;
const count = names.length;
const at = new Int32Array(columns * rows).fill(-1);          // the item in each cell
for (let n = 0; n < count; n++) at[cells[2 * n + 1] * columns + cells[2 * n]] = n;
const text = names.map((name, n) =>
  [name, files[n], tags[n], ...modes.map((mode) => groupName(mode, n))].join("\n").toLowerCase());
const pictures = levels.map((level) => level.urls.map((url) => {
  const image = new Image();
  image.onload = draw;
  image.src = url;
  return image;
}));

let mode = 0, chosen = -1, over = -1, pinned = -1, found = null, match = -1;
const light = matchMedia("(prefers-color-scheme: light)");
let look = colours();
let scale = 1, left = 0, top = 0, waiting = false;           // px for a cell; of the first cell

function colours() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ground", "line", "dim", "text"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function groupName(mode, n) {
  const group = mode.of[n];
  return group < 0 ? "" : mode.groups[group].name;
}

function colour(n) {
  const group = modes[mode].of[n];
  return group < 0 ? look.line : modes[mode].groups[group].colour;
}

function shown(n) {
  return (!found || found.has(n)) && (chosen < 0 || modes[mode].of[n] === chosen);
}

function size() {
  return [map.clientWidth, map.clientHeight];
}

function fit() {
  const [width, height] = size();
  const room = width > 720 ? 240 : 0;                         // the list of groups on the right
  scale = Math.min((width - room) / columns, (height - 70) / rows);
  left = (width - room - columns * scale) / 2;
  top = 60 + (height - 70 - rows * scale) / 2;
  draw();
}

function zoom(factor, x, y) {
  const smallest = Math.min(...size()) / Math.max(columns, rows) / 4;
  const wanted = Math.min(320, Math.max(smallest, scale * factor));
  left = x - (x - left) * wanted / scale;
  top = y - (y - top) * wanted / scale;
  scale = wanted;
  draw();
}

function goTo(n) {
  const [width, height] = size();
  scale = Math.max(scale, 72);
  left = width / 2 - (cells[2 * n] + 0.5) * scale;
  top = height / 2 - (cells[2 * n + 1] + 0.5) * scale;
  pin(n);
}

function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(paint);
}

function paint() {
  waiting = false;
  const dots = window.devicePixelRatio || 1, [width, height] = size();
  if (map.width !== Math.round(width * dots) || map.height !== Math.round(height * dots)) {
    map.width = Math.round(width * dots);
    map.height = Math.round(height * dots);
  }
  brush.setTransform(dots, 0, 0, dots, 0, 0);
  brush.fillStyle = look.ground;
  brush.fillRect(0, 0, width, height);
  brush.imageSmoothingQuality = "high";
  const firstColumn = Math.max(0, Math.floor(-left / scale));
  const lastColumn = Math.min(columns - 1, Math.floor((width - left) / scale));
  const lastRow = Math.min(rows - 1, Math.floor((height - top) / scale));
  for (let row = Math.max(0, Math.floor(-top / scale)); row <= lastRow; row++) {
    for (let column = firstColumn; column <= lastColumn; column++) {
      const n = at[row * columns + column];
      if (n >= 0) paintItem(n, dots);
    }
  }
  brush.globalAlpha = 1;
  paintThreads();
  paintNames(width, height);
}

function paintItem(n, dots) {
  const x = left + cells[2 * n] * scale, y = top + cells[2 * n + 1] * scale;
  const gap = scale < 5 ? 0.2 : scale * 0.035, side = scale - 2 * gap;
  brush.globalAlpha = shown(n) ? 1 : 0.13;
  brush.fillStyle = colour(n);
  brush.fillRect(x + gap, y + gap, side, side);
  const edge = scale < 10 ? 0 : Math.max(1, scale * 0.025), inner = side - 2 * edge;
  if (inner * dots < 4) {                                     // too small for a picture
    brush.globalAlpha *= modes[mode].of[n] < 0 ? 1 : 0.6;
    brush.fillStyle = `#${means.slice(6 * n, 6 * n + 6)}`;
    brush.fillRect(x + gap, y + gap, side, side);
    return;
  }
  paintTile(brush, n, x + gap + edge, y + gap + edge, inner, inner * dots);
}

function paintTile(target, n, x, y, side, dots) {
  let level = levels.length - 1;                              // the smallest that is large enough
  while (level > 0 && levels[level].side < 0.8 * dots) level--;
  const { side: own, across } = levels[level], sheet = Math.floor(n / across ** 2);
  const place = n - sheet * across ** 2, image = pictures[level][sheet];
  if (!image.complete || !image.naturalWidth) {
    target.fillStyle = `#${means.slice(6 * n, 6 * n + 6)}`;
    target.fillRect(x, y, side, side);
    return;
  }
  const inset = own > 32 ? 1 : 0.5;                           // the next tile must not shine in
  target.drawImage(image, (place % across) * own + inset, Math.floor(place / across) * own + inset,
    own - 2 * inset, own - 2 * inset, x, y, side, side);
}

function middle(n) {
  return [left + (cells[2 * n] + 0.5) * scale, top + (cells[2 * n + 1] + 0.5) * scale];
}

function paintThreads() {
  if (pinned < 0) return;
  brush.strokeStyle = look.dim;
  brush.lineWidth = 1.5;
  for (const other of neighbours[pinned]) {
    brush.beginPath();
    brush.moveTo(...middle(pinned));
    brush.lineTo(...middle(other));
    brush.stroke();
  }
  for (const n of [...neighbours[pinned], pinned]) {
    const [x, y] = middle(n), side = Math.max(scale * 0.95, 8);
    brush.lineWidth = n === pinned ? 3 : 1.5;
    brush.strokeStyle = look.text;
    brush.strokeRect(x - side / 2, y - side / 2, side, side);
    if (scale > 16) paintTile(brush, n, x - side / 2 + 2, y - side / 2 + 2, side - 4, scale * 2);
  }
}

function paintNames(width, height) {
  const written = [];
  brush.textAlign = "center";
  brush.textBaseline = "middle";
  brush.lineJoin = "round";
  for (const [group, { word, colour, place, size }] of modes[mode].groups.entries()) {
    if (!place || (chosen >= 0 && chosen !== group)) continue;
    const px = Math.min(34, Math.max(size > 40 ? 13 : 11, scale * data.letters));
    const x = left + place[0] * scale, y = top + place[1] * scale;
    brush.font = `600 ${px}px system-ui, sans-serif`;
    const half = brush.measureText(word).width / 2 + 4;
    const box = [x - half, y - px * 0.7, x + half, y + px * 0.7];
    if (box[2] < 0 || box[0] > width || box[3] < 0 || box[1] > height) continue;
    if (written.some((o) => box[0] < o[2] && box[2] > o[0] && box[1] < o[3] && box[3] > o[1])) continue;
    written.push(box);
    brush.lineWidth = px * 0.45;
    brush.strokeStyle = look.ground;
    brush.strokeText(word, x, y);
    brush.fillStyle = `color-mix(in srgb, ${colour} 45%, ${look.text})`;
    brush.fillText(word, x, y);
  }
}

function itemAt(x, y) {
  const column = Math.floor((x - left) / scale), row = Math.floor((y - top) / scale);
  if (column < 0 || row < 0 || column >= columns || row >= rows) return -1;
  const n = at[row * columns + column];
  return n >= 0 && shown(n) ? n : -1;
}

function showCard(n) {
  card.hidden = n < 0;
  if (n < 0) return;
  const large = byId("large"), side = 246, dots = window.devicePixelRatio || 1;
  large.width = large.height = side * dots;
  large.style.width = large.style.height = `${side}px`;
  paintTile(large.getContext("2d"), n, 0, 0, side * dots, side * dots);
  byId("name").textContent = names[n];
  byId("file").textContent = files[n];
  const facts = modes.map((one) => groupName(one, n) && `${one.name} ${groupName(one, n)}`);
  byId("facts").textContent = [...facts, tags[n]].filter(Boolean).join(" · ");
  const [x, y] = middle(n), [width, height] = size(), high = card.offsetHeight;
  const beside = x + scale / 2 + 12;
  card.style.left = `${beside + 270 < width ? beside : Math.max(8, x - scale / 2 - 276)}px`;
  card.style.top = `${Math.max(8, Math.min(height - high - 8, y - high / 2))}px`;
}

function hover(n) {
  if (n === over) return;
  over = n;
  map.classList.toggle("over", n >= 0);
  showCard(n >= 0 ? n : pinned);
}

function pin(n) {
  pinned = n;
  showCard(n);
  draw();
}

function find() {
  const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  match = -1;
  found = null;
  if (asked.length) {
    found = new Set();
    for (let n = 0; n < count; n++) if (asked.every((word) => text[n].includes(word))) found.add(n);
  }
  byId("count").textContent = found ? `${found.size}` : "";
  draw();
}

function next() {
  const all = found ? [...found].filter(shown) : [];
  if (!all.length) return;
  match = (match + 1) % all.length;
  goTo(all[match]);
}

function button(label, pressed, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.setAttribute("aria-pressed", String(pressed));
  made.append(label);
  made.addEventListener("click", act);
  return made;
}

function choose(group) {
  chosen = chosen === group ? -1 : group;
  list();
  draw();
}

function list() {
  byId("modes").replaceChildren(...modes.map((one, number) =>
    button(one.name, number === mode, () => { mode = number; chosen = -1; list(); draw(); })));
  byId("groups").replaceChildren(...modes[mode].groups.map((group, number) => {
    const made = button("", number === chosen, () => choose(number));
    const [mark, name, many] = ["i", "span", "em"].map((tag) => document.createElement(tag));
    mark.style.background = group.colour;
    name.textContent = group.name;
    many.textContent = group.size;
    made.append(mark, name, many);
    const line = document.createElement("li");
    line.append(made);
    return line;
  }));
}

const pointers = new Map();
let travelled = 0;
map.addEventListener("pointerdown", (event) => {
  map.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, [event.clientX, event.clientY]);
  travelled = pointers.size > 1 ? 99 : 0;
  map.classList.add("moving");
});
map.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return hover(itemAt(event.clientX, event.clientY));
  const here = [event.clientX, event.clientY];
  if (pointers.size === 2) {
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]);
    zoom(apart(here) / Math.max(1, apart(before)), (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
  }
  const share = 1 / pointers.size;
  left += (here[0] - before[0]) * share;
  top += (here[1] - before[1]) * share;
  travelled += Math.hypot(here[0] - before[0], here[1] - before[1]);
  pointers.set(event.pointerId, here);
  if (travelled > 4) showCard(-1);
  draw();
});
for (const kind of ["pointerup", "pointercancel"]) {
  map.addEventListener(kind, (event) => {
    pointers.delete(event.pointerId);
    if (pointers.size) return;
    map.classList.remove("moving");
    if (kind === "pointerup" && travelled <= 4) pin(itemAt(event.clientX, event.clientY));
  });
}
map.addEventListener("pointerleave", () => hover(-1));
map.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 16 : 1;
  zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0015)), event.clientX, event.clientY);
}, { passive: false });
map.addEventListener("dblclick", (event) => zoom(2, event.clientX, event.clientY));
map.addEventListener("keydown", (event) => {
  const [width, height] = size(), step = 80;
  const keys = {
    ArrowLeft: () => { left += step; draw(); }, ArrowRight: () => { left -= step; draw(); },
    ArrowUp: () => { top += step; draw(); }, ArrowDown: () => { top -= step; draw(); },
    "+": () => zoom(1.3, width / 2, height / 2), "=": () => zoom(1.3, width / 2, height / 2),
    "-": () => zoom(1 / 1.3, width / 2, height / 2), "0": fit, Escape: () => pin(-1), Enter: next,
  };
  if (event.ctrlKey || event.metaKey || !keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target === words) return;
  event.preventDefault();
  words.focus();
});
words.addEventListener("input", find);
words.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { words.value = ""; find(); map.focus(); }
});
byId("find").addEventListener("submit", (event) => { event.preventDefault(); next(); });
byId("in").addEventListener("click", () => zoom(1.5, size()[0] / 2, size()[1] / 2));
byId("out").addEventListener("click", () => zoom(1 / 1.5, size()[0] / 2, size()[1] / 2));
byId("all").addEventListener("click", fit);
addEventListener("resize", draw);
light.addEventListener("change", () => { look = colours(); draw(); });
list();
fit();
if (size()[0] <= 720 && scale < 32) zoom(32 / scale, size()[0] / 2, size()[1] / 2);   // pictures large enough on a phone
map.focus();
