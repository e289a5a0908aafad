// What the lasso caught: thumbnails, and what to do with them; and the card of the point under the mouse.

import { get, thumbnail } from "./api.js";
import { button, make } from "./dom.js";
import { many } from "./format.js";
import { addressOf, read } from "./router.js";
import { nameOf, thumb } from "./thumbnails.js";
import { copy, download, toast } from "./toasts.js";

const SHOWN = 48, EXAMPLES = 8, AT_ONCE = 100;

export function selectionPanel(ids, { clear, open }) {
  if (!ids.length) return [];
  const spread = ids.length <= EXAMPLES ? ids : Array.from({ length: EXAMPLES }, (_, n) => ids[Math.floor(n * ids.length / EXAMPLES)]);
  const search = addressOf({ view: "search", library: read().library, item: spread });
  return [
    make("div", { class: "row" }, make("h2", {}, `${many(ids.length, "surface")} selected`), button("Clear", clear, { class: "quiet" })),
    make("div", { class: "row" },
      make("a", { class: "button strong", href: search, "data-go": true }, ids.length > EXAMPLES ? `Search by ${EXAMPLES} of them` : "Search by them"),
      button("Copy paths", () => withItems(ids, (items) => copy(items.map((item) => item.path).join("\n"), "The list"))),
      button("Download CSV", () => withItems(ids, (items) => download("selection.csv", table(["id", "path", "category", "width_px", "height_px"], items), "text/csv")))),
    make("div", { class: "picks" }, ids.slice(0, SHOWN).map((id) => make("button", {
      type: "button", class: "pick", "aria-label": `Open item ${id}`, on: { click: () => open(id) },
    }, thumb(thumbnail(id), "")))),
    ids.length > SHOWN ? make("p", { class: "lead" }, `and ${many(ids.length - SHOWN, "more", "more")}`) : "",
  ];
}

async function withItems(ids, act) {
  try {
    const items = [];
    for (let from = 0; from < ids.length; from += AT_ONCE) {
      const where = `id IN (${ids.slice(from, from + AT_ONCE).join(", ")})`;
      items.push(...(await get("items", { where, limit: AT_ONCE })).items);
    }
    await act(items);
  } catch (error) {
    toast(error.message);
  }
}

export class HoverCard {
  #names = new Map();
  #id = null;

  constructor() {
    this.image = make("img", { alt: "" });
    this.title = make("b", {});
    this.group = make("span", {});
    this.element = make("div", { class: "map-card", hidden: true, "aria-hidden": "true" }, this.image, this.title, this.group);
  }

  /** The name of an item, asked for once. */
  async name(id) {
    if (!this.#names.has(id)) this.#names.set(id, get(`items/${id}`).then(nameOf, () => `item ${id}`));
    return this.#names.get(id);
  }

  async show(id, group, [px, py], [width, height]) {
    this.#id = id;
    this.element.hidden = id === null;
    if (id === null) return;
    this.image.src = thumbnail(id);
    this.group.textContent = group;
    this.title.textContent = "";
    const right = px + 250 < width;
    this.element.style.left = `${right ? px + 24 : Math.max(4, px - 224)}px`;
    this.element.style.top = `${Math.max(4, Math.min(height - 260, py - 110))}px`;
    const name = await this.name(id);
    if (this.#id === id) this.title.textContent = name;
  }
}

// Tables as CSV (RFC 4180). A cell that a spreadsheet would run as a formula is kept from that.

function cell(value) {
  const text = String(value ?? "");
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function table(columns, rows) {
  return [columns, ...rows.map((row) => columns.map((name) => row[name]))].map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}
