// Duplicates: groups side by side, what differs, which to keep; the list as CSV. Nothing is deleted.

import { changed, go, goOver, leave, read } from "./router.js";
import { job, post, postForText, thumbnail } from "./api.js";
import { button, choice, icon, make } from "./dom.js";
import { placed } from "./thumbnails.js";
import { difference } from "./difference.js";
import { openItem } from "./item.js";
import { download, empty, failed, loading, say, shown, toast } from "./toasts.js";
import { bytes, count, fileOf, many, percent, pixels, printable, words } from "./format.js";

const SIZE = 20;
const KINDS = {
  exact: "equal files", same_pixels: "equal pixels", near: "near copies", cropped: "parts", recoloured: "recoloured",
};
const RELATIONS = { exact: "the same bytes", same_pixels: "the same pixels", near: "near copy", cropped: "part", recoloured: "other colours" };
const WHOLE = ["exact", "same_pixels", "near"];

/**
 * What the person decided, by path, in this browser: {path: {decision: "keep" | "redundant", keep_path}}.
 * The server says what follows from it for each group, and which marks still hold.
 */
class Marks {
  constructor(library) {
    this.name = `decisions:${library.name}`;
    try { this.all = JSON.parse(localStorage.getItem(this.name)) ?? {}; } catch { this.all = {}; }
  }

  set(marks) {
    this.all = marks;
    try { localStorage.setItem(this.name, JSON.stringify(marks)); } catch { /* until reloading, then */ }
  }

  put(path, decision, keep_path = path) {
    this.set({ ...this.all, [path]: { decision, keep_path } });
  }

  /** Keep this file instead of the one that its group keeps now. */
  swap(group, item) {
    if (group.keep !== item.path) this.put(group.keep, WHOLE.includes(group.kind) ? "redundant" : "keep", item.path);
    this.put(item.path, "keep");
  }

  /** Keep a file beside the others, or not: then another one that is kept stands for it. False: there is none. */
  keep(group, item, kept) {
    if (kept) {
      this.put(item.path, "keep");
      return true;
    }
    const others = group.items.filter((one) => one !== item && one.decision === "keep");
    const other = others.find((one) => one.path === group.keep) ?? others[0];
    if (!other && this.all[item.path]?.decision !== "keep") return false;
    const rest = Object.entries(this.all).filter(([path, mark]) => path !== item.path && mark.keep_path !== item.path);
    this.set(Object.fromEntries(rest));
    if (other) {
      this.put(other.path, "keep");
      this.put(item.path, "redundant", other.path);
    }
    return true;
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
      await job("duplicates", { page: 1, page_size: 1 }, { signal: stop.signal, progress });
      const report = await decided(marks, page, kind, stop.signal);
      if (key !== asked) return null;
      place.scrollTop = 0;
      return whole(report, kind, marks, {
        again: () => decided(marks, page, kind, stop.signal),
        save: () => csv(marks, library, stop.signal),
      });
    });
  }

  update(state);
  return { update, close: () => { stop.abort(); dialog?.close("Back"); } };
}

/** A page of groups as the person decided; marks of files that are copies no more are dropped. */
async function decided(marks, page, kind, signal) {
  const asked = JSON.stringify(marks.all);
  const report = await post("duplicates/decisions", { marks: marks.all, page, page_size: SIZE, kind }, signal);
  if (asked === JSON.stringify(marks.all)) marks.set(report.marks);
  return report;
}

function whole(report, kind, marks, { again, save }) {
  const all = Object.values(report.groups_by_kind ?? {}).reduce((sum, one) => sum + one, 0);
  const kinds = Object.entries(KINDS).filter(([name]) => report.groups_by_kind?.[name]);
  const head = make("header", {}, make("h1", {}, "Duplicates"),
    button("Download the list (CSV)", save, { class: "strong", disabled: !all }));
  if (!all) return make("div", { class: "page" }, head, empty("No copies were found", `Each of the ${count(report.images)} surfaces is there once.`));
  const sum = make("span", {}), tell = () => { sum.textContent = `${many(report.redundant_files, "redundant file")} (${bytes(report.redundant_bytes)})`; };
  const cards = report.groups.map((group) => card(group, marks, redraw));
  async function redraw() {
    try {
      const now = await again();
      Object.assign(report, { redundant_files: now.redundant_files, redundant_bytes: now.redundant_bytes });
      now.groups.forEach((group, n) => cards[n]?.update(group));
      tell();
      say(sum.textContent);
    } catch (error) {
      if (error.name !== "AbortError") toast(error.message);
    }
  }
  tell();
  return make("div", { class: "page duplicates" }, head,
    make("p", { class: "lead" }, `${many(all, "group")} among ${many(report.images, "surface")}; `, sum, ". Choose what to keep, then download the list of all groups: nothing is deleted here."),
    make("div", { class: "row" }, choice("Kind", [["", `all (${count(all)})`], ...kinds.map(([name, label]) => [name, `${label} (${count(report.groups_by_kind[name])})`])], kind ?? "",
      (value) => go(changedKind(value)))),
    cards.length ? cards.map((one) => one.element) : empty("No group of this kind", "Choose another kind above."),
    pages(report));
}

