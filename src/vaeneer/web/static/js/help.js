// The keys, in a dialog behind "?".

import { button, make } from "./dom.js";

const KEYS = [
  ["Everywhere", [["1 … 6", "the views"], ["/", "to the text field"], ["?", "this list"], ["Esc", "close what is open"]]],
  ["Grid", [["← → ↑ ↓, Page, Home, End", "move"], ["Enter", "open the item"], ["S", "search for look-alikes"]]],
  ["Box on a query", [["drag, or Enter", "draw a box"], ["← → ↑ ↓", "move it"], ["Shift + ← → ↑ ↓", "resize it"], ["Delete", "remove it"], ["Ctrl + V", "paste a picture to search by"]]],
  ["Map", [["← → ↑ ↓, + −, 0", "move, zoom, show all"], ["Enter", "open the item in the middle"], ["Space", "add it to the selection"], ["L", "lasso"]]],
  ["Item", [["← →", "the one before, after"], ["T", "tile 1, 2, 3 times"]]],
];

export function help(opener) {
  const dialog = make("dialog", { class: "keys", "aria-label": "Keys and hints" },
    make("header", { class: "row" }, make("h2", {}, "Keys and hints"), button("Close", () => dialog.close())),
    KEYS.map(([title, keys]) => make("section", {}, make("h3", {}, title),
      make("dl", {}, keys.map(([key, what]) => make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)))))),
    make("p", {}, "Drop a picture anywhere to search by it. Every view is a link: copy the address to share it."));
  document.body.append(dialog);
  opener.addEventListener("click", () => dialog.showModal());
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || writing(event.target)) return;
    if (event.key === "?") {
      if (!document.querySelector("dialog[open]")) dialog.showModal();
    } else if (event.key === "/") {
      const text = document.querySelector("#view input[type=search]");
      if (!text) return;
      event.preventDefault();
      text.focus();
    } else if (event.key >= "1" && event.key <= "6" && !document.querySelector("dialog[open]")) {
      document.querySelectorAll("#views a")[event.key - 1]?.click();
    }
  });
}

/** Whether keys belong to a text field now. */
export function writing(target) {
  return target.isContentEditable || ["TEXTAREA", "SELECT"].includes(target.tagName)
    || (target.tagName === "INPUT" && !["range", "checkbox", "radio", "button"].includes(target.type));
}
