// Dark, light, or as the system has it; remembered in this browser.

const NEXT = { system: "dark", dark: "light", light: "system" };
const MARKS = { system: "◐", dark: "☾", light: "☀" };

function kept() {
  try { return localStorage.getItem("theme") ?? "system"; } catch { return "system"; }
}

export function theme(button) {
  const put = (name) => {
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = MARKS[name];
    button.title = `Colours: ${name}`;
    button.setAttribute("aria-label", `Colours: ${name}; change to ${NEXT[name]}`);
    button.onclick = () => {
      try { localStorage.setItem("theme", NEXT[name]); } catch { /* private windows keep nothing */ }
      put(NEXT[name]);
      dispatchEvent(new Event("vaeneer:theme"));
    };
  };
  put(kept() in NEXT ? kept() : "system");
}

/** The value of a CSS variable now. */
export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
