"""A recording as an HTML page: what a browser would make of it, and the player's own screens."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bastion.recording import page as page_module
from bastion.recording.channels import choose_channel, survey
from bastion.recording.page import Page
from bastion.recording.redacted import reading
from bastion.recording.redacting import Redaction
from bastion.recording.terminal import Terminal
from bastion.relay import events as relay
from tests.support.command_score import recorded, trace
from tests.unit.recording.samples import Tape, full, header
from tests.unit.recording.test_render import open_shell, run_command, shell

PLAYER = Path(__file__).parents[3] / "bastion" / "data" / "player"
SCRIPT, STYLE = (PLAYER / "player.js").read_text(), (PLAYER / "player.css").read_text()
PROMPT = b"alice@web1:~$ "
HOSTILE = b"</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> &lt;b&gt; ]]> \xe2\x80\xa8 "


class Elements(HTMLParser):
    """What a page is made of: elements in order, and the text of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.texts.append("")
        self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data

    def named(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(one[1], text) for one, text in zip(self.found, self.texts, strict=True) if one[0] == tag]


def made(tape: Tape, whole: bool = False) -> tuple[str, Page]:
    reader = tape.reader()
    found = survey(reader)
    page = Page(reader, found, choose_channel(found.channels, None), whole, (SCRIPT, STYLE))
    return "".join(page.pieces()), page


def recording(text: str) -> Any:
    return json.loads(
        next(body for at, body in Elements(text).named("script") if at.get("id") == "recording")
    )


def hostile() -> Tape:
    tape = Tape(full())
    tape.recorder.note("target_banner", 0, {"text": HOSTILE.decode(), "missing": 0})
    open_shell(tape)
    run_command(tape, 2, HOSTILE.decode())
    tape.out(HOSTILE + b"\x1b]0;" + HOSTILE + b"\x07\x1b_" + HOSTILE + b"\x1b\\\r\n")
    return tape.end()


def test_what_was_recorded_adds_no_element_and_no_attribute_to_the_page() -> None:
    quiet, loud = Elements(made(shell().end())[0]), Elements(made(hostile())[0])
    assert loud.found == quiet.found or [one[0] for one in loud.found] == [one[0] for one in quiet.found]
    assert {key for _, attributes in loud.found for key in attributes if key.startswith("on")} == set()
    shown = "".join(line[1] for line in recording(made(hostile())[0])["lines"])
    assert "<img src=x onerror=alert(2)>" in shown and "</script><script>alert(1)</script>" in shown


def test_the_policy_comes_first_and_names_the_hashes_of_the_two_and_nothing_else() -> None:
    text, _ = made(hostile())
    elements = Elements(text)
    head = [tag for tag, _ in elements.found]
    assert head.index("meta") < min(head.index("script"), head.index("style"), head.index("title"))
    metas = elements.named("meta")
    assert metas[0][0] == {"charset": "utf-8"}
    assert metas[1][0]["http-equiv"] == "Content-Security-Policy"
    policy = dict(part.split(" ", 1) for part in str(metas[1][0]["content"]).split("; "))

    def hashed(body: str) -> str:
        return f"'sha256-{b64encode(sha256(body.encode()).digest()).decode()}'"

    run = [body for attributes, body in elements.named("script") if not attributes]
    assert policy["script-src"] == " ".join(hashed(body) for body in run) and len(run) == 1
    assert policy["style-src"] == hashed(elements.named("style")[0][1])
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"


def test_nothing_is_loaded_from_elsewhere() -> None:
    text, _ = made(shell().end())
    assert {tag for tag, _ in Elements(text).found} & {
        "link",
        "img",
        "iframe",
        "object",
        "base",
        "form",
    } == set()
    assert not re.search(r"\b(?:src|href|srcset|action)\s*=", text.replace(SCRIPT, ""))
    assert "://" not in SCRIPT + STYLE and "import" not in STYLE
    for sink in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval",
        "Function(",
        "fetch",
    ):
        assert sink not in SCRIPT


def test_the_page_names_every_channel_and_holds_the_text_with_times() -> None:
    tape = shell()
    run_command(tape, 2, "rm -rf /x")
    found = recording(made(tape.end())[0])
    assert any("exec rm -rf /x" in line for line in found["heading"])
    assert [one[0] for one in found["channels"]] == [1]
    assert [1.5, "$ ls", 0] in found["lines"] and [2.5, "bastion: 5 minutes left", 1] in found["lines"]
    both = recording(made(tape, whole=True)[0])
    assert [one[0] for one in both["channels"]] == [1, 2] and "exec rm -rf /x" in both["channels"][1][1]


