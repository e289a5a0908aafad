// Pictures from the person's own disk that are asked by: named by their bytes, so that the same
// picture has the same address, and kept in this browser, so that reloading and Back find them.

import { make } from "./dom.js";
import { go, read } from "./router.js";
import { toast } from "./toasts.js";

const STORE = "pictures", KEPT = 24;
const here = new Map();  // name -> File

/** Keep a file; answers its name. */
export async function keep(file) {
  const name = hash(new Uint8Array(await file.arrayBuffer()));
  here.set(name, file);
  await stored("readwrite", (store) => {
    store.put({ file, when: Date.now() }, name);
    const all = store.getAllKeys();
    all.onsuccess = () => { if (all.result.length > KEPT) store.delete(all.result.find((one) => one !== name)); };
  });
  return name;
}

/** The file of a name, or null where this browser never had it. */
export async function kept(name) {
  if (!here.has(name)) {
    const found = await stored("readonly", (store) => store.get(name));
    if (found) here.set(name, found.file);
  }
  return here.get(name) ?? null;
}

function stored(mode, act) {
  return new Promise((done) => {
    let opening;
    try { opening = indexedDB.open("vaeneer", 1); } catch { return done(null); }
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onerror = () => done(null);  // private windows keep nothing: then only until reloading
    opening.onsuccess = () => {
      const change = opening.result.transaction(STORE, mode);
      const asked = act(change.objectStore(STORE));
      change.oncomplete = () => { opening.result.close(); done(asked?.result ?? null); };
      change.onerror = change.onabort = () => { opening.result.close(); done(null); };
    };
  });
}

/** 53 bits of the bytes (cyrb53): a name, not a proof; works without https, where crypto.subtle does not. */
function hash(bytes) {
  let a = 0xdeadbeef, b = 0x41c6ce57;
  for (const one of bytes) {
    a = Math.imul(a ^ one, 2654435761);
    b = Math.imul(b ^ one, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return (4294967296 * (2097151 & b) + (a >>> 0)).toString(36);
}

// A picture dropped or pasted anywhere on the page is searched by.

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
