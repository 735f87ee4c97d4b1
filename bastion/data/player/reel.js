"use strict";

// A recording of which parts are fetched as they are looked at, one at a time; some are kept.
class Reel {
  static KEPT = 16 << 20; // characters of all parts together
  static WAIT = 100; // milliseconds that a wish must stand: whoever pulls at the slider has many
  static AHEAD = 1; // seconds between what is on its way and what is wanted that are the same wish

  // `ask(channel, at, brief, signal)` promises the text of a part.
  constructor(recording, ask) {
    this.duration = recording.duration;
    this.labels = recording.channels;
    this.ask = ask;
    this.parts = [];
    this.asked = null; // what is on its way
    this.wish = null; // what will be asked for
    for (const one of recording.parts) this.add(one, JSON.stringify(one).length);
  }

  add(part, size) {
    const film = new Film({ changes: part.changes, channels: this.labels.filter(([id]) => id === part.channel), duration: part.until });
    this.parts.push({ channel: part.channel, from: part.from, until: part.until, ended: part.ended, lines: part.lines, more: part.more, film, size });
    let total = this.parts.reduce((sum, one) => sum + one.size, 0);
    while (total > Reel.KEPT && this.parts.length > 1) total -= this.parts.shift().size; // not used for longest
  }

  // The part of this moment; it is the newest then.
  find(channel, seconds) {
    const at = this.parts.findLastIndex((one) => one.channel === channel && one.from <= seconds && (seconds < one.until || one.ended));
    if (at < 0) return null;
    if (at < this.parts.length - 1) this.parts.push(...this.parts.splice(at, 1));
    return this.parts[this.parts.length - 1];
  }

  ready(channel, seconds) {
    return this.find(channel, seconds) !== null;
  }

  at(channel, seconds) {
    this.part = this.find(channel, seconds);
    return this.part.film.at(seconds).get(channel);
  }

  around() {
    return this.part ? this.part.film.around() : [0, this.duration];
  }

  lines(channel, seconds) {
    return this.find(channel, seconds).lines;
  }

  // Fetch this moment, unless it is on its way.
  want(channel, seconds, then, failed) {
    const asked = this.asked;
    if (asked && asked.channel === channel && asked.at <= seconds && seconds <= asked.at + Reel.AHEAD) {
      Object.assign(asked, { then, failed });
      return;
    }
    const before = this.wish;
    this.wish = { channel, at: seconds, brief: true, then, failed };
    if (before && before.timer) clearTimeout(before.timer);
    this.wish.timer = setTimeout(() => this.fulfil(this.wish), Reel.WAIT);
  }

  // What comes next, if it is not there and nothing else is on its way.
  prefetch() {
    const part = this.part;
    if (!part || part.ended || this.asked || this.wish) return;
    const at = this.parts.findLastIndex((one) => one.channel === part.channel && one.from <= part.until && (part.until < one.until || one.ended));
    if (at < 0) this.fulfil({ channel: part.channel, at: part.until, brief: false, then() {}, failed() {} });
  }

  async fulfil(wish) {
    if (this.wish === wish) this.wish = null;
    if (this.asked) this.asked.stop.abort();
    this.asked = wish;
    wish.stop = new AbortController();
    try {
      const text = await this.ask(wish.channel, wish.at, wish.brief, wish.stop.signal);
      this.add(JSON.parse(text), text.length);
      if (this.asked !== wish) return;
      this.asked = null;
      wish.then();
    } catch (error) {
      if (this.asked !== wish) return; // something else is wanted
      this.asked = null;
      wish.failed(error instanceof TypeError ? "the console does not answer" : error.message);
    }
  }
}

// The text cut where one of the words stands, each of which is given to `mark`.
function withMarks(text, words, mark) {
  const folded = text.toLowerCase();
  if (!words.length || folded.length !== text.length) return [text]; // letters that fold to several: places would differ
  const made = [];
  let at = 0;
  while (at < text.length) {
    let next = -1, length = 0;
    for (const word of words) {
      const found = folded.indexOf(word, at);
      if (found >= 0 && (next < 0 || found < next || (found === next && word.length > length))) [next, length] = [found, word.length];
    }
    if (next < 0) break;
    if (next > at) made.push(text.slice(at, next));
    made.push(mark(text.slice(next, next + length)));
    at = next + length;
  }
  if (at < text.length) made.push(text.slice(at));
  return made;
}

