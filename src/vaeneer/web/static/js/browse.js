// Browse: all items in a grid that scrolls through any number, with filters; one opens beside it.

import { get } from "./api.js";
import { button, choice, field, icon, later, make, select } from "./dom.js";
import { count, many, printable } from "./format.js";
import { Grid } from "./grid.js";
import { openItem } from "./item.js";
import { Items } from "./items.js";
import { changed, go, goOver, leave, read } from "./router.js";
import { fillCell } from "./thumbnails.js";
import { empty, failed, loading, say, shown, toast } from "./toasts.js";

const FILTERS = ["q", "category", "tag", "folder", "min_side", "where", "sort"];
const SIDES = { S: 104, M: 168, L: 264 };
const SORTS = [["", "best"], ["path", "path"], ["name", "name"], ["size", "largest"], ["newest", "newest"]];
const LEAST = [["", "any size"], ["512", "from 512 px"], ["1024", "from 1024 px"], ["2048", "from 2048 px"], ["4096", "from 4096 px"]];

function kept() {
  try { return localStorage.getItem("side") ?? "M"; } catch { return "M"; }
}

export function show(place, state, library) {
  const total = make("output", { class: "total", "aria-live": "polite" });
  const body = make("div", { class: "browse-body" });
  const bar = filters(library, total, (side) => grid?.side(SIDES[side]));
  place.append(make("h1", { class: "unseen" }, `Browse ${library.name}`), bar.element, body);
  let items = null, grid = null, shown = null, dialog = null, missing = null;

  const fill = (cell, number) => {
    const item = items.at(number);
    if (!item) return false;
    fillCell(cell, item);
  };
  const open = (number) => {
    const item = items.at(number);
    if (item) goOver("item", item.id);
  };

  async function list(asked) {
    items?.close();
    const mine = items = new Items(asked, (error) => {
      if (mine !== items) return;
      if (error) toast(error.message);
      grid?.refresh();
    });
    const wait = setTimeout(() => { if (!grid) body.replaceChildren(loading("Reading the library …")); }, 150);
    try {
      await mine.begin();
    } catch (error) {
      if (mine !== items || error.name === "AbortError") return;
      grid = close(grid);
      total.textContent = "";
      return body.replaceChildren(failed(error, () => list(asked)));
    } finally {
      clearTimeout(wait);
    }
    if (mine !== items) return;
    total.textContent = totals(mine, library);
    if (!mine.total) {
      grid = close(grid);
      return body.replaceChildren(nothing(library));
    }
    if (grid) return grid.reset(mine.total);
    body.replaceChildren();
    grid = new Grid(body, {
      count: mine.total, side: SIDES[kept()], label: "Surfaces; Enter opens one", fill, open,
      seen: later((first, last) => items.need(first, last), 40),
      keys: { s: (number) => items.at(number) && go({ view: "search", library: read().library, item: items.at(number).id }) },
    });
  }

  function update(now) {
    const asked = Object.fromEntries(FILTERS.map((name) => [name, now[name]]));
    bar.update(now);
    const key = JSON.stringify(asked);
    if (key !== shown) {
      shown = key;
      list(asked);
    }
    if (!now.left_out) missing?.close("Back");
    else if (!missing?.open) missing = openLeftOut(library, () => leave("left_out"));
    if (!now.item) return dialog?.close("Back");
    if (dialog?.id === now.item) return;
    dialog?.close("Back");
    const step = (by) => {
      const next = grid ? grid.active + by : -1;
      const item = next >= 0 && next < items.total ? items.at(next) : null;
      if (!item) return say(by > 0 ? "That was the last one in sight." : "That was the first.");
      grid.focus(next);
      goOver("item", item.id);
    };
    dialog = openItem(now.item, { step, closed: () => {
      leave("item");
      grid?.element.focus({ preventScroll: true });
    } });
  }

  update(state);
  return { update, close: () => { items?.close(); close(grid); dialog?.close("Back"); missing?.close("Back"); } };
}

/** How many are shown, of how many; with words, how many have all of them. */
function totals(items, library) {
  const all = many(library.items, "surface");
  if (items.allWords !== null && items.allWords < items.total) {
    const some = `${count(items.total - items.allWords)} with some of the words`;
    return items.allWords ? `${count(items.allWords)} with all words, ${some}` : some;
  }
  return items.total === library.items ? all : `${count(items.total)} of ${all}`;
}

function close(grid) {
  grid?.close();
  return null;
}

function nothing(library) {
  if (!library.items) return empty("The library is empty", `Put images into ${library.root_name} and run vaeneer index again.`);
  return empty("No surface meets these filters", "Take one away, or all.", button("Show all", () => go({ library: read().library }), { class: "strong" }));
}

