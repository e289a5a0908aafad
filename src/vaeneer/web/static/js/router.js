// What is shown is in the address: links can be shared, and Back works.

const followers = new Set();

/** The state of the address: text by name; `all` for names that come more than once. */
export function read() {
  const given = new URLSearchParams(location.search);
  const state = Object.fromEntries(given);
  state.view ??= "browse";
  state.all = (name) => given.getAll(name);
  return state;
}

/** The address of a view; empty values are left out, lists are repeated. */
export function addressOf(state) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (name === "all" || value == null || value === "" || value === false) continue;
    if (name === "view" && value === "browse") continue;
    for (const one of Array.isArray(value) ? value : [value]) given.append(name, one);
  }
  const text = given.toString().replaceAll("%2C", ",");
  return text ? `/?${text}` : "/";
}

/** The state as it is, but for some names. */
export function changed(changes) {
  const now = {};
  for (const [name, value] of new URLSearchParams(location.search)) {
    now[name] = name in now ? [now[name], value].flat() : value;
  }
  return { ...now, ...changes };
}

/** Go to another view or state. replace: without a step for Back. */
export function go(state, { replace = false } = {}) {
  const address = addressOf(state);
  if (address === location.pathname + location.search) return;
  history[replace ? "replaceState" : "pushState"](replace ? history.state : null, "", address);
  for (const follow of followers) follow();
}

/** Open something over the view that a name says, such as item=12. */
export function goOver(name, value) {
  if (read()[name]) return go(changed({ [name]: value }), { replace: true });
  history.pushState({ over: name }, "", addressOf(changed({ [name]: value })));
  for (const follow of followers) follow();
}

/** Close it again: a step back where it was opened here, else as if it had not been asked for. */
export function leave(name) {
  if (!read()[name]) return;
  if (history.state?.over === name) history.back();
  else go(changed({ [name]: null }), { replace: true });
}

/** Note a state in the address without showing anything again. */
export function note(changes) {
  history.replaceState(history.state, "", addressOf(changed(changes)));
}

export function follow(act) {
  followers.add(act);
  addEventListener("popstate", act);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-go]");
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    if (link.href === location.href) return;
    history.pushState(null, "", link.href);
    act();
  });
}
