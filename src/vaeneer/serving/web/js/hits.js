// The hits of a search: each with its probability, its place, and ways to go on from it.

import { changed, go, goOver } from "./address.js";
import { button, make } from "./dom.js";
import { chance, placed } from "./cells.js";
import { empty } from "./notices.js";
import { fileOf, many, percent } from "./words.js";

const title = (hit) => hit.name || fileOf(hit.path);

/** The list; `least` probability hides the others. Answers {element, filter(least)}. */
export function hitList(report, state) {
  const line = make("p", { class: "lead", role: "status" });
  const list = make("ol", { class: "hits" });
  const none = make("div", {});
  const cards = report.hits.map((hit, rank) => ({ hit, card: card(hit, rank + 1, state) }));
  const filter = (least) => {
    const shown = cards.filter(({ hit }) => hit.probability == null || hit.probability >= least);
    list.replaceChildren(...shown.map((one) => one.card));
    line.textContent = said(report, shown.length, least);
    none.replaceChildren(...(shown.length ? [] : [nothing(report, least)]));
  };
  return { element: make("section", { class: "found", "aria-label": "Hits" }, line, list, none), filter };
}

function said(report, shown, least) {
  const compared = report.query.box ? "by the box" : report.query.compared === "parts" ? "by parts" : "by whole images";
  const hidden = report.hits.length - shown;
  const rest = hidden ? `, ${hidden} below ${percent(least)} hidden` : "";
  return `${many(shown, "hit")} ${compared}${rest}, in ${Math.max(1, Math.round(report.seconds * 1000))} ms`;
}

function nothing(report, least) {
  if (!report.hits.length) return empty("Nothing to compare with", "The filters leave no other surface. Take a filter away.", button("Take the filters away", () => go(changed({ category: null, tag: null, where: null, distinct: null }))));
  return empty("No hit is that likely", `The best of ${report.hits.length} has ${percent(Math.max(...report.hits.map((hit) => hit.probability)))}. Move the slider down to see them.`,
    button("Show all", () => go(changed({ min: null }))), least > 0.5 ? button("From 50 %", () => go(changed({ min: 0.5 }))) : null);
}

function card(hit, rank, state) {
  const picture = make("span", { class: "square" }, placed(hit.thumbnail, "", hit));
  const where = hit.placed === "pixels" ? make("span", { class: "chip", title: "The very pixels of the box are here" }, "same pixels") : null;
  const absent = hit.missing ? make("span", { class: "chip offline", title: "The file is not there now; this is the picture that the library has of it." }, hit.offline ? "offline" : "file gone") : null;
  const open = button(make("span", {}, picture, where, absent), () => goOver("hit", hit.id), { class: "open", "aria-label": `${rank}. ${title(hit)}${hit.probability == null ? "" : `, ${percent(hit.probability)}`}${hit.box ? ", place drawn" : ""}${absent ? `, ${absent.textContent}` : ""}; open` });
  const more = (label, words, act) => button(label, act, { class: "quiet small", title: words, "aria-label": `${words}: ${title(hit)}` });
  const add = (name) => go(changed({ [name]: [...state.all(name), String(hit.id)], box: null, hit: null }));
  return make("li", { class: "hit", "data-id": hit.id }, open,
    make("div", { class: "line" }, make("span", { class: "name", title: hit.path }, title(hit)), chance(hit)),
    make("div", { class: "line" }, make("span", { class: "dim", title: `cosine ${hit.score}` }, [hit.probability == null ? null : hit.score.toFixed(3), hit.category].filter(Boolean).join(" · ")),
      make("span", { class: "acts" },
        more("+", "More like this", () => add("item")),
        more("−", "Less like this", () => add("without")),
        more("→", "Search by this", () => go(changed({ item: hit.id, upload: null, without: null, box: null, hit: null }))))));
}
