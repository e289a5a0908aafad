// What a run's network makes, by the epochs whose models were kept: samples and reconstructions.

import { get, post } from "./api.js";
import { later, make } from "./dom.js";
import { thumb } from "./cells.js";
import { loading } from "./notices.js";

const SAMPLES = 8, SURFACES = 4;

export function byEpoch(run, library, signal) {
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
