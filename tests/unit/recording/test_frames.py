"""Steps of showing: what was asked, what was done, and how a file goes on while it is written."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from bastion.recording.frames import FrameKind, frames
from bastion.recording.reader import Reader
from bastion.relay import events as relay
from bastion.sides import Side
from tests.unit.recording.samples import SESSION, Tape
from tests.unit.recording.test_channels import command


def notices(tape: Tape, channel: int | None = 1) -> list[str]:
    shown = frames(tape.reader(), channel)
    return [frame.data.decode() for frame in shown if frame.kind is FrameKind.NOTICE]


def test_a_command_without_output_is_shown_with_its_exit() -> None:
    tape = Tape()
    command(tape, 1, "rm -rf /x")
    assert notices(tape.end()) == ["exec rm -rf /x", "exit 0, nothing shown"]


def test_all_channels_in_the_order_of_time() -> None:
    tape = Tape()
    command(tape, 1, "echo a", b"a\n")
    command(tape, 2, "echo b", b"b\n")
    tape.recorder.note("channel_refused", 0, {"kind": "x11", "reason": "no_verb", "detail": {}})
    shown = [(frame.kind.value, frame.data.decode()) for frame in frames(tape.end().reader(), None)]
    assert shown == [
        ("notice", "channel 1: exec echo a"),
        ("notice", "channel 1: exec echo a"),
        ("o", "a\n"),
        ("notice", "channel 1: exit 0, 2 bytes shown"),
        ("notice", "channel 2: exec echo b"),
        ("notice", "channel 2: exec echo b"),
        ("o", "b\n"),
        ("notice", "channel 2: exit 0, 2 bytes shown"),
        ("notice", "refused: x11, no_verb"),
    ]


def sftp(tape: Tape) -> None:
    tape.recorder.event(relay.ChannelOpened(1, "session", Side.CLIENT, {}))
    tape.recorder.event(relay.RequestForwarded(1, Side.CLIENT, "subsystem", {"subsystem": "sftp"}))
    tape.recorder.event(relay.SftpStarted(1, False))
    tape.recorder.omit(1)
    tape.out(bytes(2000))
    tape.recorder.event(relay.SftpFile(1, 1, "/srv/a", "write", "ok", 0, 1954, "ab" * 32, ""))
    tape.out(b"warning\n", stream=1)


def test_sftp_is_a_list_of_what_was_done() -> None:
    tape = Tape()
    sftp(tape)
    shown = list(frames(tape.end().reader(), 1))
    assert [frame.data for frame in shown if frame.kind is FrameKind.OUTPUT] == [b"warning\n"]
    assert notices(tape) == ["subsystem sftp", f"put /srv/a: 1954 bytes, sha256 {'ab' * 32}, ok"]


def test_bytes_of_an_sftp_that_cannot_be_followed_are_shown_again() -> None:
    tape = Tape()
    sftp(tape)
    tape.recorder.event(relay.SftpUnparsed(1, Side.TARGET, "why"))
    tape.recorder.omit(1, omitted=False)
    tape.out(b"root:x:0:0\n")
    shown = list(frames(tape.end().reader(), 1))
    assert shown[-1].data == b"root:x:0:0\n" and any(b"could not be followed" in f.data for f in shown)


def followed(tape: Tape, steps: list[Callable[[], object]], cut: int = 0) -> tuple[list[bytes], Reader]:
    """The output frames of a file that is written on by `steps` each time that its end is met."""
    source = io.BytesIO(tape.file)
    reader = Reader(source, SESSION, lambda: bool(steps))

    def more() -> bool:
        if not steps:
            return False
        steps.pop(0)()
        source.seek(0)
        source.write(tape.file[: len(tape.file) - cut] if steps else tape.file)
        return True

    reader.more = more
    return [f.data for f in frames(reader, 1) if f.kind in (FrameKind.OUTPUT, FrameKind.NOTICE)], reader


@pytest.mark.parametrize("cut", [0, 1, 9, 40])
def test_a_file_that_is_written_is_followed_also_from_within_a_block(cut: int) -> None:
    tape = Tape()
    tape.out(b"one")
    steps = [lambda: tape.out(b"two"), lambda: None, lambda: tape.out(b"three"), tape.end]
    shown, reader = followed(tape, steps, cut)
    assert shown == [b"one", b"two", b"three"] and reader.totals is not None and reader.damage == []


def test_a_file_without_an_end_says_whether_somebody_writes_it() -> None:
    tape = Tape()
    tape.out(b"one")
    shown = [frame.data.decode() for frame in frames(Reader(io.BytesIO(tape.file), SESSION, lambda: True), 1)]
    assert shown[-1].startswith("still running")
    assert [frame.data for frame in frames(tape.reader(), 1)][-1].startswith(b"incomplete: ")
