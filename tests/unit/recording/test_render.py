"""A recording as frames, asciicast, text, raw bytes and JSON lines."""

from __future__ import annotations

import io
import json
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import pytest

from bastion.recording.bulk import RecordingPolicy
from bastion.recording.channels import LARGEST_SIZE, ChannelNotChosen, choose_channel, survey
from bastion.recording.frames import FrameKind, frames
from bastion.recording.reader import Reader
from bastion.recording.render import asciicast, json_lines, plain_text, raw, screen_lines
from bastion.relay import events as relay
from bastion.sides import Side
from tests.unit.recording.samples import CLIENT, TARGET, Tape


def open_shell(tape: Tape, channel: int = 1, cols: int = 100, rows: int = 30) -> None:
    pty = {"term": "xterm", "cols": cols, "rows": rows}
    tape.recorder.event(relay.ChannelOpened(channel, "session", Side.CLIENT, {}))
    tape.recorder.event(relay.ChannelConfirmed(channel))
    tape.recorder.event(relay.RequestForwarded(channel, Side.CLIENT, "pty-req", pty))
    tape.recorder.event(relay.RequestForwarded(channel, Side.CLIENT, "shell", {}))


def run_command(tape: Tape, channel: int, command: str) -> None:
    tape.recorder.event(relay.ChannelOpened(channel, "session", Side.CLIENT, {}))
    tape.recorder.event(relay.ChannelConfirmed(channel))
    tape.recorder.event(relay.RequestForwarded(channel, Side.CLIENT, "exec", {"command": command}))


def shell(policy: RecordingPolicy | None = None) -> Tape:
    """A short interactive session with a resize, a warning of ours and some input."""
    tape = Tape(policy or RecordingPolicy(input=True))
    open_shell(tape)
    tape.out(b"$ ")
    tape.clock.advance(1.5)
    tape.recorder.data(1, CLIENT, 0, b"ls\r")
    tape.out(b"ls\r\n\x1b[31mfi\xc3")
    tape.out(b"\xa9le\x1b[0m\x1b[6n\r\n")
    tape.recorder.event(relay.WindowChanged(1, 120, 40))
    tape.clock.advance(1)
    tape.recorder.injected(1, b"bastion: 5 minutes left\r\n")
    tape.out(b"$ exit\r\n")
    tape.recorder.event(relay.ExitStatus(1, 0))
    return tape


def cast(reader: Reader, filtered: bool = True) -> tuple[dict[str, Any], list[Any]]:
    found = survey(reader)
    lines = list(asciicast(reader, found, choose_channel(found.channels, None), filtered=filtered))
    return json.loads(lines[0]), [json.loads(line) for line in lines[1:]]


def in_json(reader: Reader, channel: int | None = None) -> list[str]:
    return list(json_lines(reader, survey(reader), channel))


def text(reader: Reader, channel: int | None = None, whole: bool = False) -> str:
    """The text of a channel without its heading."""
    found = survey(reader)
    lines = list(plain_text(reader, found, choose_channel(found.channels, channel), whole=whole))
    while lines and lines[0].startswith("[bastion: "):
        lines.pop(0)
    return "".join(lines)


def test_asciicast_has_the_size_of_the_pty_and_the_events_in_time() -> None:
    header, events = cast(shell().end().reader())
    assert (header["version"], header["width"], header["height"]) == (2, 100, 30)
    assert header["timestamp"] == 1_800_000_000 and header["duration"] == 2.5
    assert header["env"] == {"TERM": "xterm"} and header["title"].startswith("alice: deploy@web1")
    assert events[0] == [0.0, "o", "$ "]
    assert [1.5, "i", "ls\r"] in events and [1.5, "r", "120x40"] in events
    shown = "".join(text for _, code, text in events if code == "o")
    assert "\x1b[31mfiéle\x1b[0m\r\n" in shown  # the character that two messages share is whole
    assert "\x1b[6n" not in shown
    assert "\x1b[7m[bastion] bastion: 5 minutes left\r\n\x1b[27m" in shown


def test_unfiltered_asciicast_keeps_what_the_terminal_got() -> None:
    _, events = cast(shell().end().reader(), filtered=False)
    assert "éle\x1b[0m\x1b[6n\r\n" in "".join(text for _, code, text in events if code == "o")


def test_asciicast_of_a_command_without_terminal_returns_the_carriage() -> None:
    tape = Tape()
    run_command(tape, 1, "ls")
    tape.out(b"a\nb\n")
    _, events = cast(tape.end().reader())
    assert [0.0, "o", "a\r\nb\r\n"] in events


