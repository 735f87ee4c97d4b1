"""Playing: what is shown when, and what keys do."""

from __future__ import annotations

import io
import os
import sys

import pytest

from bastion.cli import playing
from bastion.cli.playing import Player, Terminal, stepped
from bastion.clock import FixedClock
from bastion.recording.channels import survey
from bastion.recording.commands import Command
from bastion.recording.format import Header
from bastion.recording.reader import Reader
from bastion.recording.recorder import Recorder
from bastion.recording.seeking import Film
from bastion.recording.snapshots import KeptTerminal
from bastion.recording.store import Store
from tests.support.world import poll


class Seat:
    """A terminal and its clock: waiting moves the clock, keys come from a script of (time, key)."""

    def __init__(self, keys: list[tuple[float, str]] | None = None, interactive: bool = False) -> None:
        self.clock = FixedClock(0.0)
        self.keys = keys or []
        self.interactive = interactive
        self.shown: list[tuple[float, str]] = []
        self.screen = KeptTerminal(80, 24, lambda row, lost: None)

    def key(self, seconds: float | None) -> str:
        if self.keys and (seconds is None or self.keys[0][0] <= self.clock.now + seconds):
            at, key = self.keys.pop(0)
            self.clock.now = max(self.clock.now, at)
            return key
        assert seconds is not None, "paused for ever"
        self.clock.advance(seconds)
        return ""

    def write(self, text: str) -> None:
        self.shown.append((round(self.clock.now, 3), text))
        self.screen.feed(text.encode(), 0.0)

    @property
    def line(self) -> str:
        """The last one, where the words of ours stand."""
        return self.screen.screen[-1].text


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A shell that shows a at once, b after 2 s, and c after 60 s."""
    about = Header("p" * 16, "alice", "u", "web1", "deploy", 1_800_000_000.0)
    store, clock = Store(tmp_path_factory.mktemp("playing"), disk_floor_bytes=0), FixedClock()
    writer, recorder = store.create(about), Recorder(about, clock)
    recorder.note("channel_opened", 1, {"kind": "session"})
    size = {"term": "xterm", "cols": 80, "rows": 24}
    recorder.note("request_forwarded", 1, {"name": "pty-req", "detail": size})
    for pause, text in ((0, b"a"), (2, b"b"), (58, b"c")):
        clock.advance(pause)
        recorder.data(1, 1, 0, text)
        writer.write(recorder.take())
    writer.close(recorder.finish("client_closed"))
    poll(lambda: writer.closed, text="the file was never closed")
    assert store.close()
    return writer.path.read_bytes()


COMMANDS = [Command("s", 1, "exec", f"command {at}\x1b", at, at, at) for at in (2.0, 30.0)]


def play(
    file: bytes, seat: Seat, speed: float = 1.0, idle: float | None = None, start: float = 0.0
) -> Player:
    reader = Reader(io.BytesIO(file))
    film = Film(reader, survey(reader).channels[1], drawn=seat.interactive)
    player = Player(
        seat,  # type: ignore[arg-type]
        film,
        speed,
        idle,
        length=60.0,
        commands=lambda: COMMANDS,
        monotonic=seat.clock.monotonic,
    )
    player.play(start)
    return player


def test_frames_are_shown_when_they_are_due(file: bytes) -> None:
    seat = Seat()
    play(file, seat)
    assert seat.shown == [(0.0, "a"), (2.0, "b"), (60.0, "c")]


def test_speed_and_idle_limit_shorten_the_waiting(file: bytes) -> None:
    seat = Seat()
    play(file, seat, speed=2.0, idle=10.0)
    assert seat.shown == [(0.0, "a"), (1.0, "b"), (6.0, "c")]
    seat = Seat()
    play(file, seat, speed=0)
    assert seat.shown == [(0.0, "a"), (0.0, "b"), (0.0, "c")]


def test_playing_from_an_offset_shows_the_screen_of_then(file: bytes) -> None:
    seat = Seat()
    play(file, seat, start=59.0)
    assert [at for at, _ in seat.shown] == [0.0, 1.0] and seat.shown[-1] == (1.0, "c")
    assert seat.screen.screen[0].text == "abc"


def test_space_pauses_and_the_rest_is_shifted(file: bytes) -> None:
    seat = Seat([(1.0, " "), (31.0, "x"), (41.0, " ")])
    play(file, seat)
    assert seat.shown == [(0.0, "a"), (42.0, "b"), (100.0, "c")]


def test_q_ends_the_playing_also_in_a_pause(file: bytes) -> None:
    for keys in ([(3.0, "q")], [(3.0, " "), (9.0, "q")]):
        seat = Seat(list(keys))
        assert play(file, seat).quit
        assert seat.shown == [(0.0, "a"), (2.0, "b")]


@pytest.mark.parametrize(
    ("keys", "end"),
    [
        (["right"], 50.0),
        (["right", "right", "left"], 50.0),
        (["up", " "], 0.0),
        (["up", "down", " "], 60.0),
        (["end", " "], 0.0),
        (["end", "home", " "], 60.0),
        (["n"], 58.0),
        (["n", "n"], 30.0),
        (["n", "n", "p"], 58.0),
        (["n", "n", "n", "p", "p"], 60.0 - 2.0),
        (["+"], 30.0),
        (["+", "+", "-"], 30.0),
        (["-"], 120.0),
        (["x", "other", "?"], 60.0),
    ],
)
def test_keys_go_through_the_recording(file: bytes, keys: list[str], end: float) -> None:
    """All pressed at the beginning: when the playing ends then, and that the screen is right."""
    seat = Seat([(0.0, key) for key in keys], interactive=True)
    play(file, seat)
    assert seat.clock.now == pytest.approx(end, abs=0.02)
    assert seat.screen.screen[0].text == "abc" and not seat.line


def test_a_pause_says_where_it_is_and_everything_can_be_done_in_it(file: bytes) -> None:
    seat = Seat([(1.0, " "), (5.0, "n"), (6.0, "."), (9.0, "q")], interactive=True)
    lines: list[str] = []
    write = seat.write

    def watched(text: str) -> None:
        write(text)
        lines.append(seat.line)

    seat.write = watched  # type: ignore[method-assign]
    assert play(file, seat).quit
    assert any("0:00:01 / 0:01:00  1x  paused" in line for line in lines)
    assert any("0:00:02" in line and "command 1 of 2: command 2.0\\x1b" in line for line in lines)
    assert any(line.lstrip().startswith("0:01:00 / 0:01:00") for line in lines)  # the step after b is c
    assert seat.screen.screen[0].text == "abc" and seat.line == ""


@pytest.mark.parametrize(
    ("offsets", "now", "last", "after", "before"),
    [
        ([], 1.0, None, None, None),
        ([2.0, 30.0], 0.0, None, 0, None),
        ([2.0, 30.0], 2.0, None, 1, None),
        ([2.0, 30.0], 31.0, None, None, 0),  # just behind one that nobody stepped to: to the one before
        ([2.0, 30.0], 40.0, None, None, 1),
        ([1.0, 1.5, 2.0], 1.5, 1, 2, 0),  # closer than anybody presses keys
        ([1.0, 1.5, 2.0], 2.9, 1, 2, 0),
        ([1.0, 1.5, 2.0], 9.0, 1, None, 2),  # long ago
        ([5.0, 5.0, 5.0], 5.0, 1, 2, 0),
        ([5.0, 1.0, 3.0], 3.0, 2, 0, 1),  # in the order of time
        ([5.0, 1.0, 3.0], 1.0, 1, 2, None),
    ],
)
def test_steps_leave_no_command_out(
    offsets: list[float], now: float, last: int | None, after: int | None, before: int | None
) -> None:
    assert (stepped(offsets, now, 1, last), stepped(offsets, now, -1, last)) == (after, before)


def test_the_help_goes_while_the_playing_goes_on(file: bytes) -> None:
    seat = Seat([(0.5, "?")], interactive=True)
    play(file, seat)
    said = [at for at, text in seat.shown if "space pause" in text]
    gone = [at for at, text in seat.shown if at > 0.5 and "space pause" not in text]
    assert said[0] == 0.5 and gone[0] == 0.5 + playing.TOLD_SECONDS and seat.shown[-1][0] == 60.0


def test_waiting_without_a_terminal_takes_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with Terminal() as terminal:
            assert terminal.key(0.01) == ""


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        (b"x", "x"),
        (b"\x1b[C", "right"),
        (b"\x1bOD", "left"),
        (b"\x1b[1~", "home"),
        (b"\x1b", "other"),
        (b"\x1b[19;2~", "other"),
    ],
)
def test_keys_have_names(monkeypatch: pytest.MonkeyPatch, sent: bytes, key: str) -> None:
    ours, theirs = os.openpty()
    with open(theirs) as source, monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", source)
        with Terminal() as terminal:
            os.write(ours, sent)
            assert terminal.key(5.0) == key and terminal.key(0.0) == ""
    os.close(ours)
