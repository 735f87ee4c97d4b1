"""`bastion replay`: what is shown when, and the terminal afterwards."""

from __future__ import annotations

import json
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

from bastion.cli.commands import commands
from bastion.cli.index import index
from bastion.cli.replay import replay
from bastion.recording import keyframes
from bastion.recording.redacting import NOTHING, Redaction
from tests.support.world import poll
from tests.unit.cli.made import FIRST, run
from tests.unit.recording.made_terminals import recorded_terminal, some_output

PROMPT = b"alice@web1:~$ "


def test_replay_into_a_pipe_shows_only_what_is_safe(recordings: Path) -> None:
    result = run(replay, recordings, FIRST)
    assert result.exit_code == 0
    assert result.stdout_bytes == (
        b"\x1b[?1049h\x1b[32mhello\x1b[0m\r\noops\r\n\x1b[7m[bastion] bye soon\x1b[27mdone\r\n"
    )


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a recording of 71 s, of two terminals and an exec, that an index has read."""
    monkeypatch.setattr(keyframes, "EVERY", 2000)
    monkeypatch.setattr(keyframes, "CELL_COST", 0)
    pieces = some_output(60)
    pieces[38:42] = [b"\x1b[?1049l\x1b[H$ export PASSWORD=hun", b"ter", b"2ho", b"rse\r\nas it was\r\n"]
    recorded_terminal(tmp_path, pieces, other=True)
    assert run(index, tmp_path).exit_code == 0
    return tmp_path


def test_what_the_index_leads_to_is_what_reading_from_the_beginning_does(long: Path) -> None:
    for at in ("40", "0:40", "40s", "end-25", "2027-01-15T08:00:40Z"):
        there = run(replay, long, "seek", "--at", at, "--speed", "0")
        plain = run(replay, long, "seek", "--at", at, "--speed", "0", "--no-index")
        assert there.exit_code == plain.exit_code == 0
        assert there.stdout_bytes == plain.stdout_bytes != b""
        assert b"PASSWORD=[redacted:password]" in plain.stdout_bytes and b"ho" not in plain.stdout_bytes
        assert "1 secret is masked (password 1)" in there.stderr
        assert "opened at 0:00:" in there.stderr and "`bastion verify` does" in there.stderr
        assert "opened at" not in plain.stderr
    everything = run(replay, long, "seek", "--speed", "0")
    assert everything.stdout_bytes == run(replay, long, "seek", "--speed", "0", "--no-index").stdout_bytes
    assert run(replay, long, "seek", "--all", "--at", "40", "--speed", "0").exit_code == 0


def test_an_index_that_is_damaged_or_of_another_file_is_not_used(long: Path) -> None:
    plain = run(replay, long, "seek", "--at", "40", "--speed", "0", "--no-index").stdout_bytes
    (file,) = long.glob("2*/*.rec")
    os.utime(file, ns=(1, 1))
    found = run(replay, long, "seek", "--at", "40", "--speed", "0")
    assert found.stdout_bytes == plain and "opened at" not in found.stderr
    (long / "index" / "reading.db").write_bytes(b"rubbish" * 1000)
    found = run(replay, long, "seek", "--at", "40", "--speed", "0")
    assert found.stdout_bytes == plain and "the reading index is not used" in found.stderr


def test_a_replay_begins_at_a_command(long: Path) -> None:
    listed = json.loads(run(commands, long, "--json").stdout)
    by_offset = run(replay, long, *listed["replay"].split(), "--speed", "0")
    for more in ((), ("--no-index",), ("--channel", "3")):
        found = run(replay, long, "seek", "--command", "1", "--speed", "0", *more)
        assert found.exit_code == 0 and "channel 3: exec uptime" in found.stderr
        assert found.stdout_bytes == by_offset.stdout_bytes and b"up 5 days" in found.stdout_bytes
    missing = run(replay, long, "seek", "--command", "2")
    assert missing.exit_code == 1 and "the session has 1" in missing.stderr
    assert run(replay, long, "seek", "--command", "1", "--channel", "1").exit_code == 2


@pytest.fixture
def typed(tmp_path: Path) -> Path:
    """A folder with a recording of a shell at which three commands were typed, a piece of it each second."""
    pieces = [PROMPT, b"ls", b"\r\n", b"a b\r\n" + PROMPT, b"id", b"\r\n" + PROMPT, b"exit", b"\r\n"]
    recorded_terminal(tmp_path, pieces)
    return tmp_path


def test_a_replay_begins_at_a_typed_command_with_and_without_an_index(typed: Path) -> None:
    listed = [json.loads(line) for line in run(commands, typed, "--json").stdout.splitlines()]
    assert [(one["kind"], one["text"], one["offset"], one["source"]) for one in listed] == [
        ("typed", text, offset, "heuristic") for text, offset in (("ls", 1.0), ("id", 4.0), ("exit", 6.0))
    ]
    assert run(index, typed).exit_code == 0
    assert [json.loads(line) for line in run(commands, typed, "--json").stdout.splitlines()] == listed
    for more in ((), ("--no-index",)):
        found = run(replay, typed, "seek", "--command", "2", "--speed", "0", *more)
        by_offset = run(replay, typed, *listed[1]["replay"].split(), "--speed", "0", *more)
        assert found.exit_code == 0 and found.stdout_bytes == by_offset.stdout_bytes
        assert found.stdout_bytes.index(b"a b") < found.stdout_bytes.index(b"id")
    assert "the session has 3" in run(replay, typed, "seek", "--command", "4").stderr


@pytest.mark.slow
def test_keys_step_from_one_typed_command_to_the_next(typed: Path) -> None:
    with replayed(typed, "seek", "--speed", "0.001") as (child, ours, theirs):
        read_until(ours, b"channel 1")
        poll(lambda: not termios.tcgetattr(theirs)[3] & termios.ICANON, text="no single keys are read")
        for key, wanted in (
            (b"n", b"command 1 of 3: ~ls"),
            (b"n", b"command 2 of 3: ~id"),
            (b"n", b"0:00:06 / 0:00:08  0.001x  command 3 of 3: ~exit"),
            (b"n", b"no command after this"),
            (b"p", b"command 2 of 3: ~id"),
            (b"p", b"command 1 of 3: ~ls"),
            (b"p", b"no command before this"),
        ):
            os.write(ours, key)
            read_until(ours, wanted)
        os.write(ours, b"q")
        assert child.wait(20) == 0


def test_an_index_that_other_patterns_masked_is_not_used_and_said(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for redaction, said in (
        (NOTHING, "masked; the recording is read from its beginning"),
        (
            Redaction.of(own={"text": "of text"}),
            "masked by other patterns than now; run `bastion index` again",
        ),
    ):
        monkeypatch.setattr(sys.modules["bastion.cli.replay"], "redaction_of", lambda *_, one=redaction: one)
        found = run(replay, long, "seek", "--at", "40", "--speed", "0")
        assert found.exit_code == 0 and "opened at" not in found.stderr and said in found.stderr
        plain = run(replay, long, "seek", "--at", "40", "--speed", "0", "--no-index")
        assert found.stdout_bytes == plain.stdout_bytes and said not in plain.stderr
        assert (b"=hun" in plain.stdout_bytes) == (redaction is NOTHING)
        assert (b"[redacted:text]" in plain.stdout_bytes) == (redaction is not NOTHING)


def test_what_excludes_each_other_is_said(long: Path) -> None:
    for given in (("--all", "--channel", "1"), ("--at", "0", "--command", "1"), ("--follow", "--at", "1")):
        found = run(replay, long, "seek", *given)
        assert found.exit_code == 2 and "exclude each other" in found.stderr


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


@pytest.mark.slow
def test_keys_on_a_terminal_lead_through_the_recording(long: Path) -> None:
    with replayed(long, "seek", "--speed", "0.001") as (child, ours, theirs):
        before = termios.tcgetattr(theirs)
        read_until(ours, b"channel 1")
        poll(lambda: not termios.tcgetattr(theirs)[3] & termios.ICANON, text="no single keys are read")
        for key, wanted in (
            (b"?", b"space pause"),
            (b"\x1b[C", b"0:00:10 / "),
            (b" ", b"paused"),
            (b"\x1b[C", b"0:00:20 / 0:01:11  0.001x  paused"),
            (b"\x1b[D\x1b[D", b"0:00:00 / "),
            (b"n", b"no command after this"),  # the exec is on another channel
            (b"\x1b[F", b"0:01:11 / 0:01:11"),
            (b"\x1b[H", b"0:00:00 / "),
        ):
            os.write(ours, key)
            read_until(ours, wanted)
        os.write(ours, b"q")
        read_until(ours, b"\x1b[?25h\r")
        assert child.wait(20) == 0 and termios.tcgetattr(theirs) == before
