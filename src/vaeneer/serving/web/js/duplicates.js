// Duplicates: groups side by side, what differs, which to keep; the list as CSV. Nothing is deleted.

import { changed, go, goOver, leave, read } from "./address.js";
import { job, thumbnail } from "./api.js";
import { button, choice, icon, make } from "./dom.js";
import { placed } from "./cells.js";
import { table } from "./csv.js";
import { difference } from "./difference.js";
import { openItem } from "./item.js";
import { download, empty, failed, loading, say, shown, toast } from "./notices.js";
import { bytes, count, fileOf, many, percent, pixels, words } from "./words.js";

const SIZE = 20;
const KINDS = {
  exact: "equal files", same_pixels: "equal pixels", near: "near copies", cropped: "parts", recoloured: "recoloured",
};
const COLUMNS = ["group", "kind", "confidence", "decision", "path", "relation", "item_confidence", "change", "x", "y", "width", "height", "width_px", "height_px", "size_bytes", "link", "same_file", "offline"];

/** Which files of a group are to be kept: what the person marked, in this browser; else all that are not spare. */
class Marks {
  constructor(library) {
    this.name = `keep:${library.name}`;
    try { this.kept = JSON.parse(localStorage.getItem(this.name)) ?? {}; } catch { this.kept = {}; }
  }

  key = (group) => group.items.map((item) => item.id).sort((a, b) => a - b).join();

  of(group) {
    return this.kept[this.key(group)] ?? group.items.filter((item) => !item.spare).map((item) => item.id);
  }

  put(group, ids) {
    this.kept[this.key(group)] = ids;
    try { localStorage.setItem(this.name, JSON.stringify(this.kept)); } catch { /* until reloading, then */ }
  }
}

export function show(place, state, library) {
  const stop = new AbortController(), marks = new Marks(library);
  let asked = null, dialog = null;

  function update(now) {
    const page = Math.max(1, Number(now.page) || 1), kind = now.kind in KINDS ? now.kind : null;
    const key = `${page} ${kind}`;
    if (key !== asked) {
      asked = key;
      list(page, kind, key);
    }
    if (!now.item) return dialog?.close("Back");
    if (dialog?.id === now.item) return;
    dialog = openItem(now.item, { closed: () => { leave("item"); } });
  }

  function list(page, kind, key) {
    shown(place, "Looking for copies … the first time this takes a while; you can leave, it goes on", async (progress) => {
      const report = await job("duplicates", { page, page_size: SIZE, kind }, { signal: stop.signal, progress });
      if (key !== asked) return null;
      place.scrollTop = 0;
      return whole(report, kind, marks, () => csv(report, kind, marks, library, stop.signal));
    });
  }

  update(state);
  return { update, close: () => { stop.abort(); dialog?.close("Back"); } };
}

function whole(report, kind, marks, save) {
  const all = Object.values(report.groups_by_kind ?? {}).reduce((sum, one) => sum + one, 0);
  const kinds = Object.entries(KINDS).filter(([name]) => report.groups_by_kind?.[name]);
  const head = make("header", {}, make("h1", {}, "Duplicates"),
    button("Download the list (CSV)", save, { class: "strong", disabled: !report.total_groups }));
  if (!all) return make("div", { class: "page" }, head, empty("No copies were found", `Each of the ${count(report.images)} surfaces is there once.`));
  return make("div", { class: "page duplicates" }, head,
    make("p", { class: "lead" }, `${many(all, "group")} among ${many(report.images, "surface")}; ${many(report.spare_files, "redundant file")} (${bytes(report.spare_bytes)}). Mark what to keep, then download the list: nothing is deleted here.`),
    make("div", { class: "row" }, choice("Kind", [["", `all (${count(all)})`], ...kinds.map(([name, label]) => [name, `${label} (${count(report.groups_by_kind[name])})`])], kind ?? "",
      (value) => go(changed({ kind: value || null, page: null })))),
    report.groups.length ? report.groups.map((group) => card(group, marks)) : empty("No group of this kind", "Choose another kind above."),
    pages(report));
}

function pages(report) {
  if (report.pages < 2) return null;
  const to = (label, page, words) => button(label, () => go(changed({ page: page > 1 ? page : null })), { disabled: page < 1 || page > report.pages, "aria-label": words });
  return make("nav", { class: "row pages", "aria-label": "Pages" }, to("‹ before", report.page - 1, "The page before"),
    make("span", {}, `page ${report.page} of ${report.pages}`), to("next ›", report.page + 1, "The next page"));
}