def test_a_title_is_text_too() -> None:
    tape = Tape(full())
    tape.recorder = type(tape.recorder)(header(identity="<b>&\"'"), tape.clock, tape.policy)
    tape.file = b"".join(tape.recorder.take() or [])
    open_shell(tape)
    text, _ = made(tape.end())
    assert Elements(text).named("b") == []
    assert "&lt;b&gt;&amp;&quot;&#x27;: deploy@web1" in text


def test_a_page_has_a_largest_size_and_says_where_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "LARGEST_PAGE", 4000)
    tape = Tape(full())
    open_shell(tape)
    for number in range(200):
        tape.clock.advance(1)
        tape.out(f"line number {number}\r\n".encode())
    text, page = made(tape.end())
    assert page.cut and "longer than a page" in recording(text)["cut"]
    assert len(text) < 4000 + len(SCRIPT) + len(STYLE) + 4000


def typed_shell() -> Tape:
    """Two commands at a shell on channel 1, the second behind its prompt of 5 s, and an exec on channel 2."""
    tape = Tape(full())
    open_shell(tape, cols=40, rows=10)
    for piece in (PROMPT, b"ls", b"\r\n", b"a b\r\n", PROMPT, b"rm \x1b[31m-rf\x1b[m /<x>", b"\r\n", PROMPT):
        tape.clock.advance(1)
        tape.out(piece)
    run_command(tape, 2, "false\x1b[m\nrm '</script>'")
    tape.clock.advance(1)
    tape.recorder.event(relay.ExitStatus(2, 1))
    return tape.end()


def test_commands_stand_in_the_page_with_their_times_and_what_is_a_guess() -> None:
    alone, _ = made(typed_shell())
    assert recording(alone)["commands"] == [
        [1.0, 1, "typed", "ls", "", 1],
        [5.0, 1, "typed", "rm -rf /<x>", "", 1],
    ]
    both, _ = made(typed_shell(), whole=True)
    assert recording(both)["commands"][2:] == [[8.0, 2, "exec", "false\\x1b[m\nrm '</script>'", "exit 1", 0]]
    assert both.count("</script>") == alone.count("</script>") == 2


def test_what_the_shell_marks_is_no_guess_and_secrets_are_masked() -> None:
    marked = recording(made(recorded(trace("osc-plain"), with_input=False))[0])["commands"]
    assert {one[5] for one in marked} == {0} and "exit 1" in [one[4] for one in marked if one[3] == "false"]
    tape = Tape(full())
    open_shell(tape)
    for piece in (PROMPT, b"export PASSWORD=hun", b"ter2horse", b"\r\n", PROMPT):
        tape.out(piece)
    reader = reading(Redaction.of())(io.BytesIO(tape.end().file))
    found = survey(reader)
    page = Page(reader, found, choose_channel(found.channels, None), False, (SCRIPT, STYLE))
    text = "".join(page.pieces())
    (command,) = recording(text)["commands"]
    assert command[3] == "export PASSWORD=[redacted:password]" and "horse" not in text


def test_commands_have_a_largest_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MOST_COMMANDS", 1)
    text, page = made(typed_shell())
    assert page.cut and len(recording(text)["commands"]) == 1


DOCUMENT = """
class Element {
  constructor(name) {
    Object.assign(this, { tagName: name.toUpperCase(), children: [], heard: {}, own: "", className: "", value: "" });
    const names = () => this.className.split(" ").filter(Boolean);
    this.classList = {
      add: (one) => { this.className = [...names(), one].join(" "); },
      remove: (one) => { this.className = names().filter((other) => other !== one).join(" "); },
    };
  }
  append(...more) {
    this.children.push(...more);
    if (this.tagName === "SELECT" && this.value === "") this.value = more[0].value;
  }
  replaceChildren(...more) { this.children = more; }
  addEventListener(name, heard) { this.heard[name] = heard; }
  get textContent() {
    return this.children.map((one) => typeof one === "string" ? one : one.textContent).join("") || this.own;
  }
  set textContent(text) { this.own = text; this.children = []; }
}
const parts = new Map();
const page = new Element("document");
page.createElement = (name) => new Element(name);
page.getElementById = (id) => {
  if (!parts.has(id)) parts.set(id, new Element(id === "channel" ? "select" : "div"));
  return parts.get(id);
};
const part = page.getElementById;
const press = (key) => page.heard.keydown({ key, target: { tagName: "BODY" }, preventDefault() {} });
part("recording").textContent = require("fs").readFileSync(process.argv[2], "utf8");
const state = () => [
  part("clock").textContent, Number(part("channel").value), part("screen").textContent.trimEnd(),
  part("commands").children.map((one) => one.className),
];
"""
"""As much of a browser's document as the player uses."""


