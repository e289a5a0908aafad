// Map: every surface as a point, thumbnails when zoomed in, a lasso to select.

import { get, job } from "./api.js";
import { button, choice, field, later, make } from "./dom.js";
import { count, many } from "./format.js";
import { writing } from "./help.js";
import { openItem } from "./item.js";
import { Camera } from "./map_camera.js";
import { drawOver, Lasso, mixedOrder, Pictures } from "./map_overlay.js";
import { HoverCard, selectionPanel } from "./map_selection.js";
import { changed, go, goOver, leave, note, read } from "./router.js";
import { inside, Places } from "./spatial_index.js";
import { empty, say, shown, toast } from "./toasts.js";
import { pointsOn } from "./webgl_points.js";

const NAMED = 3;  // members that a group needs for its name to be written

export function show(place, state, library) {
  const stop = new AbortController();
  let chart = null;
  shown(place, "Laying out the map … the first time this takes a while", async (progress) => {
    const map = await job("map", {}, { signal: stop.signal, progress });
    if (!map.ids.length) return empty("There is nothing to map", "The library is empty. Put images into its folder and run vaeneer index again.");
    chart = new Chart(map, library, stop.signal);
    requestAnimationFrame(() => chart.begin(read()));
    return chart.element;
  });
  return { update: (now) => chart?.update(now), close: () => { stop.abort(); chart?.close(); } };
}

class Chart {
  #group = new Int32Array(0);
  #found = null;       // points that the words are found in, or null for all
  #only = -1;          // the one group that is shown
  #drawing = 0;
  #by = null;
  #dialog = null;

