// Asks an authenticator for what a form says in `data-passkey`, and sends the form with the answer. Nothing is fetched.
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

async function ask() {
  const options = JSON.parse(form.dataset.passkey);
  options.challenge = bytes(options.challenge);
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
  form.submit();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  said.textContent = "";
  ask().catch((error) => {
    said.textContent = error.name === "InvalidStateError" ? "That passkey is here already." : "No passkey was given.";
  });
});
