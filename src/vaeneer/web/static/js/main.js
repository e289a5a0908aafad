// The frame of the page: which library, which view, which colours; each view is a module.

import { get, pause, post, use, whenUnknown } from "./api.js";
import { button, byId, field, icon, make } from "./dom.js";
import { count } from "./format.js";
import { help } from "./help.js";
import { band, offer } from "./indexing.js";
import { addressOf, follow, go, read } from "./router.js";
import { theme } from "./theme.js";
import { empty, failed, loading } from "./toasts.js";
import { acceptPictures } from "./uploads.js";

const VIEWS = { browse: "Browse", search: "Search", map: "Map", duplicates: "Duplicates", runs: "Runs", play: "Play" };
const place = byId("view");
let libraries = [];
let folders = [];  // that can be indexed; their libraries are among those above once they are searchable
let open = null;   // {view, library, shown}
let moved = false; // whether the person went from one view to another

const isNew = (one) => one?.searchable === false;
const choices = () => [...libraries, ...folders.filter(isNew)];

function library(state) {
  const all = choices();
  return all.find((one) => one.name === state.library) ?? all[0] ?? null;
}

function links(state) {
  byId("views").replaceChildren(...Object.entries(VIEWS).map(([view, label]) =>
    make("a", {
      href: addressOf({ view, library: state.library }), "data-go": true,
      "aria-current": view === state.view ? "page" : null,
    }, icon(view), make("span", {}, label))));
}

function choose(state) {
  const box = byId("library");
  const all = choices();
  box.hidden = all.length < 2;
  box.replaceChildren(...all.map((one) => make("option", { value: one.name }, `${one.name} (${isNew(one) ? "not indexed" : count(one.items)})`)));
  box.value = library(state)?.name ?? "";
  box.onchange = () => go({ view: read().view, library: box.value });
}

async function show() {
  const state = read();
  if (!(state.view in VIEWS)) return go({ view: "browse" }, { replace: true });
  const own = library(state);
  use(own?.name ?? null);
  links(state);
  choose(state);
  band(isNew(own) ? null : own, folders.find((one) => one.name === own?.name), start);
  if (open?.view === state.view && open.library === own?.name && open.shown) return open.shown.update(state);
  open?.shown?.close?.();
  const mine = open = { view: state.view, library: own?.name, shown: null };
  document.title = own ? `${VIEWS[state.view]} · ${own.name} · vaeneer` : "vaeneer";
  place.dataset.view = state.view;
  if (!own && state.view !== "runs") return place.replaceChildren(noLibrary());
  if (isNew(own) && state.view !== "runs") {
    mine.shown = offer(place, own, () => { open = null; start(); });
    return;
  }
  if (own && own.state !== "ready" && state.view !== "runs") return wait(own, mine);
  const module = await import(`./${state.view}.js`);
  if (mine !== open) return;
  place.replaceChildren();
  if (moved) place.focus({ preventScroll: true });
  moved = true;
  mine.shown = module.show(place, read(), own);
}

function noLibrary() {
  return empty("No library is open", "Start `vaeneer serve FOLDER` with a folder of images: it can be indexed on this page.");
}

async function wait(own, mine) {
  if (own.state === "failed") {
    return place.replaceChildren(empty(`${own.name} could not be opened`, own.reason || "Look at what vaeneer serve printed, mend it, and start it again."));
  }
  place.replaceChildren(loading(`Opening ${own.name} …`));
  await pause(700);
  if (mine !== open) return;
  open = null;
  await start();
}

async function start() {
  use(null);
  try {
    [{ libraries }, { folders }] = await Promise.all([get("libraries"), get("indexing")]);
  } catch (error) {
    if (error.status !== 401) place.replaceChildren(failed(error, start));
    return;
  }
  await show();
}

whenUnknown(() => login(place, () => { open = null; start(); }));
theme(byId("theme"));
help(byId("help"));
acceptPictures();
follow(show);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();  // no #view in the address: Back would go through it
  place.focus();
});
byId("home").addEventListener("click", (event) => {
  event.preventDefault();
  go({ library: read().library });
});
addEventListener("vaeneer:again", () => { open = null; start(); });
start();

// The page's login: the server's token once, then a cookie that scripts cannot read.

function login(place, done) {
  if (place.querySelector("form.login")) return;
  const token = make("input", { type: "password", autocomplete: "current-password", required: true });
  const wrong = make("p", { class: "wrong", role: "alert" });
  const form = make("form", { class: "login notice" },
    make("h2", {}, "This library asks for a token"),
    make("p", {}, "It is in the file that vaeneer serve was started with (--token-file); ask whoever runs the server."),
    field("Token", token), wrong, button("Open", () => {}, { type: "submit", class: "strong" }));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await post("login", { token: token.value.trim() });
      done();
    } catch (error) {
      wrong.textContent = error.status === 401 ? "That is not the token." : error.message;
      token.select();
    }
  });
  place.replaceChildren(form);
  token.focus();
}
