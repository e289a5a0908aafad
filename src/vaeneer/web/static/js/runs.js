// Runs: the curves of a training run, live while it trains; its pictures; what it makes by epoch.

import { get, pause, post, url } from "./api.js";
import { Chart } from "./charts.js";
import { later, make } from "./dom.js";
import { count, many, words } from "./format.js";
import { addressOf, changed, go, read } from "./router.js";
import { thumb } from "./thumbnails.js";
import { empty, loading, shown } from "./toasts.js";

const EVERY_MS = 3000;
const CURVES = [
  ["Loss", "nats per image (negative ELBO)", { training: "train.nats_per_image", validation: "valid.nats_per_image" }],
  ["Reconstruction", "nats per image", { training: "train.reconstruction_nats", validation: "valid.reconstruction_nats" }],
  ["KL", "nats per image", { training: "train.kl_nats", validation: "valid.kl_nats" }],
  ["Above the minimum", "nats per image", { training: "train.excess_nats", validation: "valid.excess_nats" }],
  ["Active latents", "how many", { "active units": "valid.active_units" }],
  ["Alike under another crop", "consistency terms", { training: "train.consistency", validation: "valid.consistency" }],
  ["Learning rate", "", { rate: "train.learning_rate" }],
  ["Speed", "images per second", { speed: "images_per_second" }],
];

export function show(place, state, library) {
  let stop = new AbortController(), open = null;

  function update(now) {
    const shownNow = [now.run ?? "", ...now.all("with")].join("/");
    if (open === shownNow) return;
    open = shownNow;
    stop.abort();
    const mine = stop = new AbortController();
    shown(place, "Reading the runs …", async () => {
      const { runs } = await get("runs", {}, mine.signal);
      if (!runs.length) return empty("No run is served", "Train with `vaeneer train DATA --out runs/001`, then start `vaeneer serve LIBRARY runs/001`, or give the folder of all runs.");
      const newest = [...runs].sort((a, b) => (b.updated ?? 0) - (a.updated ?? 0))[0];
      const chosen = runs.find((run) => run.name === now.run) ?? newest;
      const others = now.all("with").filter((name) => name !== chosen.name && runs.some((run) => run.name === name));
      const list = make("div", {}, table(runs, chosen, others));
      const told = (news) => list.replaceChildren(table(runs, Object.assign(chosen, news), others));
      return make("div", { class: "page runs" }, make("header", {}, make("h1", {}, "Runs")), list, await one(chosen.name, others, library, told, mine.signal));
    });
  }

  update(state);
  return { update, close: () => stop.abort() };
}

const ended = (run) => (run.updated ? `, last epoch ${new Date(run.updated * 1000).toLocaleString()}` : "");

/** Overlay a run in the charts, or take it away; it stands in the address. */
function overlay(name, on) {
  const others = read().all("with").filter((one) => one !== name);  // as it is now: the table may be older
  go(changed({ with: on ? [...others, name] : others }));
}

function table(runs, chosen, others) {
  const head = ["Run", ...(runs.length > 1 ? ["Compare"] : []), "Epochs", "State", "Validation, nats per image", "Network", "Started"];
  const compare = (run) => make("td", {}, make("label", { class: "compare" }, make("input", {
    type: "checkbox", "aria-label": `Show ${run.name} in the charts`, disabled: run === chosen,
    set: { checked: run === chosen || others.includes(run.name) }, on: { change: (event) => overlay(run.name, event.target.checked) } })));
  const rows = runs.map((run) => make("tr", { "aria-current": run === chosen ? "true" : null },
    make("th", { scope: "row" }, make("a", { href: addressOf({ view: "runs", library: read().library, run: run.name }), "data-go": true }, run.name)), runs.length > 1 ? compare(run) : null,
    make("td", {}, run.planned_epochs ? `${run.epochs} of ${run.planned_epochs}` : String(run.epochs)), make("td", { title: `${run.state}${ended(run)}` }, run.state),
    make("td", {}, run.valid_nats_per_image ? count(Math.round(run.valid_nats_per_image)) : "–"), make("td", {}, run.architecture ?? "–"),
    make("td", {}, run.started ? new Date(run.started).toLocaleString() : "–")));
  return make("div", { class: "wide-table", tabindex: 0, role: "region", "aria-label": "All runs" },
    make("table", {}, make("thead", {}, make("tr", {}, head.map((name) => make("th", { scope: "col" }, name)))), make("tbody", {}, rows)));
}