def in_node(tmp_path: Path, text: str, program: str) -> Any:
    """What a program says that runs behind the player, on the recording of a page."""
    (tmp_path / "recording.json").write_text(json.dumps(recording(text)))
    (tmp_path / "test.js").write_text(SCRIPT + DOCUMENT + program)
    done = subprocess.run(
        ["node", tmp_path / "test.js", tmp_path / "recording.json"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_a_command_is_clicked_and_stepped_to(tmp_path: Path) -> None:
    program = """
    show(page);
    const lines = part("commands").children;
    const said = [part("run").hidden, lines.map((one) => one.children.map((two) => two.textContent))];
    part("commands").children[1].heard.click();
    said.push(state());
    for (const key of "nnppp") { press(key); said.push(state().slice(0, 2)); }
    said.push(stepped([3, 1, 1], 0, 1, -1), stepped([3, 1, 1], 1, 1, 1), stepped([3, 1, 1], 1, 1, 2));
    said.push(stepped([3, 1, 1], 9, -1, 1), stepped([3], 4, -1, -1));
    console.log(JSON.stringify(said));
    """
    hidden, shown, clicked, *more = in_node(tmp_path, made(typed_shell(), whole=True)[0], program)
    assert not hidden and shown == [
        ["0:00:01", "~ ls"],
        ["0:00:05", "~ rm -rf /<x>"],
        ["0:00:08", "exec false\\x1b[m\nrm '</script>'", "exit 1"],
    ]
    prompt = PROMPT.decode().rstrip()
    assert clicked == ["0:00:05 / 0:00:09", 1, f"{prompt} ls\na b\n{prompt}", ["guess", "guess here", ""]]
    eight, five, one = (["0:00:08 / 0:00:09", 2], ["0:00:05 / 0:00:09", 1], ["0:00:01 / 0:00:09", 1])
    assert more[:5] == [eight, eight, five, one, one]
    assert more[5:] == [1, 2, 0, 0, -1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_player_shows_what_the_terminal_showed_at_every_time_in_any_order(tmp_path: Path) -> None:
    tape, terminal = Tape(full()), Terminal(40, 10, lambda row, lost: None)
    open_shell(tape, cols=40, rows=10)
    expected: dict[int, list[str]] = {}
    for number in range(1, 1200):
        tape.clock.advance(1)
        data = (
            f"\x1b[{number % 10 + 1};{number % 30}H{number}\x1b[K".encode() if number % 7 else b"\r\nx\x1b[3L"
        )
        tape.out(data)
        terminal.feed(data, 0.0)
        expected[number] = [row.text for row in terminal.screen]
    (tmp_path / "recording.json").write_text(json.dumps(recording(made(tape.end())[0])))
    times = [1, 1199, 600, 601, 3, 999, 998, 500, 1000]
    program = """
    const film = new Film(JSON.parse(require("fs").readFileSync(process.argv[2], "utf8")));
    const seen = JSON.parse(process.argv[3]).map((time) => {
      const one = film.at(time).get(1);
      return Array.from({ length: one.rows }, (_, at) => one.lines[at] || "");
    });
    film.at(10);
    console.log(JSON.stringify([seen, advance(film, 10, 0.5, 0.2), advance(film, 10, 0.5, 0), film.duration]));
    """
    (tmp_path / "test.js").write_text(SCRIPT + program)
    done = subprocess.run(
        ["node", tmp_path / "test.js", tmp_path / "recording.json", json.dumps(times)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    seen, skipping, as_recorded, duration = json.loads(done.stdout)
    assert seen == [expected[time] for time in times]
    assert (skipping, as_recorded, duration) == (11, 10.5, 1199)
