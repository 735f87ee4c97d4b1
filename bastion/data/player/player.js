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

// All that comes of a recording is set as text: nothing of it is ever parsed as markup.
function show(page) {
  const part = (id) => page.getElementById(id);
  const element = (name, text, kind) => {
    const made = page.createElement(name);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const recording = JSON.parse(part("recording").textContent);
  const film = new Film(recording);
  const view = page.defaultView;
  const duration = film.duration;
  let position = 0, playing = false, painted = 0, command = -1;

  for (const text of recording.heading) part("heading").append(element("li", text));
  if (recording.cut) part("heading").append(element("li", recording.cut));
  for (const [id, label] of recording.channels) {
    const option = element("option", label);
    option.value = id;
    part("channel").append(option);
  }
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
  for (const [time, text, ours] of recording.lines) {
    const line = element("li", "", ours ? "ours" : "");
    line.append(element("span", clockText(time), "time"), element("span", ours ? `[bastion: ${text}]` : text));
    line.addEventListener("click", () => seek(time));
    part("lines").append(line);
  }
  part("position").max = duration;

  function draw() {
    const one = film.at(position).get(Number(part("channel").value));
    part("clock").textContent = `${clockText(position)} / ${clockText(duration)}`;
    part("position").value = position;
    part("play").textContent = playing ? "Pause" : "Play";
    part("note").textContent = one && one.note ? `bastion: ${one.note}` : "";
    if (!one) return;
    const lines = Array.from({ length: one.rows }, (_, at) => one.lines[at] || "");
    const cells = Array.from(lines[one.y] || "");
    while (cells.length <= one.x) cells.push(" ");
    const cursor = element("span", cells[one.x], "cursor");
    const before = [...lines.slice(0, one.y), cells.slice(0, one.x).join("")].join("\n");
    const behind = [cells.slice(one.x + 1).join(""), ...lines.slice(one.y + 1)].join("\n");
    part("screen").replaceChildren(before, cursor, behind);
  }

  // `#at=12.5&channel=3`: a link to a moment, which works in a page on disk too.
  function follow() {
    const wanted = new URLSearchParams(view ? view.location.hash.slice(1) : "");
    const channel = wanted.get("channel"), at = Number(wanted.get("at") || 0);
    if (film.first.has(Number(channel)) && channel) part("channel").value = channel;
    if (Number.isFinite(at)) seek(at);
  }

  function link() {
    const at = Math.round(position * 10) / 10;
    const shown = `#at=${at}&channel=${Number(part("channel").value)}`;
    try { if (view) view.history.replaceState(null, "", shown); } catch { /* a page on disk may not */ }
  }

  function seek(seconds) {
    position = Math.min(Math.max(seconds, 0), duration);
    draw();
  }

  // To a command, and the channel that it was on.
  function lead(at) {
    if (at < 0) return;
    if (command >= 0) entries[command].line.classList.remove("here");
    command = at;
    entries[at].line.classList.add("here");
    part("channel").value = entries[at].channel;
    seek(entries[at].time);
    link();
  }

  function step(way) {
    lead(stepped(entries.map((one) => one.time), position, way, command));
  }

  function frame(now) {
    if (!playing) return;
    const passed = ((now - painted) / 1000) * Number(part("speed").value);
    painted = now;
    seek(advance(film, position, passed, Number(part("idle").value)));
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

  part("play").addEventListener("click", toggle);
  part("position").addEventListener("input", () => seek(Number(part("position").value)));
  part("channel").addEventListener("change", draw);
  page.addEventListener("keydown", (event) => {
    if (event.target.tagName === "SELECT" || event.target.tagName === "BUTTON") return;
    if (event.key === " ") toggle();
    else if (event.key === "ArrowRight") seek(position + 5);
    else if (event.key === "ArrowLeft") seek(position - 5);
    else if (event.key === "n") step(1);
    else if (event.key === "p") step(-1);
    else return;
    event.preventDefault();
  });
  if (view) view.addEventListener("hashchange", follow);
  follow();
}

if (typeof document !== "undefined") show(document);