const changedKind = (value) => changed({ kind: value || null, page: null });

function pages(report) {
  if (report.pages < 2) return null;
  const to = (label, page, words) => button(label, () => go(changed({ page: page > 1 ? page : null })), { disabled: page < 1 || page > report.pages, "aria-label": words });
  return make("nav", { class: "row pages", "aria-label": "Pages" }, to("‹ before", report.page - 1, "The page before"),
    make("span", {}, `page ${report.page} of ${report.pages}`), to("next ›", report.page + 1, "The next page"));
}

/** One group: {element, update}; update shows other decisions about the same files. */
function card(group, marks, decide) {
  const place = make("div", { class: "apart", hidden: true, "aria-live": "polite" });
  const title = make("span", {}), now = { group };
  const members = group.items.map((item) => member(item, now, marks, place, decide));
  const update = (one) => {
    now.group = one;
    title.textContent = ` ${fileOf(one.keep)}`;
    one.items.forEach((item, n) => members[n].update(item));
  };
  const kind = KINDS[group.kind] ?? words(group.kind);
  const element = make("section", { class: "group panel", "aria-label": `Group ${group.id}: ${kind}` },
    make("header", { class: "row" }, make("h2", {}, make("span", { class: "chip" }, kind), title), make("span", { class: "lead" }, `${percent(group.confidence)} sure`)),
    make("ul", { class: "members" }, members.map((one) => one.element)), place);
  update(group);
  return { element, update };
}

/** One file of a group. now: {group}, with the decisions as they are. */
function member(item, now, marks, place, decide) {
  const proposed = now.group.items[0], name = fileOf(item.path), folder = printable(item.path.slice(0, Math.max(0, item.path.lastIndexOf("/"))));
  const box = make("input", { type: "checkbox" });
  box.addEventListener("change", () => {
    if (marks.keep(now.group, now.group.items.find((one) => one.path === item.path), box.checked)) return decide();
    box.checked = true;
    toast("One file of a group is always kept: choose another one first.");
  });
  const swap = button("Keep this instead", () => { marks.swap(now.group, item); decide(); }, { class: "small", "aria-label": `Keep ${name} instead` });
  const picture = make("span", { class: "square" }, placed(thumbnail(item.id), "", item === proposed || !item.box ? item : { ...item, box: null }));
  const facts = [pixels(item.width_px, item.height_px), bytes(item.size_bytes), item.change || RELATIONS[item.relation]];
  const beside = [...item.maps.map(words), ...(item.sidecar ? ["side-car"] : [])];
  const state = make("span", { class: "chip" });
  const element = make("li", { class: "member" },
    button(picture, () => goOver("item", item.id), { class: "open", "aria-label": `Open ${name}` }),
    make("b", { title: printable(item.path) }, name),
    folder ? make("span", { class: "dim folder" }, folder) : null, make("span", { class: "dim" }, facts.filter(Boolean).join(" · ")),
    beside.length ? make("span", { class: "beside" }, `with ${beside.join(", ")}`) : null, make("span", {}, state),
    make("label", { class: "check" }, box, "keep"),
    make("div", { class: "row" }, swap,
      item === proposed ? null : button("Compare", (event) => compare(event.currentTarget, place, proposed, item), { class: "small", "aria-expanded": "false" })));
  const update = (one) => {
    const { group } = now, keeper = group.keep === one.path, redundant = one.decision === "redundant";
    box.checked = !redundant;
    element.classList.toggle("kept", !redundant);
    swap.hidden = (keeper && !redundant) || group.kind === "cropped";
    state.textContent = redundant ? whyNot(one, group) : keeper ? "the file to keep" : "also kept";
    state.title = redundant ? printable(one.keep_path) : "";
  };
  return { element, update };
}

/** What a redundant file is, and what is lost with it. */
function whyNot(item, group) {
  const keeper = group.items.find((one) => one.path === item.keep_path);
  if (!keeper) return `redundant: ${fileOf(item.keep_path)} is the file to keep`;
  if (item.maps.some((map) => !keeper.maps.includes(map))) return "redundant, but deleting it breaks its set";
  const area = (one) => one.width_px * one.height_px;
  return area(item) > area(keeper) ? "redundant, but it has more pixels" : "redundant";
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

/** The list of all groups as the server writes it: the same as that of the command line. */
async function csv(marks, library, signal) {
  try {
    download(`duplicates-${library.name}.csv`, await postForText("duplicates/csv", { marks: marks.all }, signal), "text/csv");
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message);
  }
}
