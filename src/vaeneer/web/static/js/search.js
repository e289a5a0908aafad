// Search: by a picture, an item, several, a box on one; the whole query is in the address.

import { changed, go, goOver, leave, note, read } from "./address.js";
import { get, post } from "./api.js";
import { field, make, select } from "./dom.js";
import { hitList } from "./hits.js";
import { openItem } from "./item.js";
import { shown, say } from "./notices.js";
import { examples, invitation, queryPanel } from "./query.js";
import { count, many, percent } from "./words.js";

const ASKED = ["k", "category", "tag", "where", "distinct", "parts"];

export function show(place, state, library) {
  const query = make("div", { class: "search-query" });
  const results = make("div", { class: "search-hits" });
  const bar = settings(library);
  place.append(make("h1", { class: "unseen" }, `Search ${library.name}`), make("div", { class: "search" },
    make("aside", { class: "search-side" }, query, bar.element), results));
  let stop = new AbortController(), who = null, asked = null, found = [], panel = null, hits = null, dialog = null, report = null;

  function invite() {
    found = [];
    panel = hits = null;
    query.replaceChildren();
    place.querySelector(".search").classList.add("idle");
    shown(results, "Reading the library …", async () => {
      const many = Math.max(0, library.items - 18);
      const { items } = await get("items", { limit: 18, offset: Math.floor(many * 0.37) });
      return invitation(items, read().library);
    });
  }

  async function ask(now) {
    stop.abort();
    const mine = stop = new AbortController();
    place.querySelector(".search").classList.remove("idle");
    const wanted = JSON.stringify([now.all("item"), now.all("upload"), now.all("negative")]);
    results.setAttribute("aria-busy", "true");
    await shown(results, "Searching …", async () => {
      if (wanted !== who) {
        found.forEach((one) => one.file && URL.revokeObjectURL(one.address));
        query.replaceChildren();
        found = await examples(now, mine.signal);
        panel = queryPanel(found, now);
        query.replaceChildren(panel.element);
        who = wanted;
      }
      report = await post("search", form(now, found), mine.signal);
      hits = hitList(report, now);
      hits.filter(Number(read().min) || 0);
      say(`${many(report.hits.length, "hit")}.`);
      return hits.element;
    });
    if (mine === stop) results.removeAttribute("aria-busy");
  }

  function open(now) {
    if (!now.hit) return dialog?.close("Back");
    if (dialog?.id === now.hit) return;
    dialog?.close("Back");
    const at = report?.hits.findIndex((hit) => String(hit.id) === now.hit) ?? -1;
    const step = (by) => {
      const next = report?.hits[at + by];
      if (next) goOver("hit", next.id);
    };
    dialog = openItem(now.hit, { step, box: report?.hits[at]?.box, closed: () => {
      leave("hit");
      results.querySelector(`[data-id="${CSS.escape(now.hit)}"] .open`)?.focus();
    } });
  }

  async function update(now) {
    bar.update(now);
    const any = now.all("item").length + now.all("upload").length > 0;
    const key = JSON.stringify([...["item", "upload", "negative"].map(now.all), now.box, ...ASKED.map((name) => now[name])]);
    panel?.box(now.box);
    if (key !== asked) {
      asked = key;
      if (!any) { stop.abort(); who = null; invite(); } else await ask(now);
    } else {
      hits?.filter(Number(now.min) || 0);
    }
    open(read());
  }

  update(state);
  return { update, close: () => { stop.abort(); dialog?.close("Back"); } };
}

function form(state, found) {
  const given = new FormData();
  for (const one of found) one.file ? given.append("image", one.file) : given.append("item", one.id);
  for (const id of state.all("negative")) given.append("negative", id);
  if (state.box && found.length === 1) given.append("box", state.box);
  given.append("k", state.k ?? "40");
  for (const name of ["category", "tag", "where"]) if (state[name]) given.append(name, state[name]);
  if (state.distinct) given.append("exclude_duplicates", "true");
  if (state.parts) given.append("parts", "true");
  return given;
}

/** The sliders and filters of a search. */
function settings(library) {
  const put = (name) => (value) => go(changed({ [name]: value || null, hit: null }));
  const named = (table) => [["", "all"], ...Object.entries(table ?? {}).sort(([, a], [, b]) => b - a).map(([name, many]) => [name, `${name} (${count(many)})`])];
  const minimum = make("input", { type: "range", min: 0, max: 1, step: 0.01, disabled: !library.calibrated });
  const says = make("b", {});
  const tell = () => { says.textContent = library.calibrated ? percent(Number(minimum.value)) : "the model is not calibrated"; };
  minimum.addEventListener("input", () => {
    tell();
    note({ min: Number(minimum.value) || null });
    dispatchEvent(new PopStateEvent("popstate"));
  });
  const check = (name, words) => {
    const box = make("input", { type: "checkbox", on: { change: () => put(name)(box.checked ? 1 : null) } });
    return [box, make("label", { class: "check" }, box, words)];
  };
  const [distinct, distinctLine] = check("distinct", "Leave out copies");
  const [parts, partsLine] = check("parts", "Compare with parts");
  const boxes = { k: select([["", "40 hits"], ["10", "10 hits"], ["100", "100 hits"], ["200", "200 hits"]], "", put("k")), category: select(named(library.categories), "", put("category")), tag: select(named(library.tags), "", put("tag")) };
  boxes.tag.disabled = boxes.tag.length < 2;
  const where = make("input", { type: "text", placeholder: "width >= 1024", spellcheck: "false", autocomplete: "off", on: { change: () => put("where")(where.value.trim()) } });
  const minimumField = make("label", { class: "field" }, make("span", {}, "Min probability ", says), minimum);
  const more = make("details", { class: "more" }, make("summary", {}, "More settings"),
    make("div", { class: "fields" }, field("How many", boxes.k), field("Category", boxes.category), field("Tag", boxes.tag), field("Where", where)),
    distinctLine, partsLine);
  const update = (now) => {
    minimum.value = now.min ?? 0;
    tell();
    for (const [name, box] of Object.entries(boxes)) box.value = now[name] ?? "";
    where.value = now.where ?? "";
    distinct.checked = Boolean(now.distinct);
    parts.checked = Boolean(now.parts);
    if (["category", "tag", "where", "distinct", "parts", "k"].some((name) => now[name])) more.open = true;
  };
  return { element: make("section", { class: "search-settings", "aria-label": "Settings" }, minimumField, more), update };
}