// Marks on the time: one for each kind at each place, so that there are never more than PLACES of a kind.
const PLACES = 1000;
function marksOf(recording) {
  const kinds = { command: recording.commands, resize: recording.resizes, hit: recording.hits };
  const made = [];
  for (const [kind, all] of Object.entries(kinds)) {
    const seen = new Set();
    for (const [time, channel, ...rest] of all) {
      const place = Math.min(PLACES - 1, Math.floor((time / Math.max(recording.duration, 1e-6)) * PLACES));
      if (seen.has(place)) continue;
      seen.add(place);
      const text = kind === "command" ? rest[1] : kind === "resize" ? `${rest[0]} x ${rest[1]}` : rest[0];
      made.push({ kind, time, channel, place, text });
    }
  }
  return made;
}

function begin(page) {
  const recording = JSON.parse(page.getElementById("recording").textContent);
  const view = page.defaultView;
  const part = (id) => page.getElementById(id);
  const here = new URL(view.location.href);
  const query = new URLSearchParams();
  if (here.searchParams.get("q")) query.set("q", here.searchParams.get("q"));

  async function ask(channel, at, brief, signal) {
    const wanted = new URLSearchParams({ channel, at: Math.max(0, at).toFixed(6), ...(brief ? { brief: 1 } : {}) });
    const answer = await fetch(`/sessions/${recording.session}/part?${wanted}`, { signal, redirect: "manual", credentials: "same-origin" });
    if (answer.type === "opaqueredirect") throw new Error("sign in again: load the page anew");
    const text = await answer.text();
    if (!answer.ok) throw new Error(`this part cannot be shown (${answer.status})`);
    return text;
  }

  const reel = new Reel(recording, ask);
  const marked = (text) => {
    const made = page.createElement("mark");
    made.textContent = text;
    return made;
  };
  let hit = -1;
  const player = show(page, recording, reel, {
    pieces: (text) => withMarks(text, recording.words, marked),
    moved(at, channel) {
      query.set("at", at);
      query.set("channel", channel);
      return `${here.pathname}?${query}`;
    },
    drawn(position, playing) {
      const now = reel.part;
      part("span").textContent = `from ${clockText(now.from)} to ${clockText(now.until)}${now.more ? `, and ${now.more} lines more` : ""}`;
      if (playing) reel.prefetch();
    },
    keys: ({ visit, now }) => {
      const go = (way) => {
        const at = stepped(recording.hits.map(([time]) => time), now(), way, hit);
        if (at < 0) return;
        hit = at;
        visit(...recording.hits[at]);
      };
      return { h: () => go(1), g: () => go(-1) };
    },
  });

  const space = "http://www.w3.org/2000/svg";
  for (const one of marksOf(recording)) {
    const mark = page.createElementNS(space, "rect");
    for (const [name, value] of Object.entries({ x: one.place, y: { command: 0, resize: 4, hit: 8 }[one.kind], width: 3, height: 4, class: one.kind }))
      mark.setAttribute(name, value);
    const said = page.createElementNS(space, "title");
    said.textContent = `${clockText(one.time)} ${one.text}`;
    mark.append(said);
    mark.addEventListener("click", () => player.visit(one.time, one.channel));
    part("marks").append(mark);
  }
  for (const [time, channel, text] of recording.hits) {
    const line = page.createElement("li"), clock = page.createElement("span"), said = page.createElement("span");
    clock.className = "time";
    clock.textContent = clockText(time);
    said.append(...withMarks(text, recording.words, marked));
    line.append(clock, said);
    line.addEventListener("click", () => player.visit(time, channel));
    part("hits").append(line);
  }
  part("found").hidden = !recording.hits.length;
}

if (typeof document !== "undefined") begin(document);