  constructor(map, library, signal) {
    Object.assign(this, { map, library, signal, selected: new Set(), pictured: new Map(), over: -1, centre: -1, groups: [] });
    this.rows = new Map(map.ids.map((id, n) => [id, n]));
    this.places = new Places(map.x, map.y);
    this.pictures = new Pictures(() => this.soon());
    this.order = mixedOrder(map.ids.length);
    this.under = make("canvas", { "aria-hidden": "true" });
    this.canvas = make("canvas", {
      tabindex: 0, role: "application", class: "map-canvas",
      "aria-label": `Map of ${many(map.ids.length, "surface")}. Arrow keys move, plus and minus zoom, 0 shows all, Enter opens the item in the middle, Space selects it.`,
      on: { keydown: (event) => this.#key(event), pointerleave: () => this.#hover(-1), blur: () => { this.centre = -1; this.soon(); } },
    });
    this.outline = new Lasso(() => this.soon(), (points, adding) => this.#enclose(points, adding));
    this.camera = new Camera(this.canvas, this.places.bounds, {
      moved: () => { this.soon(); this.#noted(); }, outline: this.outline,
      tapped: (x, y) => this.#tap(x, y), hovered: (x, y) => this.#hover(this.#at(x, y)),
    });
    this.card = new HoverCard();
    this.panel = make("aside", { class: "map-selection panel", "aria-label": "Selection", hidden: true });
    this.#controls();
    this.element = make("div", { class: "map" }, make("h1", { class: "unseen" }, `Map of ${library.name}`),
      make("div", { class: "map-stage" }, this.under, this.canvas, this.card.element), this.tools, this.legend, this.panel);
    this.points = pointsOn(this.under, map.x, map.y);
    this.element.dataset.renderer = this.points.kind;
    this.watch = new ResizeObserver(() => this.#resize());
    this.repaint = () => this.#colour();
    addEventListener("vaeneer:theme", this.repaint);
  }

  begin(state) {
    this.#resize();
    this.watch.observe(this.canvas.parentElement);
    const [x, y, scale] = (state.at ?? "").split(",").map(Number);
    if (Number.isFinite(scale) && scale > 0) this.camera.look(x, y, scale);
    else this.camera.fit();
    const row = this.rows.get(Number(state.item));
    if (row !== undefined) {
      this.#select([row]);
      this.camera.look(this.map.x[row], this.map.y[row], Math.max(this.camera.scale, 60 / this.places.spacing));
      note({ item: null });
    }
    if (state.selected) this.#select(state.selected.split(",").map((id) => this.rows.get(Number(id))).filter((n) => n !== undefined));
    this.update(read());
  }

  update(state) {
    const by = state.by === "cluster" ? "cluster" : "category";
    if (by !== this.#by) {
      this.#by = by;
      const { groups, group } = groupsOf(this.map, by);
      Object.assign(this, { groups });
      this.#group = group;
      this.#only = -1;
      this.#list();
      this.#colour();
    }
    if (!state.item) return this.#dialog?.close("Back");
    if (this.#dialog?.id === state.item) return;
    this.#dialog?.close("Back");
    this.#dialog = openItem(state.item, { closed: () => {
      leave("item");
      this.canvas.focus();
    } });
  }

  close() {
    this.watch.disconnect();
    cancelAnimationFrame(this.#drawing);
    this.#noted.cancel();
    removeEventListener("vaeneer:theme", this.repaint);
    this.#dialog?.close("Back");
    this.points.close();
  }

  soon() {
    if (!this.#drawing) this.#drawing = requestAnimationFrame(() => this.#draw());
  }

  #noted = later(() => {
    if (this.element.isConnected) note({ at: [...this.camera.centre(), this.camera.scale].map((one) => +one.toPrecision(5)).join(",") });
  }, 300);

  #resize() {
    const { clientWidth, clientHeight } = this.canvas.parentElement;
    if (!clientWidth || !clientHeight) return;
    this.camera.size(clientWidth, clientHeight);
    for (const canvas of [this.under, this.canvas]) {
      canvas.width = Math.round(clientWidth * this.camera.dots);
      canvas.height = Math.round(clientHeight * this.camera.dots);
    }
    this.#draw();
  }

  #shown = (n) => (!this.#found || this.#found.has(n)) && (this.#only < 0 || this.#group[n] === this.#only);

  #draw() {
    cancelAnimationFrame(this.#drawing);
    this.#drawing = 0;
    const size = Math.max(2.5, Math.min(9, this.camera.scale * this.places.spacing * 0.7));
    this.points.draw(this.camera, size);
    const paint = (n) => `rgb(${this.groups[this.#group[n]].colour.join(" ")})`;
    const names = this.#only >= 0 ? [this.groups[this.#only]] : this.groups.filter((group) => !group.apart && group.size >= NAMED);
    this.pictured = drawOver(this.canvas.getContext("2d"), this.camera, {
      places: this.places, order: this.order, ids: this.map.ids, shown: this.#shown, paint, selected: this.selected, over: this.over, centre: this.centre,
      pictures: this.pictures, outline: this.outline, names: names.slice(0, 60).map(({ name, x, y, size: members }) => ({ word: name, x, y, size: members })),
    });
  }

  #colour() {
    const bytes = new Uint8Array(4 * this.map.ids.length);
    for (let n = 0; n < this.map.ids.length; n++) {
      bytes.set(this.groups[this.#group[n]].colour, 4 * n);
      bytes[4 * n + 3] = this.#shown(n) ? 235 : 28;
    }
    this.points.colours(bytes);
    this.soon();
  }

  #at(px, py) {
    for (const [n, side] of this.pictured) {
      const [x, y] = this.camera.screen(this.map.x[n], this.map.y[n]);
      if (Math.abs(px - x) <= side / 2 && Math.abs(py - y) <= side / 2) return n;
    }
    const reach = Math.max(12, Math.min(66, this.camera.scale * this.places.spacing * 0.85)) / this.camera.scale;
    return this.places.nearest(...this.camera.place(px, py), reach, this.#shown);
  }

  #hover(n) {
    if (n === this.over) return;
    this.over = n;
    this.canvas.classList.toggle("over", n >= 0);
    this.card.show(n < 0 ? null : this.map.ids[n], n < 0 ? "" : this.groups[this.#group[n]].name,
      n < 0 ? [0, 0] : this.camera.screen(this.map.x[n], this.map.y[n]), [this.camera.width, this.camera.height]);
    this.soon();
  }

  #tap(px, py) {
    const n = this.#at(px, py);
    if (n >= 0) goOver("item", this.map.ids[n]);
  }

  #enclose(points, adding) {
    const outline = points.map(([px, py]) => this.camera.place(px, py)), xs = outline.map(([x]) => x), ys = outline.map(([, y]) => y);
    const found = adding ? [...this.selected] : [];
    this.places.between(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys), (n) => {
      if (this.#shown(n) && inside(outline, this.map.x[n], this.map.y[n])) found.push(n);
    });
    this.#select(found);
  }

  #select(rows) {
    this.selected = new Set(rows);
    const ids = [...this.selected].map((n) => this.map.ids[n]);
    this.panel.hidden = !ids.length;
    this.panel.replaceChildren(...selectionPanel(ids, {
      clear: () => { this.#select([]); this.canvas.focus(); }, open: (id) => goOver("item", id),
    }));
    note({ selected: ids.length && ids.length <= 60 ? ids.join(",") : null });
    say(ids.length ? `${many(ids.length, "surface")} selected.` : "Nothing is selected.");
    this.soon();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || writing(event.target)) return;
    const middle = () => this.places.nearest(...this.camera.centre(), Math.max(this.camera.width, this.camera.height) / this.camera.scale, this.#shown);
    if (event.key === "Enter" || event.key === " ") {
      const n = middle();
      if (n >= 0 && event.key === "Enter") goOver("item", this.map.ids[n]);
      else if (n >= 0) this.#select(this.selected.has(n) ? [...this.selected].filter((one) => one !== n) : [...this.selected, n]);
    } else if (event.key === "Escape") {
      this.outline.cancel();
      this.#select([]);
    } else if (event.key.toLowerCase() === "l") {
      this.modes.children[this.outline.wanted ? 0 : 1].click();
      this.canvas.focus();
    } else if (this.camera.key(event)) {
      this.centre = middle();
      if (this.centre >= 0) this.#tell(this.map.ids[this.centre]);
    } else {
      return;
    }
    event.preventDefault();
  }

