"use strict";

// The screens of a recording at any time, from the changes of their rows. Knows nothing of the page.
class Film {
  static EVERY = 500; // changes between two points from which a seek goes on

  constructor(recording) {
    this.changes = recording.changes;
    const last = this.changes.length ? this.changes[this.changes.length - 1][0] : 0;
    this.duration = Math.max(recording.duration, last);
    this.first = new Map(recording.channels.map(([id, label, cols, rows]) => [id, { cols, rows, lines: [], x: 0, y: 0, note: "" }]));
    this.points = [];
    this.start(this.first, 0);
    for (let at = 0; at < this.changes.length; at++) {
      if (at % Film.EVERY === 0) this.points.push(this.copy(this.screens));
      this.step();
    }
    if (!this.points.length) this.points.push(this.copy(this.screens));
    this.start(this.first, 0);
  }

  copy(screens) {
    return new Map([...screens].map(([id, one]) => [id, { ...one, lines: one.lines.slice() }]));
  }

  start(screens, next) {
    this.screens = this.copy(screens);
    this.next = next;
  }

  step() {
    const [, channel, rows, cursor, size, note] = this.changes[this.next++];
    if (note) {
      for (const [id, one] of this.screens) if (!channel || id === channel) one.note = note;
    }
    let one = this.screens.get(channel);
    if (!one) {
      if (!cursor) return;
      this.screens.set(channel, (one = { cols: 80, rows: 24, lines: [], x: 0, y: 0, note: "" }));
    }
    if (size) {
      [one.cols, one.rows] = size;
      one.lines.length = Math.min(one.lines.length, one.rows);
    }
    for (let at = 0; at < rows.length; at += 2) {
      while (one.lines.length <= rows[at]) one.lines.push("");
      one.lines[rows[at]] = rows[at + 1];
    }
    if (cursor) [one.x, one.y] = cursor;
  }

  // The screens as they were after so many seconds.
  at(seconds) {
    let low = 0, high = this.changes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.changes[middle][0] <= seconds) low = middle + 1; else high = middle;
    }
    if (low < this.next || low - this.next > Film.EVERY) {
      const point = Math.min(Math.floor(low / Film.EVERY), this.points.length - 1);
      this.start(this.points[point], point * Film.EVERY);
    }
    while (this.next < low) this.step();
    return this.screens;
  }

  // When something changes next, and when it did last.
  around() {
    const after = this.changes[this.next], before = this.changes[this.next - 1];
    return [before ? before[0] : 0, after ? after[0] : this.duration];
  }
}

// Where the film is after `passed` more seconds: pauses longer than `idle` (0: none is) are left out.
function advance(film, position, passed, idle) {
  const [before, after] = film.around();
  const wanted = position + passed;
  return idle && after - before > idle && wanted > before + idle && wanted < after ? after : wanted;
}

// Which of these times is the next one (way 1) or the one before (-1), in the order of time; -1 for none. `last` is where a
// step has led before: while that is the place of now, it goes on from there, so that none is left out.
const NEAR = 0.05, FAR = 2;
function stepped(times, now, way, last) {
  const order = times.map((_, at) => at).sort((a, b) => times[a] - times[b] || a - b);
  if (last >= 0 && now >= times[last] && now - times[last] <= FAR) {
    const place = order.indexOf(last) + way;
    return place >= 0 && place < order.length ? order[place] : -1;
  }
  const found = way > 0 ? order.filter((at) => times[at] > now + NEAR)[0] : order.filter((at) => times[at] < now - FAR).pop();
  return found === undefined ? -1 : found;
}

