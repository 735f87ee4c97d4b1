"use strict";

// Pages that go on by themselves: sessions that are watched, requests for approval. Lines of JSON come as the answer to one
// request; all that they say is set as text, nothing of it is ever parsed as markup.

async function follow(url, form, signal, take) {
  let end = "the connection is lost";
  try {
    const answer = await fetch(url, form ? { method: "POST", body: new URLSearchParams(form), signal } : { signal });
    if (!answer.ok) return (await answer.json()).text;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) return end;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const said = JSON.parse(line);
        if ("end" in said) end = said.end;
        else take(said);
      }
    }
  } catch {
    return signal.aborted ? "" : end;
  }
}

// One channel of a session, as rows of text in an element.
class Screen {
  constructor(page, element) {
    this.page = page;
    this.element = element;
    this.rows = [];
    this.text = [];
    this.cursor = null;
    this.cols = 80;
  }

  take(said) {
    const before = this.cursor;
    if (said.size) {
      const [cols, rows] = said.size;
      this.cols = cols;
      while (this.rows.length > rows) this.rows.pop().remove();
      while (this.rows.length < rows) {
        const row = this.page.createElement("div");
        this.rows.push(row);
        this.text.push("");
        this.element.append(row);
      }
      this.text.length = rows;
    }
    this.cursor = said.cursor;
    const changed = new Set(before ? [before[1]] : []);
    for (const [at, text] of Object.entries(said.rows)) {
      this.text[at] = text;
      changed.add(Number(at));
    }
    if (this.cursor) changed.add(this.cursor[1]);
    for (const at of changed) this.draw(at);
  }

  draw(at) {
    const row = this.rows[at];
    if (!row) return;
    if (!this.cursor || this.cursor[1] !== at) {
      row.textContent = this.text[at] || " ";
      return;
    }
    const cells = Array.from(this.text[at]);
    while (cells.length <= this.cursor[0]) cells.push(" ");
    const cursor = this.page.createElement("span");
    cursor.className = "cursor";
    cursor.textContent = cells[this.cursor[0]];
    row.replaceChildren(cells.slice(0, this.cursor[0]).join(""), cursor, cells.slice(this.cursor[0] + 1).join(""));
  }
}

class Tile {
  constructor(page, element) {
    this.page = page;
    this.screen = element.querySelector(".screen");
    this.note = element.querySelector(".note");
    this.told = element.querySelector(".told");
    this.choice = element.querySelector(".channels");
    this.select = this.choice.querySelector("select");
    this.select.addEventListener("change", () => this.show(Number(this.select.value)));
    this.clear();
  }

  clear() {
    this.channels = new Map();
    this.shown = null;
    this.screen.replaceChildren();
    this.select.replaceChildren();
    this.note.textContent = this.told.textContent = "";
  }

  take(said) {
    if ("told" in said) this.told.textContent = said.told ? "The engineer is told." : "The engineer is not told.";
    else if ("over" in said) this.note.textContent = said.over;
    else if ("note" in said) this.note.textContent = said.note.startsWith("bastion: ") ? said.note : `bastion: ${said.note}`;
    else if (said.gone) this.drop(said.c);
    else {
      let one = this.channels.get(said.c);
      if (!one) this.channels.set(said.c, (one = this.made(said.c)));
      one.take(said);
      if (this.shown === null) this.show(said.c);
      if (said.size && this.shown === said.c) this.fit();
    }
  }

  made(channel) {
    const element = this.page.createElement("div"), option = this.page.createElement("option");
    option.value = option.textContent = channel;
    element.hidden = true;
    this.select.append(option);
    this.screen.append(element);
    this.choice.hidden = this.select.options.length < 2;
    return new Screen(this.page, element);
  }

  drop(channel) {
    const one = this.channels.get(channel);
    if (!one) return;
    this.channels.delete(channel);
    one.element.remove();
    for (const option of this.select.options) if (Number(option.value) === channel) option.remove();
    if (this.shown === channel) this.show(this.channels.keys().next().value ?? null);
  }

  show(channel) {
    this.shown = channel;
    for (const [number, one] of this.channels) one.element.hidden = number !== channel;
    if (channel !== null) this.select.value = channel;
    this.fit();
  }

  // Letters as large as fit.
  fit() {
    const one = this.channels.get(this.shown);
    if (one) this.screen.style.fontSize = `${Math.max(4, Math.min(14, (this.screen.clientWidth - 16) / one.cols / 0.61))}px`;
  }
}

function watching(page) {
  const form = page.getElementById("watch"), state = page.getElementById("state");
  const start = page.getElementById("start"), stop = page.getElementById("stop");
  const tiles = new Map([...page.querySelectorAll(".tile")].map((one) => [one.dataset.session, new Tile(page, one)]));
  let abort = null;

  async function watch() {
    abort = new AbortController();
    start.hidden = true;
    stop.hidden = false;
    state.textContent = "";
    for (const tile of tiles.values()) tile.clear();
    const end = await follow("/live/stream", new FormData(form), abort.signal, (said) => {
      const tile = tiles.get(said.s);
      if (tile) tile.take(said);
    });
    abort = null;
    start.hidden = false;
    stop.hidden = true;
    state.textContent = end;
  }

  form.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!abort) watch();
  });
  stop.addEventListener("click", () => abort && abort.abort());
  page.defaultView.addEventListener("resize", () => tiles.forEach((tile) => tile.fit()));
}

// Somebody who moves something on a page that goes on by itself is here: at most once a minute that is said.
function present(page) {
  let last = Date.now();
  const here = () => {
    if (Date.now() - last < 60000) return;
    last = Date.now();
    fetch("/", { method: "HEAD", redirect: "manual" }).catch(() => {});
  };
  for (const kind of ["pointermove", "keydown"]) page.addEventListener(kind, here);
}

function took(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`;
}

function listing(page) {
  const list = page.getElementById("requests"), state = page.getElementById("state");
  const template = page.getElementById("request");

  function fill(element, row) {
    const said = {
      ...row,
      place: `${row.login}@${row.target}`,
      why: row.why || "no reason was given",
      age: took(row.age),
      left: took(row.left),
      state: row.answered_by ? `${row.state} by ${row.answered_by}` : row.state,
    };
    for (const one of element.querySelectorAll("[data-of]")) {
      const text = String(said[one.dataset.of]);
      if (one.textContent !== text) one.textContent = text;
    }
    if (row.state !== "open" || row.user === list.dataset.who) {
      for (const one of element.querySelectorAll("form, a[data-answer]")) one.remove();
    }
  }

  function take(said) {
    state.textContent = said.fault || "";
    if (!said.requests) return;
    const known = new Map([...list.children].map((one) => [one.dataset.request, one]));
    for (const row of said.requests) {
      let element = known.get(row.id);
      known.delete(row.id);
      if (!element) {
        element = template.content.firstElementChild.cloneNode(true);
        element.dataset.request = row.id;
        const form = element.querySelector("form");
        if (form) form.action = `/requests/${row.id}`;
        const link = element.querySelector("a[data-answer]");
        if (link) link.href = `/requests/${row.id}`;
        list.append(element);
      }
      fill(element, row);
    }
    for (const element of known.values()) element.remove();
    page.getElementById("none").hidden = said.requests.length > 0;
  }

  const abort = new AbortController();
  page.defaultView.addEventListener("pagehide", () => abort.abort());
  follow("/requests/stream", { token: list.dataset.token }, abort.signal, take).then((end) => { state.textContent = end; });
}

if (document.getElementById("watch")) watching(document);
if (document.getElementById("requests")) listing(document);
present(document);
