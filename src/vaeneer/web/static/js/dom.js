// Making and finding elements. Text is always data: nothing here or elsewhere parses markup.

export const byId = (id) => document.getElementById(id);

/** An element with attributes, listeners (`on`), properties (`set`) and children. */
export function make(tag, { on = {}, set = {}, ...attributes } = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  for (const [name, act] of Object.entries(on)) made.addEventListener(name, act);
  Object.assign(made, set);
  made.append(...children.flat().filter((child) => child != null && child !== false));
  return made;
}

export function button(label, act, attributes = {}) {
  return make("button", { type: "button", on: { click: act }, ...attributes }, label);
}

/** A labelled control: the label lies around it, so that a click on the words works too. */
export function field(label, control, attributes = {}) {
  return make("label", { class: "field", ...attributes }, make("span", {}, label), control);
}

export function select(options, chosen, act) {
  const made = make("select", { on: { change: () => act(made.value) } });
  for (const [value, label] of options) made.append(make("option", { value }, label));
  made.value = chosen ?? "";
  if (made.selectedIndex < 0) made.selectedIndex = 0;
  return made;
}

/** A group of which one is pressed. */
export function choice(label, options, chosen, act) {
  const group = make("div", { class: "choice", role: "group", "aria-label": label });
  const press = (value) => {
    for (const one of group.children) one.setAttribute("aria-pressed", String(one.dataset.value === String(value)));
  };
  for (const [value, words] of options) {
    group.append(button(words, () => { press(value); act(value); }, { "data-value": value }));
  }
  press(chosen);
  return group;
}

const SVG = "http://www.w3.org/2000/svg";

export function drawing(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const PATHS = {
  browse: "M3 3h7v7H3zM14 3h7v7h-7zM3 14h7v7H3zM14 14h7v7h-7z",
  search: "M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zM15.5 15.5 21 21",
  map: "M6 8a2 2 0 1 0 0-.01M17 6a2 2 0 1 0 0-.01M11 14a2 2 0 1 0 0-.01M19 16a2 2 0 1 0 0-.01M6 19a2 2 0 1 0 0-.01",
  duplicates: "M8 8h12v12H8zM4 16V4h12",
  runs: "M4 4v16h16M7 8c3 8 6 8 13 9",
  play: "M7 4l13 8-13 8z",
  close: "M5 5l14 14M19 5 5 19",
};

export function icon(name) {
  const path = drawing("path", { d: PATHS[name] });
  return drawing("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, path);
}

export function later(act, milliseconds) {
  let timer = 0;
  const asked = (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...values), milliseconds);
  };
  asked.cancel = () => clearTimeout(timer);
  return asked;
}
