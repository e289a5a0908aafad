// What is said when there is nothing to show: loading, empty, wrong; and short messages.

import { button, byId, make } from "./dom.js";

/** Tell a screen reader. */
export function say(words) {
  byId("said").textContent = words;
}

/** A message that goes by itself. */
export function toast(words) {
  const made = make("p", { class: "toast" }, words);
  byId("toasts").append(made);
  setTimeout(() => made.remove(), 4000);
  say(words);
}

export function loading(words) {
  const bar = make("progress", { "aria-label": words });
  const stage = make("p", { "aria-live": "off" });
  const made = make("div", { class: "notice", role: "status" }, make("p", {}, words), bar, stage);
  made.progress = (share, what = "") => {
    stage.textContent = what;
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
  };
  return made;
}

/** Nothing here: what it is, and what to do. */
export function empty(title, advice, ...actions) {
  return make("div", { class: "notice" }, make("h2", {}, title), make("p", {}, advice), make("div", { class: "row" }, actions));
}

const TITLES = { 400: "This cannot be done as written", 404: "Not found", 409: "Not possible now", 413: "Too large", 415: "Not a picture that can be read", 422: "This cannot be done as written", 503: "Busy" };

export function failed(error, again) {
  const advice = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  return make("div", { class: "notice wrong", role: "alert" },
    make("h2", {}, TITLES[error.status] ?? error.title ?? "Something is wrong on this page"),
    make("p", {}, `${error.message}${advice}`),
    again ? button("Try again", again) : null);
}

/** Show what `load` makes in `place`: loading first, an error with another try if it fails. */
export async function shown(place, words, load) {
  const wait = loading(words);
  const timer = setTimeout(() => place.replaceChildren(wait), 120);  // no flicker for quick answers
  try {
    const made = await load(wait.progress);
    clearTimeout(timer);
    if (made) place.replaceChildren(made);
  } catch (error) {
    clearTimeout(timer);
    if (error.name === "AbortError") return;
    if (!(error instanceof Error && "status" in error)) console.error(error);
    place.replaceChildren(failed(error, () => shown(place, words, load)));
  }
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // no clipboard without https away from this machine
    const area = make("textarea", { class: "unseen", set: { value: text } });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(`${what} copied.`);
}

/** Save text as a file of the person's own. */
export function download(name, text, type) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
