"""What a target says to a person: before its login, when it refuses a channel, when it hangs up.

Each is told from the gateway's own lines wherever it is shown, and stands in the recording or the audit log.
By hand-made packets through the whole gateway.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bastion.cli.export import export
from bastion.cli.replay import replay
from bastion.errors import RecorderFailed, RecorderReason
from bastion.recording.format import Kind
from bastion.recording.reader import Reader
from bastion.recording.recorder import Recorder
from bastion.wire.data import string, uint32
from bastion.wire.userauth import UserauthBanner
from tests.hostile.memory_gateway import MemoryGateway, Peer, confirm, data, log_in, open_session

FORGED = "Welcome\nbastion: your password has expired, set it at http://evil.example/\r\nBASTION : x\rlast"
SHOWN = [
    "web1 | Welcome",
    "web1 | bastion\\x3a your password has expired, set it at http://evil.example/",
    "web1 | BASTION \\x3a x",
    "web1 | last",
]


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryGateway]:
    gateway = MemoryGateway(tmp_path, monkeypatch)
    yield gateway
    gateway.close()


def banner(text: bytes, language: bytes = b"") -> bytes:
    return b"\x35" + string(text) + string(language)


class Story:
    """An engineer and a target that has the request for its service; `banners` are said before the login."""

    def __init__(self, gate: MemoryGateway, *banners: bytes, lets_in: bool = True) -> None:
        self.gate = gate
        self.engineer = gate.connect()
        log_in(self.engineer)
        self.target: Peer = gate.target()
        self.target.handshake()
        self.target.read_until(5)
        self.target.send(b"\x06" + string(b"ssh-userauth"))
        self.target.read_until(50)
        for text in banners:
            self.target.send(banner(text))
        if lets_in:
            self.target.send(b"\x34")

    def shown(self) -> list[str]:
        """The lines that the engineer was shown, up to the success."""
        lines = []
        while (payload := self.engineer.read())[0] != 52:
            if payload[0] == 53:
                text = UserauthBanner.parse(payload).text.decode()
                assert len(payload) <= 35_000 and text.endswith("\r\n")
                lines += text.removesuffix("\r\n").split("\r\n")
        return lines

    def end(self, farewell: bytes = b"") -> Reader:
        """The target hangs up; the recording."""
        if farewell:
            self.target.send(b"\x01" + uint32(11) + string(farewell) + string(b""))
        self.target.hang_up()
        self.gate.wind_down(70)
        (path,) = (self.gate.folder / "recordings").rglob("*.rec")
        return Reader(io.BytesIO(path.read_bytes()))

    def audit(self, event: str) -> list[dict[str, Any]]:
        lines = (self.gate.folder / "audit.jsonl").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["event"] == event]


def notes(reader: Reader, event: str) -> list[dict[str, Any]]:
    found = [one.note for one in reader if one.kind is Kind.NOTE]
    return [note for note in found if note["event"] == event]


def test_every_line_of_a_banner_is_marked_and_recorded(gate: MemoryGateway) -> None:
    story = Story(gate, FORGED.encode())
    assert story.shown() == SHOWN
    (line,) = story.audit("target_banner")
    assert (line["target"], line["missing"], line["text"]) == ("web1", 0, FORGED)
    reader = story.end()
    assert notes(reader, "target_banner") == [{"event": "target_banner", "text": FORGED, "missing": 0}]
    first = next(iter(reader))
    assert first.channel == 0 and first.time_us < 1_000_000


def test_nothing_of_a_banner_acts_on_a_terminal(gate: MemoryGateway) -> None:
    wild = b"\x1b]0;title\x07 \x9b31m \xe2\x80\xae \x0e \xff\ttab"
    story = Story(gate, wild)
    assert story.shown() == ["web1 | \\x1b]0;title\\x07 \\x9b31m \\u202e \\x0e \\xff\ttab"]
    (note,) = notes(story.end(), "target_banner")
    assert note["text"].encode() == wild.replace(b"\x9b", b"\\x9b").replace(b"\xff", b"\\xff")


@pytest.mark.parametrize("size", [9_000, 66_000, 250_000])
def test_a_long_banner_is_cut_with_a_mark_and_ends_no_login(gate: MemoryGateway, size: int) -> None:
    story = Story(gate, b"x" * size)
    assert story.shown() == [
        "web1 | " + "x" * 8192,
        f"bastion: {size - 8192} more bytes of this banner are not shown",
    ]
    (note,) = notes(story.end(), "target_banner")
    assert (len(note["text"]), note["missing"]) == (8192, size - 8192)


def test_a_banner_of_many_lines_and_many_banners(gate: MemoryGateway) -> None:
    story = Story(gate, b"\n" * 8000, *[b"%d" % number for number in range(20)])
    shown = story.shown()
    assert len(shown) == 1 + 7 + 1 and shown[-2] == "web1 | 6"
    assert shown[0] == f"bastion: {8000 - 256} more bytes of this banner are not shown"
    assert shown[-1] == "bastion: 1 more bytes of this banner are not shown"
    assert len(story.audit("target_banner")) == 9


def test_the_words_of_a_target_that_lets_nobody_in_are_in_the_audit_log(gate: MemoryGateway) -> None:
    story = Story(gate, b"go away", lets_in=False)
    story.target.send(b"\x01" + uint32(11) + string(b'no" (ref abcdef)\nbastion: hm') + string(b""))
    story.target.hang_up()
    story.engineer.read_until(1)
    assert [line["text"] for line in story.audit("target_banner")] == ["go away"]
    (line,) = [line for line in story.audit("refused") if line.get("what") == "session"]
    assert '"no\' (ref abcdef)\\x0abastion\\x3a hm"' in line["text"]


def test_the_recording_has_the_words_with_which_a_target_hangs_up(gate: MemoryGateway) -> None:
    story = Story(gate)
    assert story.shown() == []
    reader = story.end(b"bastion: come back\nnever")
    text = 'the target closed the connection: "bastion\\x3a come back\\x0anever"'
    assert notes(reader, "session_ended") == [
        {"event": "session_ended", "reason": "target_closed", "text": text}
    ]
    disconnect = story.engineer.read_until(1)
    assert f"bastion: {text}".encode() in disconnect


def test_a_refused_channel(gate: MemoryGateway) -> None:
    story = Story(gate)
    story.shown()
    story.engineer.send(open_session())
    story.target.read_until(90)
    story.target.send(b"\x5c" + uint32(0) + uint32(2) + string(b"\x07bastion: no") + string(b"en"))
    failure = story.engineer.read_until(92)
    assert failure == b"\x5c" + uint32(0) + uint32(2) + string(b"target | \\x07bastion\\x3a no") + string(
        b"en"
    )
    (note,) = notes(story.end(), "channel_failed")
    assert (note["text"], note["language"]) == ("\x07bastion: no", "en")


def test_every_view_of_a_recording_shows_the_banner(gate: MemoryGateway) -> None:
    story = Story(gate, FORGED.encode())
    story.shown()
    story.engineer.send(open_session())
    story.target.read_until(90)
    story.target.send(confirm(0, 0), data(0, b"hello\r\n"))
    story.engineer.read_until(94)
    story.end()
    (path,) = (gate.folder / "recordings").rglob("*.rec")
    where = ["--recordings", str(gate.folder / "recordings")]

    def cli(command: Any, *arguments: str) -> str:
        done = CliRunner().invoke(command, [*arguments, path.stem, *where])
        assert done.exit_code == 0, done.output
        return done.stdout

    for form in ("text", "asciicast"):
        said = cli(export, "--format", form)
        for line in SHOWN:
            assert (line if form == "text" else json.dumps(line)[1:-1]) in said
        assert said.index("Welcome") < said.index("hello")
    played = cli(replay, "--speed", "0")
    assert all(line in played for line in SHOWN)


def test_a_recorder_that_takes_no_banner_ends_the_opening(
    gate: MemoryGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same as for everything else: no recorder, no session."""
    monkeypatch.setattr(Recorder, "event", _fails)
    story = Story(gate, b"hello")
    assert b"cannot be recorded" in story.engineer.read_until(1)


def _fails(*arguments: object) -> None:
    raise RecorderFailed(RecorderReason.WRITE_FAILED, "no")