  #tell = later(async (id) => say(await this.card.name(id)), 400);

  #controls() {
    const text = make("input", { type: "search", placeholder: "name, path", spellcheck: "false", autocomplete: "off" });
    text.addEventListener("input", later(() => this.#find(text.value.trim()), 250));
    const by = choice("Colour by", [["category", "Category"], ["cluster", "Cluster"]], read().by ?? "category", (value) => go(changed({ by: value === "cluster" ? value : null })));
    this.modes = choice("Drag to", [["move", "Move"], ["lasso", "Lasso"]], "move", (value) => {
      this.outline.wanted = value === "lasso";
      this.canvas.classList.toggle("lasso", this.outline.wanted);
    });
    const look = (label, words, act) => button(label, act, { "aria-label": words, title: words });
    this.count = make("output", { class: "total" });
    this.tools = make("div", { class: "map-tools" }, field("Find", text, { class: "field find" }), by, this.modes,
      make("div", { class: "row" }, look("+", "Zoom in (+)", () => this.camera.zoom(1.6)), look("−", "Zoom out (−)", () => this.camera.zoom(1 / 1.6)), look("All", "Show all (0)", () => this.camera.fit())), this.count);
    this.legend = make("details", { class: "map-legend panel", open: matchMedia("(min-width: 760px)").matches });
  }

  async #find(words) {
    if (!words) {
      this.#found = null;
    } else {
      const found = new Set();
      try {
        for (let offset = 0; offset < 5000; offset += 500) {
          const { items, total } = await get("items", { q: words, offset, limit: 500 }, this.signal);
          for (const item of items) if (this.rows.has(item.id)) found.add(this.rows.get(item.id));
          if (offset + 500 >= total) break;
        }
      } catch (error) {
        if (error.name !== "AbortError") toast(error.message);
        return;
      }
      this.#found = found;
    }
    this.count.textContent = this.#found ? `${count(this.#found.size)} found` : "";
    this.#colour();
  }

  #list() {
    const press = (number) => {
      this.#only = this.#only === number ? -1 : number;
      [...list.children].forEach((line, n) => line.firstChild.setAttribute("aria-pressed", String(n === this.#only)));
      this.#colour();
    };
    const list = make("ul", { class: "plain" }, this.groups.map((group, number) => {
      const dot = make("i", {});
      dot.style.background = `rgb(${group.colour.join(" ")})`;
      return make("li", {}, button([dot, make("span", {}, group.name), make("em", {}, count(group.size))].reduce((all, one) => (all.append(one), all), document.createDocumentFragment()), () => press(number), { "aria-pressed": "false" }));
    }));
    this.legend.replaceChildren(make("summary", {}, this.#by === "cluster" ? "Clusters" : "Categories"), list);
  }
}

// The points by category or by cluster: names, colours, sizes, and where the names are written.

const NONE = [122, 122, 126];

/** Groups of a map's answer: [{name, word, colour: [r, g, b], size, x, y}], and the group of each point. */
function groupsOf(map, by) {
  const of = by === "category" ? map.categories : map.clusters;
  const known = by === "category" ? map.category_names : map.cluster_names;
  const name = (code) => (code < 0 || code == null ? "" : known[code] ?? "") || (by === "category" ? "no category" : "alone");
  const members = new Map();
  of.forEach((code, n) => {
    const label = name(code);
    if (!members.has(label)) members.set(label, []);
    members.get(label).push(n);
  });
  const groups = [...members].sort(([, a], [, b]) => b.length - a.length).map(([label, rows], number) => {
    const apart = label === "no category" || label === "alone";
    return { name: label, rows, size: rows.length, colour: apart ? NONE : hue(number), apart, ...middle(map, rows) };
  });
  const group = new Int32Array(of.length);
  groups.forEach(({ rows }, number) => { for (const n of rows) group[n] = number; });
  return { groups, group };
}

function middle({ x, y }, rows) {
  const median = (list) => list.sort((a, b) => a - b)[list.length >> 1];
  return { x: median(rows.map((n) => x[n])), y: median(rows.map((n) => y[n])) };
}

/** Colours that stay apart: hues by the golden angle, light and dark by turns; readable on both grounds. */
function hue(number) {
  const angle = (number * 137.508 + 25) % 360, light = [0.6, 0.5, 0.68][number % 3], strong = 0.62;
  const part = (n) => {
    const k = (n + angle / 30) % 12;
    return Math.round(255 * (light - strong * Math.min(light, 1 - light) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}
