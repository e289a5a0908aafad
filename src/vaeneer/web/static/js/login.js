// The page's login: the server's token once, then a cookie that scripts cannot read.

import { post } from "./api.js";
import { button, field, make } from "./dom.js";

export function login(place, done) {
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
