// The query of a search: examples (items and pictures), counter-examples, a box on the one example.

import { get, picture, thumbnail } from "./api.js";
import { BoxDrawing, parsed } from "./box.js";
import { button, field, icon, make } from "./dom.js";
import { changed, go, read } from "./router.js";
import { nameOf, thumb } from "./thumbnails.js";
import { copy } from "./toasts.js";
import { kept, searchBy } from "./uploads.js";

/** The examples of a state, loaded: {id | upload, name, address, size, file}. Raises Problem or MissingPicture. */
export async function examples(state, signal) {
  const items = state.all("item").map(async (id) => {
    const item = await get(`items/${id}`, {}, signal);
    return { id, name: nameOf(item), address: picture(id, 1024), small: item.thumbnail, size: [item.width_px, item.height_px] };
  });
  return Promise.all([...items, ...state.all("upload").map(uploaded)]);
}

async function uploaded(upload) {
  const file = await kept(upload);
  if (!file) throw Object.assign(new Error("This link searches by a picture that was dropped in another browser. Drop that picture here again, or choose another."), { status: 0, title: "The picture is not here" });
  const address = URL.createObjectURL(file);
  const image = new Image();
  image.src = address;
  const seen = await image.decode().then(() => true, () => false);
  return { upload, file, name: file.name || "pasted picture", address, small: address, size: seen ? [image.naturalWidth, image.naturalHeight] : null };
}

/** The invitation while there is no query. */
export function invitation(items, library) {
  const some = items.map((item) => make("button", {
    type: "button", class: "pick", "aria-label": `Search by ${nameOf(item)}`, title: nameOf(item),
    on: { click: () => go({ view: "search", library, item: item.id }) },
  }, thumb(item.thumbnail, "", item.mean_rgb)));
  return make("section", { class: "invitation" },
    make("div", { class: "dropzone" },
      make("h2", {}, "Drop, paste or choose a picture"),
      make("p", {}, "vaeneer finds what looks like it. Then drag a box on it to search by that part."),
      chooser("Choose a picture", "strong")),
    some.length ? [make("h3", {}, "Or start from one of the library"), make("div", { class: "picks" }, some)] : null);
}

export function chooser(label, look = "") {
  const input = make("input", { type: "file", accept: "image/*,.tif,.tiff,.tga,.bmp", class: "unseen", tabindex: -1, "aria-label": label });
  input.addEventListener("change", () => searchBy(input.files[0]));
  return make("span", {}, input, button(label, () => input.click(), { class: look }));
}

/** The panel of the query. Answers {element, box(text)}. */
export function queryPanel(found, state) {
  const one = found.length === 1 ? found[0] : null;
  const put = (box) => go(changed({ box: box ? box.join(",") : null, hit: null }));
  const part = one ? single(one, parsed(state.box), put) : null;
  const element = make("section", { class: "query", "aria-label": "Query" },
    part?.element,
    one ? null : tray("Examples", found, (which) => drop(state, which), "The search looks for what they have in common."),
    tray("Counter-examples", state.all("negative").map((id) => ({ negative: id, name: `item ${id}`, small: thumbnail(id) })),
      (which) => drop(state, which), null),
    make("div", { class: "row" }, chooser("Another picture"),
      button("New search", () => go({ view: "search", library: read().library }), { class: "quiet" }),
      button("Copy the link", () => copy(location.href, "The link"), { class: "quiet" })));
  return { element, box: (text) => part?.set(parsed(text)) };
}

function drop(state, which) {
  const rest = (name, value) => state.all(name).filter((one) => one !== value);
  if (which.negative) return go(changed({ negative: rest("negative", which.negative) }));
  const now = { item: which.id ? rest("item", which.id) : state.all("item"), upload: which.upload ? rest("upload", which.upload) : state.all("upload") };
  if (!now.item.length && !now.upload.length) now.negative = null;
  go(changed({ ...now, box: null, hit: null }));
}

function tray(title, list, remove, advice) {
  if (!list.length) return null;
  return make("div", { class: "tray" }, make("h2", {}, title), advice ? make("p", { class: "lead" }, advice) : null,
    make("ul", {}, list.map((one) => make("li", { title: one.name }, thumb(one.small, one.name),
      button(icon("close"), () => remove(one), { class: "remove", "aria-label": `Remove ${one.name}` })))));
}

function single(one, box, put) {
  if (!one.size) return { element: make("p", { class: "lead" }, `${one.name}: this browser cannot show this kind of file, so no box can be drawn; the search is by all of it.`), set() {} };
  const numbers = ["x", "y", "width", "height"].map((name, n) => make("input", {
    type: "number", min: n < 2 ? 0 : 16, max: one.size[n % 2], inputmode: "numeric", "aria-label": `Box ${name} in pixels`,
    on: { change: () => { const now = numbers.map((each) => each.valueAsNumber); if (parsed(now.join())) { drawing.set(now); put(drawing.box); } } },
  }));
  const drawing = new BoxDrawing({ address: one.address, words: one.name, size: one.size, box, changed: put });
  const remove = button("Remove the box", () => put(null));
  const hint = make("p", { class: "lead" }, "Drag a box on the picture to search by that part.");
  const set = (now) => {
    drawing.set(now);
    hint.hidden = Boolean(drawing.box);
    remove.hidden = !drawing.box;
    numbers.forEach((each, n) => { each.value = drawing.box?.[n] ?? ""; });
  };
  set(box);
  const table = make("details", { class: "numbers" }, make("summary", {}, "Box in numbers"),
    make("div", { class: "fields" }, numbers.map((each, n) => field(["x", "y", "width", "height"][n], each))));
  return { element: make("div", { class: "single" }, drawing.element, hint, make("div", { class: "row" }, remove, table)), set };
}