def test_text_has_no_escapes_and_names_the_gateways_words() -> None:
    reader = shell().end().reader()
    assert text(reader, 1) == "$ ls\nfiéle\n[bastion: bastion: 5 minutes left]\n$ exit\n"


def test_raw_is_what_the_client_received_stream_by_stream() -> None:
    tape = shell()
    tape.out(b"warning\n", stream=1)
    reader = tape.end().reader()
    out = b"$ ls\r\n\x1b[31mfi\xc3\xa9le\x1b[0m\x1b[6n\r\n%s$ exit\r\n"
    assert b"".join(raw(reader, 1, Side.TARGET, 0)) == out % b"bastion: 5 minutes left\r\n"
    assert b"".join(raw(reader, 1, Side.TARGET, 0, injected=False)) == out % b""
    assert b"".join(raw(reader, 1, Side.TARGET, 1)) == b"warning\n"
    assert b"".join(raw(reader, 1, Side.CLIENT, 0)) == b"ls\r"


def test_json_lines_hold_everything_and_the_exact_bytes() -> None:
    tape = shell(RecordingPolicy(input=True, burst_bytes=64))
    tape.out(b"\xff" * 100)
    documents = [json.loads(line) for line in in_json(tape.end("killed").reader())]
    assert documents[0]["kind"] == "header" and documents[0]["header"]["identity"] == "alice"
    assert documents[-1]["kind"] == "end" and documents[-1]["end"]["reason"] == "killed"
    notes = [document["note"]["event"] for document in documents if document["kind"] == "note"]
    assert notes[:3] == ["channel_opened", "channel_confirmed", "request_forwarded"]
    data = [d for d in documents if d["kind"] == "data" and d["from"] == "target"]
    assert b64decode(data[1]["data"]) == b"ls\r\n\x1b[31mfi\xc3" and data[1]["text"].endswith("fi\ufffd")
    assert {(d["stream"], d["from"]) for d in documents if d["kind"] == "data"} == {
        ("stdout", "target"),
        ("stdin", "client"),
    }
    assert [d["from"] for d in documents if d["kind"] == "injected"] == ["gateway"]
    assert any(d["kind"] == "gap" and d["goes_on"] for d in documents)


def test_json_lines_of_one_channel_and_of_a_cut_off_file() -> None:
    tape = shell()
    run_command(tape, 2, "true")
    tape.burst()
    documents = [json.loads(line) for line in in_json(Reader(io.BytesIO(tape.file[:-3])), 2)]
    assert documents[-1]["kind"] == "truncated" and documents[-1]["offset"] > 0
    assert {d["channel"] for d in documents[1:-1] if d["kind"] != "channel"} <= {2}
    named = [(d["channel"], d["summary"]["program"]) for d in documents if d["kind"] == "channel"]
    assert named == [(1, "shell")], "of what was cut off nothing is known"


def test_gaps_damage_and_a_missing_end_are_told_in_place() -> None:
    tape = Tape(RecordingPolicy(burst_bytes=30_000, sustained_bytes=1))
    open_shell(tape)
    tape.out(bytes(30_000))
    tape.out(b"x" * 50_000)
    tape.recorder.note("channel_closed", 1)
    tape.burst()
    start = len(tape.file)
    tape.out(b"y")
    tape.out(b"z")
    changed = bytearray(tape.file)
    changed[start + 60] ^= 1
    shown = [
        frame for frame in frames(Reader(io.BytesIO(bytes(changed))), 1) if frame.kind is FrameKind.NOTICE
    ]
    assert [frame.data.decode() for frame in shown] == [
        f"{50_000 - 16_384 - 1024} bytes of bulk output not kept",
        f"damaged at byte {start}: block 4 is damaged",
        "incomplete: the recording ends here without an end mark",
    ]


def test_a_gap_that_the_file_does_not_see_end_is_told() -> None:
    tape = Tape(RecordingPolicy(burst_bytes=10))
    open_shell(tape)
    tape.out(b"x" * 50_000)
    notices = [frame.data for frame in frames(tape.reader(), 1) if frame.kind is FrameKind.NOTICE]
    assert notices[0] == b"at least 0 bytes of bulk output not kept"


def both(first: Callable[[Tape], None], second: Callable[[Tape], None]) -> Tape:
    tape = Tape()
    first(tape)
    second(tape)
    tape.burst()
    return tape


def test_the_only_terminal_is_chosen_among_other_channels() -> None:
    tape = both(lambda t: run_command(t, 1, "id"), lambda t: open_shell(t, 2))
    tape.out(b"uid=0", channel=1)
    chosen = choose_channel(survey(tape.reader()).channels, None)
    assert (chosen.id, chosen.has_pty, chosen.program) == (2, True, "shell")


