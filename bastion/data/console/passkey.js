// Asks an authenticator for what a form says in `data-passkey`, and sends the form with the answer. Nothing is fetched.
// Where buttons say what each has signed (`data-challenge`), those without send the form as it is: with a code.
"use strict";

const form = document.querySelector("form[data-passkey]");
const said = document.getElementById("passkey-said");

const bytes = (text) => {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
};

const text = (buffer) => {
  const plain = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
};

const ids = (list) => (list || []).map((one) => ({ ...one, id: bytes(one.id) }));

async function ask(button) {
  const options = JSON.parse(form.dataset.passkey);
  options.challenge = bytes(button?.dataset.challenge || options.challenge);
  let made;
  if (options.user) {
    options.user.id = bytes(options.user.id);
    options.excludeCredentials = ids(options.excludeCredentials);
    made = await navigator.credentials.create({ publicKey: options });
  } else {
    options.allowCredentials = ids(options.allowCredentials);
    made = await navigator.credentials.get({ publicKey: options });
  }
  const response = { clientDataJSON: text(made.response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (made.response[name]) response[name] = text(made.response[name]);
  }
  form.elements.passkey.value = JSON.stringify({ id: made.id, rawId: text(made.rawId), type: made.type, response });
  if (button?.name) {
    const chosen = document.createElement("input");
    chosen.type = "hidden";
    chosen.name = button.name;
    chosen.value = button.value;
    form.append(chosen);
  }
  form.submit();
}

form.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (form.querySelector("[data-challenge]") && !button?.dataset.challenge) return;
  event.preventDefault();
  said.textContent = "";
  ask(button).catch((error) => {
    said.textContent = error.name === "InvalidStateError" ? "That passkey is here already." : "No passkey was given.";
  });
});