/** What the charts show: both sides of one run, or one line for each of several runs. */
function curves(where, name, lines, beside) {
  const points = (of, place) => of.map((line) => [line.epoch, at(line, place)]);
  const sides = Object.entries(where);
  if (!beside.length) return sides.map(([label, place]) => ({ name: label, points: points(lines, place) }));
  const [side, place] = sides.find(([label]) => label === "validation") ?? sides[0];
  return [{ name, lines }, ...beside].map((run) => ({ name: sides.length > 1 ? `${run.name}, ${side}` : run.name, points: points(run.lines, place) }));
}

function statusOf(state, run, epochs) {
  const done = many(epochs, "epoch");
  if (state === "finished") return `${done}, finished.`;
  if (state === "training") return epochs ? `${done} so far; new ones appear here by themselves.` : "No epoch is done yet; the curves begin with the first.";
  return `Stopped after ${done}${run.planned_epochs ? ` of ${run.planned_epochs}` : ""}. The same vaeneer train command with --resume continues it.`;
}

async function one(name, others, library, told, signal) {
  const path = `runs/${encodeURIComponent(name)}`;
  const linesOf = async (other) => ({ name: other, lines: (await get(`runs/${encodeURIComponent(other)}/metrics`, {}, signal)).lines });
  const [run, first, ...beside] = await Promise.all([get(path, {}, signal), get(`${path}/metrics`, {}, signal), ...others.map(linesOf)]);
  const lines = [...first.lines], charts = CURVES.map(([title, unit]) => new Chart(title, unit));
  const status = make("p", { class: "lead", role: "status" });
  const pictures = make("div", { class: "run-pictures" });
  const draw = (state) => {
    charts.forEach((chart, n) => chart.update(curves(CURVES[n][2], name, lines, beside)));
    status.textContent = statusOf(state, run, lines.length);
    status.classList.toggle("live", state === "training");
    pictures.replaceChildren(...plots(run, path, lines.at(-1)?.epoch ?? 0));
  };
  draw(first.state);
  const result = make("article", { class: "run" }, make("header", { class: "row" }, make("h2", {}, name), status),
    make("div", { class: "charts" }, charts.map((chart) => chart.element)), byEpoch(run, library, signal), similarity(run, path), pictures, settings(run));
  if (first.state !== "finished") watch(path, lines, run, first.state, (state) => { draw(state); told(run); }, signal);
  return result;
}

const at = (line, where) => where.split(".").reduce((value, name) => value?.[name], line);