def test_the_only_channel_that_showed_anything_is_chosen() -> None:
    tape = both(lambda t: run_command(t, 1, "true"), lambda t: run_command(t, 2, "id"))
    tape.out(b"uid=0", channel=2)
    chosen = choose_channel(survey(tape.reader()).channels, None)
    assert (chosen.id, chosen.program, chosen.bytes_out) == (2, "exec id", 5)


def test_several_candidates_are_listed() -> None:
    tape = both(lambda t: open_shell(t, 1), lambda t: open_shell(t, 2))
    assert choose_channel(survey(tape.reader()).channels, None).id == 1
    with pytest.raises(ChannelNotChosen) as caught:
        choose_channel(survey(tape.reader()).channels, None, only=True)
    assert "1: shell (terminal)" in caught.value.text and "2: shell (terminal)" in caught.value.text
    assert choose_channel(survey(tape.reader()).channels, 2).id == 2
    with pytest.raises(ChannelNotChosen, match="no channel 9"):
        choose_channel(survey(tape.reader()).channels, 9)
    with pytest.raises(ChannelNotChosen, match="has no channel"):
        choose_channel({}, None)


def test_a_peers_window_size_is_clamped_and_nonsense_ignored() -> None:
    tape = Tape()
    open_shell(tape, cols=2**32 - 1, rows=2**32 - 1)
    tape.recorder.event(relay.WindowChanged(1, 0, 40))
    tape.recorder.note("window_changed", 1, {"cols": "80", "rows": None})
    tape.burst()
    assert survey(tape.reader()).channels[1].size == LARGEST_SIZE
    assert [frame for frame in frames(tape.reader(), 1) if frame.kind is FrameKind.RESIZE] == []


def test_a_surveyed_channel_counts_what_was_shown_typed_and_skipped() -> None:
    tape = Tape(RecordingPolicy(burst_bytes=20_000, input=True))
    open_shell(tape)
    tape.recorder.data(1, CLIENT, 0, b"abc")
    tape.out(bytes(20_000))
    tape.out(bytes(50_000))
    tape.out(bytes(50_000), stream=TARGET)
    channel = survey(tape.end().reader()).channels[1]
    assert (channel.bytes_in, channel.term) == (3, "xterm")
    assert channel.bytes_out == 120_000 and 0 < channel.skipped < 120_000


def test_control_strings_are_counted_at_the_head_of_a_view() -> None:
    tape = Tape()
    open_shell(tape)
    tape.out(b"\x1b]0;title\x07a\x1bkrm -rf /\x1b")
    tape.out(b"\\b\r\n")
    reader = tape.end().reader()
    found = survey(reader)
    head = "".join(plain_text(reader, found, found.channels[1]))
    assert "[bastion: 1 strings that some terminals show, marked here; 1 titles and device strings" in head
    assert "ab\n[bastion: hidden by ESC k in some terminals: rm -rf /]\n" in head
    header, events = cast(reader)
    assert "1 strings that some terminals show" in header["title"]
    assert any("[ESC k: rm -rf /" in text for _, _, text in events)


def test_screens_are_lines_marks_and_the_screen_at_enter() -> None:
    reader = shell().end().reader()
    found = survey(reader)
    records = [json.loads(line) for line in screen_lines(reader, found, found.channels[1])]
    assert [record["why"] for record in records if record["kind"] == "screen"] == ["enter", "end"]
    (first, last) = [record for record in records if record["kind"] == "screen"]
    assert first["lines"][0] == "$" and first["size"] == [100, 30] and last["size"] == [120, 40]
    assert last["lines"][:3] == ["$ ls", "fiéle", "$ exit"]
    lines = [(record["time"], record["text"]) for record in records if record["kind"] == "line"]
    assert (1.5, "fiéle") in lines


def test_asciicast_3_counts_from_event_to_event_and_ends_with_the_exit() -> None:
    reader = shell().end().reader()
    found = survey(reader)
    chosen = choose_channel(found.channels, None)
    lines = [json.loads(line) for line in asciicast(reader, found, chosen, version=3)]
    second = cast(shell().end().reader())[1]
    assert lines[0]["version"] == 3 and "width" not in lines[0]
    assert lines[0]["term"] == {"cols": 100, "rows": 30, "type": "xterm"}
    assert [event[1:] for event in lines[1:-1]] == [event[1:] for event in second]
    passed = 0.0
    for event, other in zip(lines[1:-1], second, strict=True):
        passed = round(passed + event[0], 6)
        assert passed == other[0]
    assert lines[-1] == [0, "x", "0"]
