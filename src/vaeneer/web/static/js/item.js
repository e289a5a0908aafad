// One item, in a dialog beside whatever is shown: its picture, tiled; its facts; what to do with it.

import { get, picture, url } from "./api.js";
import { button, choice, icon, make } from "./dom.js";
import { bytes, fileOf, many, pixels, printable, words } from "./format.js";
import { writing } from "./help.js";
import { addressOf, read } from "./router.js";
import { nameOf, thumb, Tiles } from "./thumbnails.js";
import { copy, shown } from "./toasts.js";

/** Show an item. step(±1) goes to the next; closed() is called when the person closes it. */
export function openItem(id, { step = null, closed = () => {}, box = null }) {
  const place = make("div", { class: "item" });
  const dialog = make("dialog", { class: "beside", "aria-label": "Item" }, place);
  dialog.id = id;
  let tiles = null;
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (dialog.returnValue !== "Back") closed();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    if (writing(event.target)) return;
    if (event.key === "ArrowLeft") step?.(-1);
    if (event.key === "ArrowRight") step?.(1);
    if (event.key.toLowerCase() === "t") tiles?.next();
  });
  dialog.showModal();
  shown(place, "Opening the item …", async () => {
    const item = await get(`items/${id}`);
    tiles = new Tiles(item.missing ? item.thumbnail : picture(item.id, 1024), nameOf(item), { box, size: [item.width_px, item.height_px] });
    dialog.setAttribute("aria-label", nameOf(item));
    return make("article", {}, head(item, dialog, step), tiles.element, actions(item, tiles, dialog), maps(item), facts(item));
  });
  return dialog;
}

function head(item, dialog, step) {
  const steps = step ? [
    button("‹", () => step(-1), { class: "quiet", "aria-label": "The one before", title: "The one before (←)" }),
    button("›", () => step(1), { class: "quiet", "aria-label": "The next", title: "The next (→)" }),
  ] : [];
  return make("header", { class: "row" }, make("h2", {}, nameOf(item)), item.missing ? make("span", { class: "chip offline" }, item.offline ? "offline" : "file gone") : null, steps,
    button(icon("close"), () => dialog.close(), { class: "quiet", "aria-label": "Close" }));
}

function actions(item, tiles, dialog) {
  const library = read().library;
  const link = (label, state, strong = false) => make("a", {
    class: strong ? "button strong" : "button", href: addressOf({ library, ...state }), "data-go": true,
    on: { click: () => dialog.close("Back") },
  }, label);
  return make("div", { class: "row" },
    link("Find look-alikes", { view: "search", item: item.id }, true),
    link("Show on the map", { view: "map", item: item.id }),
    link("Reconstruct", { view: "play", item: item.id }),
    button("Copy the path", () => copy(item.absolute_path ?? item.path, "The path")),
    make("a", { class: "button", href: url(item.original), target: "_blank", rel: "noopener" }, "Open the file"),
    choice("Tiled", [[1, "1×1"], [2, "2×2"], [3, "3×3"]], 1, (times) => tiles.show(Number(times))));
}

function facts(item) {
  const list = [
    ["File", printable(item.path)],
    ["Not there", item.missing ? `${item.offline ? "Its folder" : "The file"} is not there now. This is the picture that the library has of it.` : ""],
    ["Link to", item.link],
    ["Category", (item.categories?.length ? item.categories : [item.category]).filter(Boolean).join(" › ")],
    ["Tags", item.tags.join(", ")],
    ["Pixels", `${pixels(item.width_px, item.height_px)}, ${item.mode}`],
    ["Format", `${item.format}, ${bytes(item.size_bytes)}`],
    ["Id", `${item.id}, ${many(item.crops, "vector")}`],
    ["SHA-256", item.sha256],
    ["Notes", (item.notes ?? []).join("; ")],
  ];
  const rows = list.filter(([, value]) => value).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  return make("div", {}, make("dl", { class: "facts" }, rows), sidecar(item));
}

function maps(item) {
  if (!item.maps?.length) return null;
  const shown = (map) => make("li", {},
    make("a", { href: `${map.picture}&max_px=2048`, target: "_blank", rel: "noopener", title: printable(map.path) },
      thumb(map.picture, `${words(map.kind)} map`, null, { loading: "lazy" }), make("span", {}, words(map.kind)), make("span", { class: "dim" }, fileOf(map.path))));
  return make("section", {}, make("h3", {}, "Maps beside it"), make("ul", { class: "plain maps" }, item.maps.map(shown)));
}

function sidecar(item) {
  if (!item.sidecar) return null;
  const text = typeof item.sidecar === "string" ? item.sidecar : JSON.stringify(item.sidecar, null, 2);
  return make("details", {}, make("summary", {}, "Side-car"), make("pre", { tabindex: 0 }, text));
}
