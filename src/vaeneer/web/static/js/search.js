// Search: by a picture, an item, several, a box on one; the whole query is in the address.

import { get, post } from "./api.js";
import { button, field, make, select } from "./dom.js";
import { count, fileOf, many, pending, percent } from "./format.js";
import { openItem } from "./item.js";
import { examples, invitation, queryPanel } from "./query.js";
import { changed, go, goOver, leave, note, read } from "./router.js";
import { chance, placed } from "./thumbnails.js";
import { empty, say, shown } from "./toasts.js";

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

// The hits of a search below headings: exact, likely, only similar; each with ways to go on from it.

const HEADINGS = { exact: "Exact matches", likely: "Likely matches", similar: "Only similar" };

const title = (hit) => hit.name || fileOf(hit.path);

/** The lists; hits below the min probability are hidden. Answers {element, filter(minimum)}. */
function hitList(report, state) {
  const line = make("p", { class: "lead", role: "status" });
  const lists = make("div", { class: "matches" });
  const cards = report.hits.map((hit, rank) => ({ hit, rank: rank + 1, card: card(hit, rank + 1, state) }));
  const filter = (minimum) => {
    const shown = cards.filter(({ hit }) => hit.probability == null || hit.probability >= minimum);
    lists.replaceChildren(...(shown.length ? groups(shown) : [nothing(report, minimum)]));
    line.textContent = summary(report, shown, minimum);
  };
  const note = Object.keys(report.matches).length ? make("p", { class: "note" }, gallery(report.gallery_size)) : null;
  const waiting = report.parts_pending ? make("p", { class: "note" }, pending(report.parts_pending)) : null;
  return { element: make("section", { class: "found", "aria-label": "Hits" }, line, note, waiting, lists), filter };
}

/** The cards, a list for each kind of match; one list where the model is not calibrated. */
function groups(shown) {
  const kinds = [...new Set(shown.map(({ hit }) => hit.match))];
  const headed = kinds.some((kind) => kind !== null);
  return kinds.flatMap((kind) => {
    const group = shown.filter(({ hit }) => hit.match === kind);
    const heading = headed ? make("h2", { class: "match" }, `${HEADINGS[kind] ?? "Other hits"} `, make("span", { class: "dim" }, count(group.length))) : null;
    return [heading, make("ol", { class: "hits", start: group[0].rank }, group.map((one) => one.card))].filter(Boolean);
  });
}

const gallery = (size) => `Probabilities are computed for a library of ${many(size, "item")}; they fall as it grows.`;

function summary(report, shown, minimum) {
  const compared = report.query.box ? "by the box" : report.query.compared === "parts" ? "by parts" : "by whole images";
  const hidden = report.hits.length - shown.length;
  const rest = hidden ? `, ${hidden} below ${percent(minimum)} hidden` : "";
  const number = (kind, words) => { const found = shown.filter(({ hit }) => hit.match === kind).length; return found ? `${count(found)} ${words}` : null; };
  const kinds = [number("exact", "exact"), number("likely", "likely"), number("similar", "only similar")].filter(Boolean).join(", ") || many(shown.length, "hit");
  return `${kinds}, ${compared}${rest}, in ${Math.max(1, Math.round(report.seconds * 1000))} ms`;
}

function nothing(report, minimum) {
  if (!report.hits.length) return empty("Nothing to compare with", "No other surface meets the filters. Remove a filter.", button("Remove the filters", () => go(changed({ category: null, tag: null, where: null, distinct: null }))));
  return empty("No hit has this probability", `The best of ${report.hits.length} has ${percent(Math.max(...report.hits.map((hit) => hit.probability)))}. Move the slider to the left to see more.`,
    button("Show all", () => go(changed({ min: null }))), minimum > 0.5 ? button("From 50 %", () => go(changed({ min: 0.5 }))) : null);
}

function card(hit, rank, state) {
  const picture = make("span", { class: "square" }, placed(hit.thumbnail, "", hit));
  const where = hit.placed === "pixels" ? make("span", { class: "chip", title: "This surface contains the pixels of the query, at the drawn box" }, "exact") : null;
  const absent = hit.missing ? make("span", { class: "chip offline", title: "The file is not there now; this is the picture that the library has of it." }, hit.offline ? "offline" : "file gone") : null;
  const open = button(make("span", {}, picture, where, absent), () => goOver("hit", hit.id), { class: "open", "aria-label": `${rank}. ${title(hit)}${hit.probability == null ? "" : `, ${percent(hit.probability)}`}${hit.box ? ", place drawn" : ""}${absent ? `, ${absent.textContent}` : ""}; open` });
  const more = (label, words, act) => button(label, act, { class: "quiet small", title: words, "aria-label": `${words}: ${title(hit)}` });
  const add = (name) => go(changed({ [name]: [...state.all(name), String(hit.id)], box: null, hit: null }));
  return make("li", { class: "hit", "data-id": hit.id }, open,
    make("div", { class: "line" }, make("span", { class: "name", title: hit.path }, title(hit)), chance(hit)),
    make("div", { class: "line" }, make("span", { class: "dim", title: `cosine ${hit.score}` }, [hit.probability == null ? null : hit.score.toFixed(3), hit.category].filter(Boolean).join(" · ")),
      make("span", { class: "acts" },
        more("+", "More like this", () => add("item")),
        more("−", "Less like this", () => add("negative")),
        more("→", "Search by this", () => go(changed({ item: hit.id, upload: null, negative: null, box: null, hit: null }))))));
}
