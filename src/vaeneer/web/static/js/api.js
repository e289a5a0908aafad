// Talking to the server that this page came from, and to no other.

const ROOT = "/api/v1";
let chosen = null;      // the library that is shown, where there are several
let unknown = () => {}; // what to do when the server asks who we are

export const use = (library) => { chosen = library; };
export const whenUnknown = (act) => { unknown = act; };

/** What the server said was wrong (RFC 9457), or that it could not be reached. */
export class Problem extends Error {
  constructor(status, title, detail, retryAfter = null) {
    super(detail || title);
    Object.assign(this, { status, title, retryAfter });
  }
}

export function url(path, query = {}) {
  const given = new URLSearchParams();
  const asked = chosen === null ? query : { library: chosen, ...query };
  for (const [name, value] of Object.entries(asked)) {
    if (value == null || value === "" || value === false) continue;
    for (const one of Array.isArray(value) ? value : [value]) given.append(name, one);
  }
  const text = given.toString();
  return path.startsWith("/") ? path : `${ROOT}/${path}${text ? `?${text}` : ""}`;
}

async function ask(address, options = {}) {
  let answer;
  try {
    answer = await fetch(address, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The server does not answer", "The server does not answer. Is vaeneer serve still running? Start it and try again.");
  }
  if (answer.ok) return answer;
  let said = {};
  try { said = await answer.json(); } catch { /* not every proxy answers in JSON */ }
  if (answer.status === 401 && !address.endsWith("/login")) unknown();
  const wait = Number(answer.headers.get("Retry-After")) || null;
  throw new Problem(answer.status, said.title ?? answer.statusText, said.detail ?? `The server answered ${answer.status}.`, wait);
}

export async function get(path, query = {}, signal = undefined) {
  return (await ask(url(path, query), { signal })).json();
}

/** Post a form (FormData) or JSON. */
export async function post(path, body, signal = undefined) {
  const answer = await posted(path, body, signal);
  return answer.status === 204 ? null : answer.json();
}

/** As `post`, where the answer is a text. */
export async function postForText(path, body, signal = undefined) {
  return (await posted(path, body, signal)).text();
}

async function posted(path, body, signal) {
  const form = body instanceof FormData;
  if (form && chosen !== null && !body.has("library")) body.append("library", chosen);
  const json = form ? body : JSON.stringify(chosen === null ? body : { library: chosen, ...body });
  const headers = form ? {} : { "Content-Type": "application/json" };
  return ask(`${ROOT}/${path}`, { method: "POST", body: json, headers, signal });
}

/** As `get`, of what the server computes first: started, told its progress, asked again until it is there. */
export async function job(path, query, { signal, progress }) {
  await ask(url(path), { method: "POST", signal });
  for (;;) {
    const answer = await ask(url(path, query), { signal });
    if (answer.status !== 202) return answer.json();
    const said = await answer.json();
    progress(said.progress ?? null, said.stage ?? "");
    await pause((Number(answer.headers.get("Retry-After")) || 1) * 1000, signal);
  }
}

export function pause(milliseconds, signal) {
  return new Promise((done, stop) => {
    const timer = setTimeout(done, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      stop(new DOMException("left", "AbortError"));
    });
  });
}

export const thumbnail = (id) => url(`items/${id}/thumbnail`);
export const picture = (id, max_px) => url(`items/${id}/image`, { max_px });
