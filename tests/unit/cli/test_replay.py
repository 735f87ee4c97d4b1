"""`bastion replay`: what is shown when, and the terminal afterwards."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bastion.cli.output import CommandFailed
from bastion.cli.replay import Player, Terminal, parse_offset, replay
from bastion.clock import FixedClock
from bastion.recording.frames import Frame, FrameKind
from tests.unit.cli.made import FIRST, run


class Film:
    """A terminal and its clock: waiting moves the clock, keys come from a script of (time, key)."""

    def __init__(self, keys: list[tuple[float, str]] | None = None) -> None:
        self.clock = FixedClock(0.0)
        self.keys = keys or []
        self.shown: list[tuple[float, str]] = []

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


FRAMES = [
    Frame(0.0, FrameKind.OUTPUT, b"a"),
    Frame(2.0, FrameKind.OUTPUT, b"b"),
    Frame(2.5, FrameKind.INPUT, b"typed"),
    Frame(60.0, FrameKind.OUTPUT, b"c"),
]


def play(film: Film, speed: float = 1.0, idle: float | None = None, start: float = 0.0) -> Player:
    player = Player(film, speed, idle, start, film.clock.monotonic)  # type: ignore[arg-type]
    player.play(FRAMES)
    return player


def test_frames_are_shown_when_they_are_due_and_input_is_not() -> None:
    film = Film()
    play(film)
    assert film.shown == [(0.0, "a"), (2.0, "b"), (60.0, "c")]


def test_speed_and_idle_limit_shorten_the_waiting() -> None:
    film = Film()
    play(film, speed=2.0, idle=10.0)
    assert film.shown == [(0.0, "a"), (1.0, "b"), (6.25, "c")]
    film = Film()
    play(film, speed=0)
    assert film.shown == [(0.0, "a"), (0.0, "b"), (0.0, "c")]


def test_playing_from_an_offset_shows_what_was_before_at_once() -> None:
    film = Film()
    play(film, start=59.0)
    assert film.shown == [(0.0, "a"), (0.0, "b"), (1.0, "c")]


def test_space_pauses_and_the_rest_is_shifted() -> None:
    film = Film([(1.0, " "), (31.0, "x"), (41.0, " ")])
    play(film)
    assert film.shown == [(0.0, "a"), (42.0, "b"), (100.0, "c")]


def test_q_ends_the_playing_also_in_a_pause() -> None:
    for keys in ([(3.0, "q")], [(3.0, " "), (9.0, "q")]):
        film = Film(list(keys))
        assert play(film).quit
        assert film.shown == [(0.0, "a"), (2.0, "b")]


def test_notices_are_marked_as_the_gateways() -> None:
    film = Film()
    player = Player(film, 0, None, 0, film.clock.monotonic)  # type: ignore[arg-type]
    player.play([Frame(0, FrameKind.NOTICE, b"lost"), Frame(0, FrameKind.OUTPUT, b"a\nb", 1, terminal=False)])
    assert [text for _, text in film.shown] == ["\r\n\x1b[7m[bastion: lost]\x1b[27m\r\n", "a\r\nb"]


def test_offsets_are_seconds_or_a_clock() -> None:
    assert [parse_offset(text) for text in ("90", "1:30", "1:02:03.5")] == [90.0, 90.0, 3723.5]
    for text in ("", "-1", "1:2:3:4", "soon"):
        with pytest.raises(CommandFailed):
            parse_offset(text)


def test_replay_into_a_pipe_shows_only_what_is_safe(recordings: Path) -> None:
    result = run(replay, recordings, FIRST)
    assert result.exit_code == 0
    assert result.stdout_bytes == (
        b"\x1b[?1049h\x1b[32mhello\x1b[0m\r\noops\r\n\x1b[7m[bastion] bye soon\x1b[27mdone\r\n"
    )


def test_waiting_without_a_terminal_takes_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with Terminal() as terminal:
            assert terminal.key(0.01) == ""


@contextmanager
def replayed(recordings: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    """`bastion replay` on a terminal of its own: the process, our end and its end."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "bastion", "replay", "--recordings", str(recordings), *arguments]
    child = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        # A job in the background of a shell ignores SIGINT, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "TERM": "xterm", "PYTHONUTF8": "1"},
    )
    try:
        yield child, ours, theirs
    finally:
        child.kill()
        child.wait()
        os.close(ours)
        os.close(theirs)


def read_until(fd: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        ready, _, _ = select.select([fd], [], [], 20)
        assert ready, f"nothing more came after {seen!r}"
        seen += os.read(fd, 4096)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("how", ["q", "interrupt", "terminate", "end"])
def test_however_a_replay_ends_the_terminal_is_as_before(recordings: Path, how: str) -> None:
    speed = "1" if how == "end" else "0.001"  # slow: the second frame is 50 s away
    with replayed(recordings, FIRST, "--speed", speed) as (child, ours, theirs):
        before = termios.tcgetattr(theirs)
        seen = read_until(ours, b"hello")
        if how != "end":
            assert not termios.tcgetattr(theirs)[3] & termios.ICANON
        if how == "q":
            os.write(ours, b"q")
        elif how == "interrupt":
            child.send_signal(signal.SIGINT)
        elif how == "terminate":
            child.send_signal(signal.SIGTERM)
        seen += read_until(ours, b"\x1b[?25h\r")
        assert child.wait(20) == 0
        assert termios.tcgetattr(theirs) == before
        assert b"\x1b[?1049l" in seen and b"\x1b[0m" in seen
        assert b"\x1b[6n" not in seen and b"\x1b]" not in seen
