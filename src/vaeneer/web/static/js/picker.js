// Choosing one surface of the library: a dialog with a text field and a grid.

import { button, icon, later, make } from "./dom.js";
import { fillCell } from "./cells.js";
import { Grid } from "./grid.js";
import { Items } from "./items.js";
import { failed } from "./notices.js";

/** Ask for a surface; answers the item, or null. */
export function pick(title) {
  return new Promise((done) => {
    const text = make("input", { type: "search", placeholder: "name, path, category", "aria-label": "Find", autocomplete: "off", spellcheck: "false" });
    const body = make("div", { class: "picker-body" });
    const dialog = make("dialog", { class: "picker", "aria-label": title },
      make("header", { class: "row" }, make("h2", {}, title), text, button(icon("close"), () => dialog.close(), { class: "quiet", "aria-label": "Close" })), body);
    let items = null, grid = null, chosen = null;

    const open = (number) => {
      chosen = items.at(number);
      if (chosen) dialog.close();
    };
    const fill = (cell, number) => (items.at(number) ? fillCell(cell, items.at(number)) : false);

    async function list() {
      items?.close();
      const mine = items = new Items({ q: text.value.trim() }, () => grid?.refresh());
      try {
        await mine.begin();
      } catch (error) {
        if (error.name !== "AbortError") body.replaceChildren(failed(error, list));
        return;
      }
      if (mine !== items) return;
      if (grid) return grid.reset(mine.total);
      grid = new Grid(body, { count: mine.total, side: 116, label: "Surfaces; Enter chooses one", fill, open, seen: later((first, last) => items.need(first, last), 40) });
    }

    text.addEventListener("input", later(list, 200));
    dialog.addEventListener("close", () => {
      items?.close();
      grid?.close();
      dialog.remove();
      done(chosen);
    });
    document.body.append(dialog);
    dialog.showModal();
    list();
  });
}