function clockText(seconds) {
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

// All of a recording at hand: what the player shows, by channel and second.
class Whole {
  constructor(recording) {
    this.film = new Film(recording);
    this.duration = this.film.duration;
    this.text = recording.lines;
  }

  // Can this moment be shown now? Where it cannot, `want` gets it, and calls `then`.
  ready() {
    return true;
  }

  at(channel, seconds) {
    return this.film.at(seconds).get(channel);
  }

  around() {
    return this.film.around();
  }

  // The lines around this moment; the same array while they are the same.
  lines() {
    return this.text;
  }
}

// All that comes of a recording is set as text: nothing of it is ever parsed as markup. `tape` gives the screens; `also` is
// what a page has besides: `pieces` of a text on the screen, `drawn(position)`, `moved(place)` to another address, `keys`.
function show(page, recording = JSON.parse(page.getElementById("recording").textContent), tape = new Whole(recording), also = {}) {
  const part = (id) => page.getElementById(id);
  const element = (name, text, kind) => {
    const made = page.createElement(name);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const view = page.defaultView;
  const duration = tape.duration;
  const known = new Set(recording.channels.map(([id]) => id));
  const pieces = also.pieces || ((text) => [text]);
  let position = 0, playing = false, painted = 0, command = -1, listed = null;

  for (const text of recording.heading) part("heading").append(element("li", text));
  if (recording.cut) part("heading").append(element("li", recording.cut));
  for (const [id, label] of recording.channels) {
    const option = element("option", label);
    option.value = id;
    part("channel").append(option);
  }
  if (recording.channel) part("channel").value = recording.channel;
  part("choice").hidden = recording.channels.length < 2;
  const entries = recording.commands.map(([time, channel, kind, text, came, guess]) => {
    const said = kind === "typed" ? text : `${kind} ${text}`;
    const line = element("li", "", guess ? "guess" : "");
    line.append(element("span", clockText(time), "time"), element("span", (guess ? "~ " : "") + said));
    if (came) line.append(element("span", came, "came"));
    part("commands").append(line);
    return { time, channel, line };
  });
  part("run").hidden = !entries.length;
  entries.forEach((one, at) => one.line.addEventListener("click", () => lead(at)));
  part("position").max = duration;

  function list(lines) {
    if (lines === listed) return;
    listed = lines;
    part("lines").replaceChildren(...lines.map(([time, text, ours]) => {
      const line = element("li", "", ours ? "ours" : "");
      line.append(element("span", clockText(time), "time"), element("span", ours ? `[bastion: ${text}]` : text));
      line.addEventListener("click", () => { seek(time); link(); });
      return line;
    }));
  }

  const chosen = () => Number(part("channel").value);

  function draw() {
    part("clock").textContent = `${clockText(position)} / ${clockText(duration)}`;
    part("position").value = position;
    part("play").textContent = playing ? "Pause" : "Play";
    if (!tape.ready(chosen(), position)) {
      part("note").textContent = "bastion: this moment is on its way";
      tape.want(chosen(), position, draw, failed);
      return;
    }
    const one = tape.at(chosen(), position);
    part("note").textContent = one && one.note ? `bastion: ${one.note}` : "";
    list(tape.lines(chosen(), position));
    if (also.drawn) also.drawn(position, playing);
    if (!one) return;
    const lines = Array.from({ length: one.rows }, (_, at) => one.lines[at] || "");
    const cells = Array.from(lines[one.y] || "");
    while (cells.length <= one.x) cells.push(" ");
    const cursor = element("span", cells[one.x], "cursor");
    const before = [...lines.slice(0, one.y), cells.slice(0, one.x).join("")].join("\n");
    const behind = [cells.slice(one.x + 1).join(""), ...lines.slice(one.y + 1)].join("\n");
    part("screen").replaceChildren(...pieces(before), cursor, ...pieces(behind));
  }

  function failed(text) {
    playing = false;
    part("play").textContent = "Play";
    part("note").textContent = `bastion: ${text}`;
  }

  // `#at=12.5&channel=3`: a link to a moment, which works in a page on disk too.
  function follow() {
    const wanted = new URLSearchParams(view ? view.location.hash.slice(1) : "");
    const channel = wanted.get("channel"), at = Number(wanted.get("at") || recording.at || 0);
    if (known.has(Number(channel)) && channel) part("channel").value = channel;
    if (Number.isFinite(at)) seek(at);
  }

  function link() {
    const at = Math.round(position * 10) / 10;
    const place = also.moved ? also.moved(at, chosen()) : `#at=${at}&channel=${chosen()}`;
    try { if (view) view.history.replaceState(null, "", place); } catch { /* a page on disk may not */ }
  }

  function seek(seconds) {
    position = Math.min(Math.max(seconds, 0), duration);
    draw();
  }

  // To a moment of a channel.
  function visit(time, channel) {
    part("channel").value = channel;
    seek(time);
    link();
  }

  // To a command, and the channel that it was on.
  function lead(at) {
    if (at < 0) return;
    if (command >= 0) entries[command].line.classList.remove("here");
    command = at;
    entries[at].line.classList.add("here");
    visit(entries[at].time, entries[at].channel);
  }

  function step(way) {
    lead(stepped(entries.map((one) => one.time), position, way, command));
  }

  function frame(now) {
    if (!playing) return;
    const passed = ((now - painted) / 1000) * Number(part("speed").value);
    painted = now;
    if (tape.ready(chosen(), position)) seek(advance(tape, position, passed, Number(part("idle").value)));
    else draw();
    if (position >= duration) playing = false;
    if (!playing) draw();
    else requestAnimationFrame(frame);
  }

  function toggle() {
    playing = !playing;
    if (!playing) link();
    if (playing && position >= duration) position = 0;
    draw();
    if (playing) requestAnimationFrame((now) => { painted = now; frame(now); });
  }

  function faster(way) {
    const speeds = Array.from(part("speed").children, (one) => one.value);
    const at = speeds.indexOf(part("speed").value) + way;
    if (speeds[at]) part("speed").value = speeds[at];
  }

  const keys = {
    " ": toggle,
    ArrowRight: () => seek(position + 5),
    ArrowLeft: () => seek(position - 5),
    PageDown: () => seek(position + 60),
    PageUp: () => seek(position - 60),
    Home: () => seek(0),
    End: () => seek(duration),
    "+": () => faster(1),
    "-": () => faster(-1),
    n: () => step(1),
    p: () => step(-1),
    ...(also.keys ? also.keys({ visit, now: () => position }) : {}),
  };
  part("play").addEventListener("click", toggle);
  part("position").addEventListener("input", () => seek(Number(part("position").value)));
  part("position").addEventListener("change", link);
  part("channel").addEventListener("change", () => { draw(); link(); });
  page.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !Object.hasOwn(keys, event.key)) return;
    if (["SELECT", "BUTTON", "A", "SUMMARY"].includes(event.target.tagName)) return;
    keys[event.key]();
    event.preventDefault();
  });
  // what is drawn anew cannot be selected
  part("screen").addEventListener("selectstart", () => { if (playing) toggle(); });
  if (view) view.addEventListener("hashchange", follow);
  follow();
  return { visit, now: () => position };
}

if (typeof document !== "undefined" && !document.getElementById("recording").dataset.parts) show(document);
