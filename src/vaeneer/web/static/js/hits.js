// The hits of a search below headings: exact, likely, only similar; each with ways to go on from it.

import { changed, go, goOver } from "./address.js";
import { button, make } from "./dom.js";
import { chance, placed } from "./cells.js";
import { empty } from "./notices.js";
import { count, fileOf, many, pending, percent } from "./words.js";

const HEADINGS = { exact: "Exact matches", likely: "Likely matches", similar: "Only similar" };

const title = (hit) => hit.name || fileOf(hit.path);

/** The lists; hits below the min probability are hidden. Answers {element, filter(minimum)}. */
export function hitList(report, state) {
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