function card(group, marks) {
  const place = make("div", { class: "apart", hidden: true, "aria-live": "polite" });
  const kept = group.items.find((item) => item.path === group.keep) ?? group.items[0];
  const members = group.items.map((item) => member(item, group, kept, marks, place));
  const title = make("h2", {}, make("span", { class: "chip" }, KINDS[group.kind] ?? words(group.kind)), ` ${fileOf(group.keep)}`);
  return make("section", { class: "group panel", "aria-label": `Group ${group.id}: ${KINDS[group.kind] ?? group.kind}` },
    make("header", { class: "row" }, title, make("span", { class: "lead" }, `${percent(group.confidence)} sure`)),
    make("ul", { class: "members" }, members), place);
}

function member(item, group, kept, marks, place) {
  const box = make("input", { type: "checkbox", set: { checked: marks.of(group).includes(item.id) } });
  const line = make("li", { class: "member" });
  const show = () => line.classList.toggle("spare", !box.checked);
  box.addEventListener("change", () => {
    const ids = new Set(marks.of(group));
    ids[box.checked ? "add" : "delete"](item.id);
    if (!ids.size) {
      box.checked = true;
      return toast("One of a group is kept; mark another one first.");
    }
    marks.put(group, [...ids]);
    show();
  });
  const picture = make("span", { class: "square" }, placed(thumbnail(item.id), "", item === kept || !item.box ? item : { ...item, box: null }));
  const facts = [pixels(item.width_px, item.height_px), bytes(item.size_bytes), item === kept ? "proposed to keep" : null, item.change || KINDS[item.relation]];
  line.append(
    button(picture, () => goOver("item", item.id), { class: "open", "aria-label": `Open ${fileOf(item.path)}` }),
    make("b", { title: item.path }, fileOf(item.path)), make("span", { class: "dim" }, facts.filter(Boolean).join(" · ")),
    make("div", { class: "row" }, make("label", { class: "check" }, box, "keep"),
      item === kept ? null : button("Compare", (event) => compare(event.currentTarget, place, kept, item), { class: "small", "aria-expanded": "false" })));
  show();
  return line;
}

async function compare(opener, place, kept, item) {
  const open = opener.getAttribute("aria-expanded") === "true";
  for (const one of opener.closest(".group").querySelectorAll("[aria-expanded]")) one.setAttribute("aria-expanded", "false");
  place.hidden = open;
  if (open) return;
  opener.setAttribute("aria-expanded", "true");
  place.replaceChildren(loading("Comparing …"));
  try {
    const found = await difference(kept, item);
    const figure = (canvas, text) => make("figure", {}, canvas, make("figcaption", {}, text));
    place.replaceChildren(
      figure(found.keep, item.box ? `The place in ${fileOf(kept.path)}` : fileOf(kept.path)), figure(found.other, `${fileOf(item.path)}, placed like it`),
      figure(found.apart, `They differ by ${found.mean.toFixed(1)} of 255, by ${found.left.toFixed(1)} with brightness and colours matched: that, ${found.stronger}× stronger`),
      button(icon("close"), () => { place.hidden = true; opener.setAttribute("aria-expanded", "false"); opener.focus(); }, { class: "quiet shut", "aria-label": "Close the comparison" }));
    say(`They differ by ${found.mean.toFixed(1)} of 255 on average.`);
  } catch {
    place.replaceChildren(failed({ title: "They cannot be compared", message: "One of the two files cannot be read. Index the folder again." }));
  }
}

/** All groups, not only those of this page. */
async function csv(report, kind, marks, library, signal) {
  try {
    const groups = [...report.groups];
    if (report.pages > 1) groups.length = 0;
    for (let page = 1; report.pages > 1 && page <= report.pages; page++) {
      groups.push(...(await job("duplicates", { page, page_size: SIZE, kind }, { signal, progress() {} })).groups);
    }
    const rows = groups.flatMap((group) => group.items.map((item) => ({
      ...item, group: group.id, kind: group.kind, confidence: group.confidence, item_confidence: item.confidence,
      decision: marks.of(group).includes(item.id) ? "keep" : "spare", relation: item.relation ?? "keep",
      ...Object.fromEntries((item.box ?? []).map((one, n) => [["x", "y", "width", "height"][n], one])),
    })));
    download(`duplicates-${library.name}.csv`, table(COLUMNS, rows), "text/csv");
  } catch (error) {
    toast(error.message);
  }
}
