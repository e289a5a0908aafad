// Folders that are not indexed yet: an offer, the progress; and the band of a library whose small parts are missing.

import { get, pause, post } from "./api.js";
import { button, byId, make } from "./dom.js";
import { failed, loading, say, toast } from "./toasts.js";
import { count, pending, printable, timeLeft } from "./format.js";

const EVERY = 1500;
const STAGES = { waiting: "Waiting for another folder", listing: "Listing the files", images: "Images", parts: "Small parts" };
let watching = new AbortController();

/** How far a folder is, on one line. */
function stage(folder) {
  const name = STAGES[folder.stage] ?? folder.stage;
  if (!folder.total) return `${name} …`;
  return [`${name}: ${count(folder.done)} of ${count(folder.total)}`, folder.seconds_left === null ? null : timeLeft(folder.seconds_left)].filter(Boolean).join(", ");
}

const working = (folder) => ["indexing", "stopping"].includes(folder?.state);

/** A button that ends indexing after the images under way; what is done remains. */
function stopping(folder, show) {
  const made = button(folder.state === "stopping" ? "Stopping …" : "Stop", async () => {
    made.disabled = true;
    try {
      show(await post("indexing/stop", { library: folder.name }));
    } catch (error) {
      made.disabled = false;
      toast(error.message);
    }
  }, { disabled: folder.state === "stopping", title: "What is indexed remains; it can be continued later" });
  return made;
}

const share = (folder) => (folder.total ? folder.done / folder.total : null);

/** Call `step` with the folder as it is every moment, until that answers true. */
async function watch(name, step, signal) {
  for (;;) {
    await pause(EVERY, signal);
    const { folders } = await get("indexing", {}, signal);
    if (step(folders.find((one) => one.name === name) ?? null)) return;
  }
}

/** Instead of a view: a folder that can be indexed. again(): its library is there. */
export function offer(place, folder, again) {
  const stop = new AbortController();
  let shown = null, bar = null;
  function show(now) {
    const key = `${now.state} ${now.reason}`;
    if (key !== shown) {
      shown = key;
      bar = working(now) ? loading(`Indexing ${printable(now.name)}. You can leave this page; it continues.`) : null;
      bar?.append(stopping(now, show));
      place.replaceChildren(bar ?? proposal(now, begin));
    }
    bar?.progress(share(now), stage(now));
  }
  async function begin() {
    try {
      show(await post("indexing", { library: folder.name }, stop.signal));
    } catch (error) {
      if (error.name !== "AbortError") toast(error.message);
    }
  }
  function step(now) {
    if (now && !now.searchable) {
      show(now);
      return false;
    }
    say(`${folder.name} can be searched now.`);
    again();
    return true;
  }
  show(folder);
  watch(folder.name, step, stop.signal).catch((error) => {
    if (error.name !== "AbortError") place.replaceChildren(failed(error, again));
  });
  return { update: () => {}, close: () => stop.abort() };
}

function proposal(folder, begin) {
  const again = folder.state === "failed", stopped = folder.state === "stopped";
  const heading = again ? "could not be indexed" : stopped ? "is indexed in part" : "is not indexed yet";
  return make("div", { class: "notice offer" },
    make("h2", {}, `${printable(folder.name)} ${heading}`),
    again ? make("p", { class: "wrong", role: "alert" }, folder.reason) : null,
    make("p", {}, "Indexing reads every image and changes none. Whole images come first: after about a quarter of the time you can search them."),
    make("dl", { class: "facts" }, make("div", {}, make("dt", {}, "Images"), make("dd", {}, printable(folder.folder))),
      make("div", {}, make("dt", {}, "Library"), make("dd", {}, printable(folder.library)))),
    button(again ? "Try again" : stopped ? "Continue" : "Index this folder", begin, { class: "strong" }));
}

/** Below the bar at the top: that the small parts of a library are missing, and how far they are. */
export function band(library, folder, again) {
  watching.abort();
  const stop = watching = new AbortController();
  const place = byId("band"), missing = library?.parts_pending ?? 0, busy = working(folder);
  place.hidden = !library || (!missing && !busy);
  if (place.hidden) return;
  const line = make("span", {}, missing ? pending(missing) : `${printable(library.name)} is being indexed.`);
  if (!busy) {
    const advice = folder ? button("Index them now", begin) : make("span", {}, "Run vaeneer index again to add them.");
    place.replaceChildren(line, advice);
    return;
  }
  const bar = make("progress", { "aria-label": "Indexing" }), words = make("span", { class: "far" });
  let end = null, shown = null;
  place.replaceChildren(line, bar, words);
  const show = (now) => {
    if (!working(now)) return;  // seen by the next look
    if (now.state !== shown) {
      shown = now.state;
      end?.remove();
      place.append(end = stopping(now, show));
    }
    if (now.stage === "parts") line.textContent = pending(now.total - now.done);
    words.textContent = stage(now);
    if (share(now) === null) bar.removeAttribute("value");
    else bar.value = share(now);
  };
  const step = (now) => {
    if (working(now)) {
      show(now);
      return false;
    }
    if (now?.reason) toast(now.reason);
    again();
    return true;
  };
  show(folder);
  watch(folder.name, step, stop.signal).catch((error) => { if (error.name !== "AbortError") words.textContent = error.message; });

  async function begin() {
    try {
      band(library, await post("indexing", { library: library.name }), again);
    } catch (error) {
      toast(error.message);
    }
  }
}
