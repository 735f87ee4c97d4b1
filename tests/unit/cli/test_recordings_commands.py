"""`bastion sessions`, `replay` and `export` on recordings made here."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from bastion.cli.export import export
from bastion.cli.output import CommandFailed
from bastion.cli.replay import Player, Terminal, parse_offset, replay
from bastion.cli.sessions import parse_since, sessions
from bastion.clock import FixedClock
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.format import Header
from bastion.recording.recorder import Recorder
from bastion.recording.render import ChannelSummary, Frame, FrameKind
from bastion.recording.store import Store
from tests.support.world import poll

FIRST, SECOND, THIRD = "aaaabbbbccccdddd", "aaaazzzzccccdddd", "bbbbbbbbccccdddd"
START = 1_800_000_000.0
PTY = {"name": "pty-req", "detail": {"term": "xterm", "cols": 80, "rows": 24}}


def record(store: Store, header: Header, end: bool = True, policy: RecordingPolicy | None = None) -> None:
    """A shell on channel 1 that shows text, an answer-provoking escape, stderr and a warning of ours."""
    clock = FixedClock()
    writer = store.create(header)
    recorder = Recorder(header, clock, policy)
    recorder.note("channel_opened", 1, {"kind": "session"})
    recorder.note("request_forwarded", 1, PTY)
    recorder.note("request_forwarded", 1, {"name": "shell", "detail": {}})
    recorder.data(1, 1, 0, b"\x1b[?1049h\x1b[32mhello\x1b[0m\x1b[6n\x1b]52;c;cm0=\x07\r\n")
    clock.advance(0.05)
    recorder.data(1, 1, 1, b"oops\r\n")
    recorder.injected(1, b"bye soon")
    clock.advance(0.05)
    recorder.data(1, 1, 0, b"done\r\n")
    writer.write(recorder.take())
    writer.close(recorder.finish("client_closed") if end else None)
    poll(lambda: writer.closed, text="the file was never closed")


def header(session_id: str, identity: str, target: str, started_at: float = START) -> Header:
    return Header(session_id, identity, "1", target, "deploy", started_at)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    store = Store(folder, disk_floor_bytes=0, sync_seconds=0.05)
    record(store, header(FIRST, "alice", "web1"))
    record(store, header(SECOND, "bob", "web2", START + 60))
    record(store, header(THIRD, "al\x1b]0;x\x07ce", "db1", START + 86400), end=False)
    yield folder
    assert store.close()


def run(command: click.Command, recordings: Path, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["--recordings", str(recordings), *arguments])


# -- sessions


def test_sessions_are_listed_newest_first_with_their_state(recordings: Path) -> None:
    lines = run(sessions, recordings).stdout.splitlines()
    assert lines[0].split() == ["ID", "STARTED", "WHO", "TARGET", "DURATION", "BYTES", "STATE"]
    assert [line.split()[0] for line in lines[1:]] == [THIRD, SECOND, FIRST]
    assert lines[1].endswith("truncated") and lines[2].endswith("ended")
    assert lines[3].split()[1:5] == ["2027-01-15", "08:00:00Z", "alice", "deploy@web1"]


def test_a_hostile_name_in_a_header_stays_on_its_line(recordings: Path) -> None:
    out = run(sessions, recordings).stdout
    assert "\x1b" not in out and "al\\x1b]0;x\\x07ce" in out


def test_sessions_are_chosen_by_user_target_time_and_life(recordings: Path) -> None:
    def ids(*arguments: str) -> list[str]:
        result = run(sessions, recordings, "--json", *arguments)
        return [entry["session_id"] for entry in json.loads(result.stdout)]

    assert ids() == [THIRD, SECOND, FIRST]
    assert ids("--user", "alice") == [FIRST]
    assert ids("--target", "web2") == [SECOND]
    assert ids("--since", "2027-01-16") == [THIRD]
    assert ids("--since", "2027-01-15T08:01:00") == [THIRD, SECOND]
    assert ids("--live") == []


def test_a_session_that_is_being_written_is_live(tmp_path: Path) -> None:
    store = Store(tmp_path, disk_floor_bytes=0, sync_seconds=0.05)
    recorder, writer = store.start(header(FIRST, "alice", "web1"))
    (entry,) = json.loads(run(sessions, tmp_path, "--live", "--json").stdout)
    assert entry["state"] == "live" and entry["identity"] == "alice"
    writer.close(recorder.finish("killed"))
    assert store.close()


def test_json_tells_everything_about_a_session(recordings: Path) -> None:
    (entry,) = json.loads(run(sessions, recordings, "--json", "--user", "alice").stdout)
    assert entry["reason"] == "client_closed" and entry["bytes"] == 40 + 6 + 6
    assert entry["duration"] == pytest.approx(0.1, abs=1e-5)
    assert Path(entry["file"]).stat().st_size == entry["file_size"]


def test_times_ago_and_dates_are_understood() -> None:
    assert parse_since("2h", 10_000.0) == 2800.0
    assert parse_since("1w", 700_000.0) == 95_200.0
    assert parse_since("1970-01-02", 0) == 86400.0
    assert parse_since("1970-01-01T01:00:00+01:00", 0) == 0.0
    for text in ("", "yesterday", "5y", "-3h"):
        with pytest.raises(CommandFailed):
            parse_since(text, 0)


# -- which recordings, which session


@pytest.mark.parametrize("command", [sessions, export, replay])
def test_every_command_lists_its_exit_codes(command: click.Command) -> None:
    assert "Exit codes: 0 " in CliRunner().invoke(command, ["--help"]).output


def test_no_folder_is_an_error_that_says_what_to_give(tmp_path: Path) -> None:
    result = CliRunner().invoke(sessions, [], env={"BASTION_CONFIG": ""})
    assert result.exit_code == 2 and "--recordings DIR or --config FILE" in result.stderr
    result = run(sessions, tmp_path / "missing")
    assert result.exit_code == 2 and "no folder of recordings" in result.stderr


def test_a_unique_beginning_of_an_id_is_enough(recordings: Path) -> None:
    assert run(export, recordings, "aaaab", "--format", "text").exit_code == 0


def test_an_ambiguous_id_is_refused_with_the_candidates(recordings: Path) -> None:
    result = run(export, recordings, "aaaa", "--format", "text")
    assert result.exit_code == 2 and FIRST in result.stderr and SECOND in result.stderr
    assert THIRD not in result.stderr


@pytest.mark.parametrize("name", ["nosuch", "../../etc/passwd", ""])
def test_an_unknown_id_is_exit_code_1(recordings: Path, name: str) -> None:
    result = run(export, recordings, name)
    assert result.exit_code in (1, 2) and result.stdout == ""
    if name:
        assert result.exit_code == 1


# -- export


def test_export_text(recordings: Path) -> None:
    result = run(export, recordings, FIRST, "--format", "text")
    assert result.stdout == "hello\noops\n[bastion: bye soon]\ndone\n"


def test_export_asciicast_is_the_default_and_safe_unless_asked_otherwise(recordings: Path) -> None:
    lines = [json.loads(line) for line in run(export, recordings, FIRST).stdout.splitlines()]
    assert lines[0]["version"] == 2
    assert lines[1] == [0.0, "o", "\x1b[?1049h\x1b[32mhello\x1b[0m\r\n"]
    unfiltered = run(export, recordings, FIRST, "--unfiltered").stdout.splitlines()
    assert "\x1b[6n" in json.loads(unfiltered[1])[2]


def test_export_raw_gives_the_exact_bytes_of_a_stream(recordings: Path) -> None:
    def exported(*arguments: str) -> bytes:
        return run(export, recordings, FIRST, "--format", "raw", "--channel", "1", *arguments).stdout_bytes

    hello = b"\x1b[?1049h\x1b[32mhello\x1b[0m\x1b[6n\x1b]52;c;cm0=\x07\r\n"
    assert exported("--stream", "stdout") == hello + b"bye soondone\r\n"
    assert exported("--target-only") == hello + b"done\r\n"
    assert exported("--stream", "stderr") == b"oops\r\n"
    assert exported("--stream", "stdin") == b""


def test_export_raw_says_when_bytes_are_missing(tmp_path: Path) -> None:
    store = Store(tmp_path, disk_floor_bytes=0, sync_seconds=0.05)
    head = header(FIRST, "alice", "web1")
    writer, recorder = store.create(head), Recorder(head, FixedClock(), RecordingPolicy(burst_bytes=5))
    recorder.data(1, 1, 0, bytes(50_000))
    writer.close([*(recorder.take() or []), *recorder.finish("client_closed")])
    assert store.close()
    result = run(export, tmp_path, FIRST, "--format", "raw")
    assert result.exit_code == 1 and f"{50_000 - 16_384 - 1024} bytes" in result.stderr
    assert result.stdout_bytes == bytes(16_384 + 1024)  # the beginning of the gap, and its end


def test_export_raw_of_an_unfinished_recording_says_so_and_is_no_failure(recordings: Path) -> None:
    result = run(export, recordings, THIRD, "--format", "raw")
    assert (
        result.exit_code == 0 and "no end mark" in result.stderr and result.stdout_bytes.endswith(b"done\r\n")
    )


def test_export_json_to_a_file_that_only_its_owner_reads(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = run(export, recordings, FIRST, "--format", "json", "-o", str(out))
    assert result.exit_code == 0 and result.stdout == ""
    kinds = [json.loads(line)["kind"] for line in out.read_text().splitlines()]
    assert kinds[0] == "header" and kinds[-1] == "end" and "injected" in kinds
    assert stat.S_IMODE(out.stat().st_mode) == 0o600


def test_a_channel_that_is_not_there_is_exit_code_1_and_makes_no_file(
    recordings: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run(export, recordings, FIRST, "--channel", "9", "-o", str(out))
    assert result.exit_code == 1 and "there is no channel 9" in result.stderr and "1: shell" in result.stderr
    assert not out.exists()


def test_what_is_no_recording_is_exit_code_1(tmp_path: Path) -> None:
    folder = tmp_path / "2027-01-15"
    folder.mkdir()
    (folder / f"{FIRST}.rec").write_bytes(b"something else")
    result = run(export, tmp_path, FIRST)
    assert result.exit_code == 1 and "not a recording" in result.stderr


def test_a_closed_pipe_ends_the_export_quietly(recordings: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "bastion",
        "export",
        "--recordings",
        str(recordings),
        FIRST,
        "--format",
        "json",
    ]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    child.wait(20)


# -- replay


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
    channel = ChannelSummary(1, has_pty=True)
    player = Player(film, channel, speed, idle, start, film.clock.monotonic)  # type: ignore[arg-type]
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
    player = Player(film, ChannelSummary(1), 0, None, 0, film.clock.monotonic)  # type: ignore[arg-type]
    player.play([Frame(0, FrameKind.NOTICE, b"lost"), Frame(0, FrameKind.OUTPUT, b"a\nb")])
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
