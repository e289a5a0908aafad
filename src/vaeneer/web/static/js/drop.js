// A picture dropped or pasted anywhere on the page is searched by.

import { go, read } from "./address.js";
import { keep } from "./uploads.js";
import { toast } from "./notices.js";
import { make } from "./dom.js";

/** Search by a file of the person's own. */
export async function searchBy(file) {
  if (!file) return;
  if (!file.type.startsWith("image/") && !/\.(tiff?|bmp|tga|webp|png|jpe?g)$/i.test(file.name)) {
    return toast(`${file.name} is no picture; drop a PNG, JPEG, WebP or TIFF file.`);
  }
  const { k, min, category, tag, where, distinct, library } = read();
  go({ view: "search", library, upload: await keep(file), k, min, category, tag, where, distinct });
}

export function acceptPictures() {
  const veil = make("div", { class: "veil", hidden: true }, make("p", {}, "Drop the picture to search by it"));
  document.body.append(veil);
  const files = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragenter", (event) => { if (files(event)) veil.hidden = false; });
  addEventListener("dragover", (event) => { if (files(event)) event.preventDefault(); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) veil.hidden = true; });
  addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!files(event)) return;
    event.preventDefault();
    searchBy(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])][0];
    if (file) searchBy(file);
  });
}
