// Play: random samples, a surface and its reconstruction, the way from one surface to another.

import { get, picture, post } from "./api.js";
import { button, choice, icon, later, make } from "./dom.js";
import { Grid } from "./grid.js";
import { Items } from "./items.js";
import { changed, go, note, read } from "./router.js";
import { fillCell, nameOf, Tiles } from "./thumbnails.js";
import { failed, shown } from "./toasts.js";

const STEPS = 16, COUNT = 12;

export function show(place, state, library) {
  const stop = new AbortController();
  let times = Number(state.tiled) || 1;
  const parts = [samples(stop.signal), reconstruction(stop.signal), between(stop.signal)];
  const tile = () => parts.forEach((part) => part.tiles().forEach((one) => one.show(times)));
  const tiled = choice("Show each tiled", [[1, "1×1"], [2, "2×2"], [3, "3×3"]], times, (value) => {
    times = Number(value);
    note({ tiled: times > 1 ? times : null });
    tile();
  });
  parts.forEach((part) => { part.made = (tiles) => tiles.show(times); });
  place.append(make("div", { class: "page play" },
    make("header", {}, make("h1", {}, "Play"), make("div", { class: "row" }, make("span", { class: "lead" }, "Shown tiled"), tiled)),
    make("p", { class: "lead" }, `What the network of ${library.name} (${library.model}) has learnt: made pictures are soft, as it keeps what surfaces have in common.`),
    parts.map((part) => part.element)));
  const update = (now) => parts.forEach((part) => part.update(now));
  update(state);
  return { update, close: () => stop.abort() };
}

/** A section with a place that is filled by `work` whenever its part of the address changes. */
function section(title, names, controls, work) {
  const place = make("div", { class: "play-place" });
  let key = null;
  const part = {
    element: make("section", { class: "panel" }, make("header", { class: "row" }, make("h2", {}, title), controls), place),
    tiles: () => [...place.querySelectorAll(".tiles")].map((one) => one.tiles),
    made() {},
    update(now) {
      const next = JSON.stringify(names.map((name) => now[name]));
      if (next === key) return;
      key = next;
      shown(place, "Drawing …", async () => {
        const made = await work(now, (tiles) => {
          tiles.element.tiles = tiles;
          part.made(tiles);
          return tiles.element;
        });
        return key === next ? made : null;  // another was asked for meanwhile
      });
    },
  };
  return part;
}

function samples(signal) {
  const seed = () => Number(read().seed) || 0;
  const heat = make("input", { type: "range", min: 0, max: 2, step: 0.05, value: read().temperature ?? 1 });
  const says = make("b", {}, String(read().temperature ?? 1));
  const put = later(() => go(changed({ temperature: heat.value === "1" ? null : heat.value }), { replace: true }), 300);
  heat.addEventListener("input", () => { says.textContent = heat.value; put(); });
  const controls = [make("label", { class: "field heat" }, make("span", {}, "Temperature ", says), heat),
    button(`Another ${COUNT}`, () => go(changed({ seed: seed() + 1 })), { class: "strong" })];
  return section("Random samples", ["seed", "temperature"], controls, async (now, tiles) => {
    const { images } = await post("sample", { count: COUNT, seed: seed(), temperature: Number(now.temperature ?? 1) }, signal);
    return make("div", { class: "samples" }, images.map((one, n) => tiles(new Tiles(one, `Sample ${n + 1} of seed ${seed()}`))));
  });
}

function chooser(name, label, title) {
  return button(label, async () => {
    const item = await pick(title);
    if (item) go(changed({ [name]: item.id }));
  });
}