/** The bar of filters; each change goes into the address, which updates the list. */
function filters(library, total, resize) {
  const put = (name) => (value) => go(changed({ [name]: value || null, item: null }), { replace: name === "q" });
  const text = make("input", { type: "search", placeholder: "name, path, tag, category", spellcheck: "false", autocomplete: "off" });
  text.addEventListener("input", later(() => put("q")(text.value.trim()), 200));
  const named = (table, all) => [["", all], ...Object.entries(table ?? {}).sort(([, a], [, b]) => b - a).map(([name, many]) => [name, `${name} (${count(many)})`])];
  const boxes = {
    category: select(named(library.categories, "all"), "", put("category")),
    tag: select(named(library.tags, "all"), "", put("tag")),
    min_side: select(LEAST, "", put("min_side")),
    sort: select(SORTS, "", put("sort")),
  };
  boxes.tag.disabled = boxes.tag.length < 2;
  boxes.category.disabled = boxes.category.length < 2;
  const folder = make("input", { type: "text", placeholder: "all", spellcheck: "false", autocomplete: "off" });
  folder.addEventListener("change", () => put("folder")(folder.value.trim()));
  const where = make("input", { type: "text", placeholder: "width >= 2048 AND format = 'PNG'", spellcheck: "false", autocomplete: "off" });
  where.addEventListener("change", () => put("where")(where.value.trim()));
  const clear = button("Clear", () => go({ library: read().library }), { class: "quiet" });
  const sizes = choice("Size of the pictures", Object.keys(SIDES).map((one) => [one, one]), kept(), (side) => {
    try { localStorage.setItem("side", side); } catch { /* not kept then */ }
    resize(side);
  });
  const left_out = library.left_out ? button(`${many(library.left_out, "file or folder", "files and folders")} left out`, () => goOver("left_out", 1), { class: "quiet left-out" }) : null;
  const more = make("details", { class: "more" }, make("summary", {}, "Filters"),
    make("div", { class: "fields" }, field("Category", boxes.category), field("Tag", boxes.tag), field("Folder", folder),
      field("Size", boxes.min_side), field("Order", boxes.sort), field("Where", where, { class: "field wide" })));
  more.open = matchMedia("(min-width: 900px)").matches;
  const element = make("form", { class: "filters", role: "search", on: { submit: (event) => event.preventDefault() } },
    field("Find", text, { class: "field find" }), more, make("div", { class: "row end" }, total, left_out, clear, sizes));
  const update = (now) => {
    if (document.activeElement !== text) text.value = now.q ?? "";
    if (document.activeElement !== folder) folder.value = now.folder ?? "";
    if (document.activeElement !== where) where.value = now.where ?? "";
    const [best, path] = boxes.sort.options;
    best.textContent = now.q ? "best" : "path";
    path.hidden = !now.q;
    for (const [name, box] of Object.entries(boxes)) box.value = now[name] ?? "";
    clear.hidden = !FILTERS.some((name) => now[name]);
  };
  return { element, update };
}

// What is not in the library: how many files for each reason, and a list of them, a page at a time.

const PAGE = 200;
const listed = (number) => many(number, "file or folder", "files and folders");

/** Show the list beside the view; closed() is called when the person closes it. */
function openLeftOut(library, closed) {
  const place = make("div", { class: "item" });
  const dialog = make("dialog", { class: "beside", "aria-label": "Files and folders left out" }, place);
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (dialog.returnValue !== "Back") closed();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.showModal();
  const list = (reason) => shown(place, "Reading the list …", async () => {
    const page = await get("left-out", { reason, limit: PAGE });
    return make("article", {}, head(dialog), make("p", { class: "dim" },
      `Files and folders in ${library.root_name} that are not in the library. Thumbnails, recycle bins and the like belong here; correct what you miss and run vaeneer index again.`),
    reasons(page.counts, reason, list), files(page, reason));
  });
  list(null);
  return dialog;
}

function head(dialog) {
  return make("header", { class: "row" }, make("h2", {}, "Files and folders left out"),
    button(icon("close"), () => dialog.close(), { class: "quiet", "aria-label": "Close" }));
}

/** Each reason with its number; a press lists those files alone, another one all. */
function reasons(counts, chosen, list) {
  return make("ul", { class: "plain reasons" }, Object.entries(counts).map(([reason, number]) => make("li", {},
    button([make("span", {}, reason), make("span", { class: "total" }, count(number))],
      () => list(reason === chosen ? null : reason), { "aria-pressed": String(reason === chosen) }))));
}

function files(first, reason) {
  if (!first.total) return empty("No file is listed", "Run vaeneer index again to list them.");
  const rows = make("ul", { class: "plain files" });
  const more = button("Show more", () => add(), { class: "more-files" });
  const line = make("p", { class: "total", role: "status" });
  const put = (page) => {
    rows.append(...page.files.map((file) => make("li", {}, make("span", {}, printable(file.path)), make("span", { class: "dim" }, file.reason))));
    more.hidden = rows.children.length >= page.total;
    line.textContent = more.hidden ? `${listed(page.total)} listed` : `${count(rows.children.length)} of ${listed(page.total)} listed`;
  };
  const next = make("div", {});
  const add = () => shown(next, "Reading more …", async () => {
    put(await get("left-out", { reason, limit: PAGE, offset: rows.children.length }));
    return make("span", {});
  });
  put(first);
  return make("section", { "aria-label": "Files" }, line, rows, next, more);
}