/** New epochs of a run, and whether it is trained now: one that was stopped may go on. */
async function watch(path, lines, run, state, draw, signal) {
  try {
    for (;;) {
      await pause(document.hidden ? 5 * EVERY_MS : EVERY_MS, signal);
      const news = await get(`${path}/metrics`, { after_epoch: lines.at(-1)?.epoch ?? 0 }, signal).catch((error) => {
        if (error.name === "AbortError") throw error;
        return { lines: [], state };  // the server may come back
      });
      if (!news.lines.length && news.state === state) continue;
      lines.push(...news.lines);
      state = news.state;
      Object.assign(run, await get(path, {}, signal));
      draw(state);
      if (state === "finished") return;
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
}

const FIRST = ["reconstructions", "samples"];

function plots(run, path, epoch) {
  const order = (file) => { const place = FIRST.findIndex((name) => file.startsWith(name)); return place < 0 ? FIRST.length : place; };
  const files = run.pictures.filter((file) => !file.startsWith("similarity")).sort((a, b) => order(a) - order(b) || a.localeCompare(b));
  return files.map((file) => figure(path, file, epoch));
}

function figure(path, file, epoch) {
  const address = url(`${path}/pictures/${encodeURIComponent(file)}`, { v: epoch });
  const label = words(file.replace(/\.\w+$/, "").replaceAll(/[-.]/g, " "));
  return make("figure", { class: "panel" }, make("figcaption", {}, label),
    make("a", { href: address, target: "_blank", rel: "noopener" }, make("img", { src: address, alt: `${label} after epoch ${epoch}`, loading: "lazy" })));
}

function similarity(run, path) {
  const files = run.pictures.filter((file) => file.startsWith("similarity"));
  const kinds = Object.values(run.similarity?.representations ?? {});
  if (!files.length && !kinds.length) return null;
  const columns = [["AUC", "auc", 3], ["d′", "d_prime", 2], ["EER", "eer", 3], ["recall at 1", "recall_at_1", 3]];
  const figures = kinds.length ? make("div", { class: "wide-table", tabindex: 0, role: "region", "aria-label": "Similarity figures" }, make("table", {},
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Representation"), columns.map(([label]) => make("th", { scope: "col" }, label)))),
    make("tbody", {}, kinds.map((kind) => make("tr", {}, make("th", { scope: "row" }, kind.title), columns.map(([, name, digits]) => make("td", {}, kind[name]?.toFixed(digits) ?? "–"))))))) : null;
  return make("section", { class: "similarity" }, make("h3", {}, "Crops of one surface, and of two: similarity"), figures,
    make("div", { class: "run-pictures" }, files.map((file) => figure(path, file, run.epochs))));
}

function settings(run) {
  const flat = Object.entries(run.config ?? {}).flatMap(([name, value]) => (value && typeof value === "object" && !Array.isArray(value) ? Object.entries(value) : [[name, value]]));
  const list = (pairs) => make("dl", { class: "facts" }, pairs.map(([name, value]) => make("div", {}, make("dt", {}, words(name)), make("dd", {}, typeof value === "object" ? JSON.stringify(value) : String(value)))));
  return make("details", {}, make("summary", {}, "Settings and facts"), make("div", { class: "two" }, list(flat), list(Object.entries(run.facts ?? {}))));
}

// What a run's network makes, by the epochs whose models were kept: samples and reconstructions.

const SAMPLES = 8, SURFACES = 4;

function byEpoch(run, library, signal) {
  const epochs = run.checkpoints ?? [];
  if (!epochs.length) return null;
  const known = new Map(), place = make("div", { class: "epoch-pictures" });
  const slider = make("input", { type: "range", min: 0, max: epochs.length - 1, step: 1, value: epochs.length - 1 });
  const says = make("b", {});
  let wanted = -1;

  async function made(epoch) {
    const rebuilt = (item) => get("reconstruct", { item: item.id, model: run.name, epoch }, signal);
    const [drawn, pairs] = await Promise.all([  // all at once, so that none fails unseen when the view is left
      post("sample", { model: run.name, epoch, count: SAMPLES, seed: 0 }, signal),
      library?.items ? some(library, signal).then((chosen) => Promise.all(chosen.map(rebuilt))) : [],
    ]);
    return { samples: drawn.images, pairs };
  }

  async function show(number) {
    wanted = number;
    const epoch = epochs[number];
    says.textContent = `epoch ${epoch}`;
    slider.setAttribute("aria-valuetext", says.textContent);
    if (!known.has(epoch)) {
      if (!place.childElementCount) place.replaceChildren(loading("Drawing …"));
      known.set(epoch, made(epoch));
    }
    try {
      const { samples, pairs } = await known.get(epoch);
      if (wanted !== number) return;
      const row = (title, images) => (images.length ? [make("h3", {}, title), make("div", { class: "epoch-row" }, images)] : []);
      place.replaceChildren(...row("Random samples, from the same latents at each epoch", samples.map((one, n) => thumb(one, `Sample ${n + 1} after epoch ${epoch}`))),
        ...row("Surfaces, and what the network makes of them", pairs.flatMap((pair) => [thumb(pair.original, "Original"), thumb(pair.reconstruction, `Reconstruction after epoch ${epoch}`)])));
    } catch (error) {
      known.delete(epoch);
      if (error.name !== "AbortError") place.replaceChildren(make("p", { class: "lead" }, error.message));
    }
  }

  slider.addEventListener("input", () => { says.textContent = `epoch ${epochs[slider.value]}`; soon(); });
  const soon = later(() => show(Number(slider.value)), 120);
  show(epochs.length - 1);
  return make("section", { class: "panel by-epoch" }, make("label", { class: "field" }, make("span", {}, "By epoch: ", says), slider), place);
}

/** A few surfaces from all over the library, always the same. */
async function some(library, signal) {
  const places = Array.from({ length: Math.min(SURFACES, library.items) }, (_, n) => Math.floor((n + 0.5) * library.items / SURFACES));
  const pages = await Promise.all([...new Set(places)].map((offset) => get("items", { offset, limit: 1 }, signal)));
  return pages.flatMap((page) => page.items);
}