function reconstruction(signal) {
  return section("A surface, and what the network makes of it", ["item"], chooser("item", "Choose a surface", "Choose a surface to reconstruct"), async (now, tiles) => {
    const id = now.item ?? await first(0.3, signal);
    if (id === null) return make("p", { class: "lead" }, "The library is empty.");
    const [item, made] = await Promise.all([get(`items/${id}`, {}, signal), get("reconstruct", { item: id }, signal)]);
    const figure = (address, words, note) => make("figure", {}, tiles(new Tiles(address, words)), make("figcaption", {}, note));
    return make("div", { class: "pair" }, figure(made.original, nameOf(item), nameOf(item)),
      figure(made.reconstruction, `Reconstruction of ${nameOf(item)}`, made.psnr_db == null ? "reconstruction" : `reconstruction, PSNR ${made.psnr_db.toFixed(1)} dB`));
  });
}

/** An item from some way down the library, for a view that nobody has chosen for yet. */
async function first(share, signal) {
  const { total } = await get("items", { limit: 1 }, signal);
  if (!total) return null;
  const { items } = await get("items", { limit: 1, offset: Math.floor(share * (total - 1)) }, signal);
  return items[0].id;
}

function between(signal) {
  const controls = make("div", { class: "row" }, chooser("a", "Choose the first", "Choose the first surface"), chooser("b", "Choose the second", "Choose the second surface"));
  return section("From one surface to another", ["a", "b"], controls, async (now, tiles) => {
    const a = now.a ?? await first(0.12, signal), b = now.b ?? await first(0.62, signal);
    if (a === null) return make("p", { class: "lead" }, "The library is empty.");
    const [one, two, way] = await Promise.all([get(`items/${a}`, {}, signal), get(`items/${b}`, {}, signal), get("interpolate", { a, b, steps: STEPS }, signal)]);
    const middle = way.images.length >> 1;
    const slider = make("input", { type: "range", min: 0, max: way.images.length - 1, step: 1, value: middle, "aria-label": "From the first to the second" });
    const shown = new Tiles(way.images[middle], "Between the two");
    const says = make("p", { class: "lead", role: "status" });
    const tell = () => {
      shown.picture(way.images[slider.value]);
      says.textContent = `${Math.round(way.t[slider.value] * 100)} % of the way`;
      slider.setAttribute("aria-valuetext", says.textContent);
    };
    slider.addEventListener("input", tell);
    tell();
    const end = (item) => make("figure", {}, tiles(new Tiles(picture(item.id, 512), nameOf(item), { size: [1, 1] })), make("figcaption", {}, nameOf(item)));
    return make("div", { class: "way" }, end(one), make("figure", {}, tiles(shown), slider, make("figcaption", {}, says)), end(two));
  });
}

// Choosing one surface of the library: a dialog with a text field and a grid.

/** Ask for a surface; answers the item, or null. */
function pick(title) {
  return new Promise((done) => {
    const text = make("input", { type: "search", placeholder: "name, path, category", "aria-label": "Find", autocomplete: "off", spellcheck: "false" });
    const body = make("div", { class: "picker-body" });
    const dialog = make("dialog", { class: "picker", "aria-label": title },
      make("header", { class: "row" }, make("h2", {}, title), text, button(icon("close"), () => dialog.close(), { class: "quiet", "aria-label": "Close" })), body);
    let items = null, grid = null, chosen = null;

    const open = (number) => {
      chosen = items.at(number);
      if (chosen) dialog.close();
    };
    const fill = (cell, number) => (items.at(number) ? fillCell(cell, items.at(number)) : false);

    async function list() {
      items?.close();
      const mine = items = new Items({ q: text.value.trim() }, () => grid?.refresh());
      try {
        await mine.begin();
      } catch (error) {
        if (error.name !== "AbortError") body.replaceChildren(failed(error, list));
        return;
      }
      if (mine !== items) return;
      if (grid) return grid.reset(mine.total);
      grid = new Grid(body, { count: mine.total, side: 116, label: "Surfaces; Enter chooses one", fill, open, seen: later((first, last) => items.need(first, last), 40) });
    }

    text.addEventListener("input", later(list, 200));
    dialog.addEventListener("close", () => {
      items?.close();
      grid?.close();
      dialog.remove();
      done(chosen);
    });
    document.body.append(dialog);
    dialog.showModal();
    list();
  });
}
