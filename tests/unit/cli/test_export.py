"""`bastion export` on recordings made here."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from bastion.cli.export import export
from bastion.clock import FixedClock
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.recorder import Recorder
from bastion.recording.store import Store
from tests.unit.cli.made import FIRST, PTY, THIRD, header, run


def test_export_text(recordings: Path) -> None:
    result = run(export, recordings, FIRST, "--format", "text")
    assert "[bastion: alternate screen]\nhello\noops\n[bastion: bye soon]\ndone\n" in result.stdout


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
    assert result.exit_code == 3 and f"{50_000 - 16_384 - 1024} bytes" in result.stderr
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


def test_what_is_no_recording_is_exit_code_3(tmp_path: Path) -> None:
    folder = tmp_path / "2027-01-15"
    folder.mkdir()
    (folder / f"{FIRST}.rec").write_bytes(b"something else")
    result = run(export, tmp_path, FIRST)
    assert result.exit_code == 3 and "not a recording" in result.stderr


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


def test_export_html_is_one_page_with_the_player_of_the_package(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "session.html"
    assert run(export, recordings, FIRST, "--format", "html", "-o", str(out)).exit_code == 0
    text = out.read_text("ascii")
    assert text.startswith("<!DOCTYPE html>") and "class Film" in text and text.endswith("</html>\n")
    assert "bye soon" in text and stat.S_IMODE(out.stat().st_mode) == 0o600


def test_a_page_that_is_cut_is_exit_code_3(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bastion.recording.page.LARGEST_PAGE", 100)
    result = run(export, recordings, FIRST, "--format", "html")
    assert (
        result.exit_code == 3
        and "longer than a page" in result.stderr
        and "longer than a page" in result.stdout
    )


def test_what_was_typed_unseen_is_masked_unless_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path, disk_floor_bytes=0, sync_seconds=0.05)
    head = header(FIRST, "alice", "web1")
    policy = RecordingPolicy(input=True)
    writer, recorder = store.create(head), Recorder(head, FixedClock(), policy)
    recorder.note("request_forwarded", 1, PTY)
    recorder.data(1, 1, 0, b"Password: ")
    recorder.data(1, 0, 0, b"hunter2\r")
    recorder.data(1, 1, 0, b"\r\nwelcome\r\n")
    writer.close([*(recorder.take() or []), *recorder.finish("client_closed")])
    assert store.close()
    for form in (["--format", "json"], ["--format", "raw", "--stream", "stdin"], ["--format", "asciicast"]):
        hidden, shown = run(export, tmp_path, FIRST, *form), run(export, tmp_path, FIRST, *form, "--unmasked")
        assert hidden.exit_code == shown.exit_code == 0
        assert "hunter2" in shown.stdout and "hunter2" not in hidden.stdout and "*******" in hidden.stdout
        assert b64encode(b"hunter2\r").decode() not in hidden.stdout
