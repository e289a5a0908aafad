// What is not in the library: how many files for each reason, and a list of them, a page at a time.

import { get } from "./api.js";
import { button, icon, make } from "./dom.js";
import { empty, shown } from "./notices.js";
import { count, many, printable } from "./words.js";

const PAGE = 200;
const listed = (number) => many(number, "file or folder", "files and folders");

/** Show the list beside the view; closed() is called when the person closes it. */
export function openLeftOut(library, closed) {
  const place = make("div", { class: "item" });
  const dialog = make("dialog", { class: "beside", "aria-label": "Files and folders left out" }, place);
  document.body.append(dialog);
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (dialog.returnValue !== "Back") closed();
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.showModal();
  const list = (reason) => shown(place, "Reading the list …", async () => {
    const page = await get("left-out", { reason, limit: PAGE });
    return make("article", {}, head(dialog), make("p", { class: "dim" },
      `Files and folders in ${library.root_name} that are not in the library. Thumbnails, recycle bins and the like belong here; correct what you miss and run vaeneer index again.`),
    reasons(page.counts, reason, list), files(page, reason));
  });
  list(null);
  return dialog;
}

function head(dialog) {
  return make("header", { class: "row" }, make("h2", {}, "Files and folders left out"),
    button(icon("close"), () => dialog.close(), { class: "quiet", "aria-label": "Close" }));
}

/** Each reason with its number; a press lists those files alone, another one all. */
function reasons(counts, chosen, list) {
  return make("ul", { class: "plain reasons" }, Object.entries(counts).map(([reason, number]) => make("li", {},
    button([make("span", {}, reason), make("span", { class: "total" }, count(number))],
      () => list(reason === chosen ? null : reason), { "aria-pressed": String(reason === chosen) }))));
}

function files(first, reason) {
  if (!first.total) return empty("No file is listed", "Run vaeneer index again to list them.");
  const rows = make("ul", { class: "plain files" });
  const more = button("Show more", () => add(), { class: "more-files" });
  const line = make("p", { class: "total", role: "status" });
  const put = (page) => {
    rows.append(...page.files.map((file) => make("li", {}, make("span", {}, printable(file.path)), make("span", { class: "dim" }, file.reason))));
    more.hidden = rows.children.length >= page.total;
    line.textContent = more.hidden ? `${listed(page.total)} listed` : `${count(rows.children.length)} of ${listed(page.total)} listed`;
  };
  const next = make("div", {});
  const add = () => shown(next, "Reading more …", async () => {
    put(await get("left-out", { reason, limit: PAGE, offset: rows.children.length }));
    return make("span", {});
  });
  put(first);
  return make("section", { "aria-label": "Files" }, line, rows, next, more);
}
