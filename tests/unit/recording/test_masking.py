"""Input that was typed while nothing was shown is masked, and what was shown is not."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.bulk import RecordingPolicy
from bastion.recording.masking import LONGEST_LINE, MaskedReader
from tests.unit.recording.samples import CLIENT, SESSION, TARGET, Tape, joined
from tests.unit.recording.test_render import open_shell, run_command

Talk = list[tuple[str, bytes]]


def recorded(talk: Talk, end: bool = True) -> Tape:
    """`<` is typed, `>` is shown."""
    tape = Tape(RecordingPolicy(input=True))
    open_shell(tape)
    for who, data in talk:
        tape.clock.advance(0.1)
        tape.recorder.data(1, CLIENT if who == "<" else TARGET, 0, data)
        tape.burst()
    return tape.end() if end else tape


def seen(tape: Tape) -> bytes:
    return joined(MaskedReader(io.BytesIO(tape.file), SESSION), 1, CLIENT, 0)


def keys(text: bytes, echo: bool = True) -> Talk:
    """Each key by itself, with its echo or without one."""
    talk: Talk = []
    for byte in text:
        talk += [("<", bytes((byte,))), *([(">", bytes((byte,)))] if echo else [])]
    return talk


ENTER: Talk = [("<", b"\r"), (">", b"\r\n")]
SUDO: Talk = [(">", b"[sudo] password for deploy: ")]


@pytest.mark.parametrize(
    ("talk", "expected"),
    [
        (keys(b"ls -l") + ENTER, b"ls -l\r"),
        (SUDO + keys(b"hunter2", echo=False) + ENTER + [(">", b"hunter hunter2 root\r\n$ ")], b"*******\r"),
        ([*SUDO, ("<", b"hunter2\r"), (">", b"\r\nok hunter2\r\n")], b"*******\r"),
        ([*SUDO, ("<", b"abc"), (">", b"***"), *ENTER], b"***\r"),
        ([("<", b"echo hi\r"), (">", b"echo hi\r\nhi\r\n")], b"echo hi\r"),
        ([("<", b"lsx\x7f -l\r"), (">", b"lsx\b \b -l\r\n")], b"lsx\x7f -l\r"),
        ([("<", b"\x1b[A\x1bOB\r"), (">", b"ls\r\n")], b"\x1b[A\x1bOB\r"),
        ([("<", b"\x1b[200~id\x1b[201~\r"), (">", b"\x1b[7mid\x1b[27m\r\n")], b"\x1b[200~id\x1b[201~\r"),
        ([("<", b"cat /et\tp\r"), (">", b"cat /etc/p\r\n")], b"cat /et\tp\r"),
        ([("<", "漢字\r".encode()), (">", "漢字\r\n".encode())], "漢字\r".encode()),
        ([("<", b"a\rb\r"), (">", b"a\r\n$ b\r\n")], b"a\rb\r"),
        (keys(b"secret", echo=False), b"******"),
        ([("<", b"secret\x03"), (">", b"^C\r\n")], b"******\x03"),
    ],
)  # fmt: skip
def test_what_is_masked(talk: Talk, expected: bytes) -> None:
    assert seen(recorded(talk)) == expected


def test_a_password_stays_masked_without_an_end_and_a_line_longer_than_any_too() -> None:
    assert seen(recorded([*SUDO, ("<", b"hunter2")], end=False)) == b"*******"
    assert seen(recorded([("<", b"x" * (LONGEST_LINE + 9))])) == b"*" * (LONGEST_LINE + 9)


def test_the_recording_and_channels_without_a_terminal_stay_as_they_are() -> None:
    tape = recorded([*SUDO, ("<", b"hunter2\r"), (">", b"\r\n")], end=False)
    run_command(tape, 2, "cat")
    tape.recorder.data(2, CLIENT, 0, b"typed into cat")
    tape.burst()
    tape.end()
    assert joined(tape.reader(), 1, CLIENT, 0) == b"hunter2\r"
    assert joined(MaskedReader(io.BytesIO(tape.file), SESSION), 2, CLIENT, 0) == b"typed into cat"


@given(st.lists(st.tuples(st.sampled_from("<>"), st.binary(min_size=1, max_size=8)), max_size=20))
def test_nothing_but_single_bytes_changes_whatever_is_typed(talk: Talk) -> None:
    tape = recorded(talk)
    before, after = joined(tape.reader(), 1, CLIENT, 0), seen(tape)
    assert len(before) == len(after)
    assert all(there in (here, ord("*")) for here, there in zip(before, after, strict=True))


@given(st.binary(min_size=1, max_size=30).filter(lambda data: b"\x1b" not in data))
def test_what_is_typed_with_nothing_shown_is_never_seen(secret: bytes) -> None:
    visible = seen(recorded([("<", secret + b"\r"), (">", b"\r\n")]))
    assert [byte for byte in visible if byte >= 0x20 and byte not in b"*\x7f"] == []
