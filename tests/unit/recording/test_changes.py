"""What terminals showed as changes of rows."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bastion.recording.changes import PICTURE_SECONDS, Change, changes
from bastion.recording.channels import survey
from bastion.recording.terminal import Terminal
from bastion.recording.transcript import safe
from bastion.relay import events as relay
from tests.unit.recording.samples import Tape, full
from tests.unit.recording.test_render import open_shell, run_command, shell


def made(tape: Tape, only: int | None = 1) -> list[Change]:
    reader = tape.reader()
    return list(changes(reader, survey(reader), only))


def drawn(found: list[Change], channel: int = 1) -> tuple[list[str], tuple[int, int]]:
    """The rows that the changes leave, and the size."""
    rows: dict[int, str] = {}
    size = (0, 0)
    for change in found:
        if change.channel == channel:
            size = change.size or size
            rows = {at: text for at, text in rows.items() if at < size[1]} | change.rows
    return [rows.get(at, "") for at in range(size[1])], size


PIECES = st.lists(
    st.one_of(
        st.sampled_from([
            b"\x1b[2J", b"\x1b[H", b"\x1b[?1049h", b"\x1b[?1049l", b"\r\n", b"\x1b[5;5H", b"\x1b[L", b"\x1b[M", b"\b",
            "漢字".encode(), b"\x1b[31m", b"\x1b[3b", b"\x1bM", "\u202eevil".encode(), b"[bastion: no]", b"\x1b[K",
        ]),
        st.binary(max_size=12),
        st.integers(1, 12).map(lambda size: (size + 2, size)),
    ),
    max_size=25,
)  # fmt: skip


@given(PIECES, st.sampled_from([0.0, PICTURE_SECONDS / 3, 1.0]))
@settings(max_examples=120)
def test_applied_in_order_they_give_the_last_screen(
    pieces: list[bytes | tuple[int, int]], step: float
) -> None:
    tape = Tape(full())
    open_shell(tape, cols=10, rows=6)
    terminal = Terminal(10, 6, lambda row, lost: None)
    for piece in pieces:
        tape.clock.advance(step)
        if isinstance(piece, tuple):
            tape.recorder.event(relay.WindowChanged(1, *piece))
            terminal.resize(*piece)
        elif piece:
            tape.out(piece)
            terminal.feed(piece, 0.0)
    found = made(tape.end())
    rows, size = drawn(found)
    if size != (0, 0):
        assert size == (terminal.cols, terminal.rows)
        assert rows == [safe(row.text) for row in terminal.screen]
    assert [change.time for change in found] == sorted(change.time for change in found)


def test_output_faster_than_pictures_is_one_change() -> None:
    tape = Tape(full())
    open_shell(tape)
    for number in range(1000):
        tape.out(f"line {number}\r\n".encode())
        tape.clock.advance(0.001)
    found = [change for change in made(tape.end()) if not change.note]
    assert 20 <= len(found) <= 1.0 / PICTURE_SECONDS + 2
    assert drawn(found)[0][-2] == "line 999"


def test_the_cursor_counts_characters_and_not_columns() -> None:
    tape = Tape(full())
    open_shell(tape)
    tape.out("漢字\x1b[20G".encode())
    assert made(tape.end())[-1].cursor == (2 + 19 - 4, 0)


def test_ours_stand_beside_the_screen_and_hidden_strings_are_told() -> None:
    tape = shell()
    tape.out(b"\x1bPhidden words\x1b\\after\r\n")
    tape.out(b"\x1b_secret plan\x1b\\")
    found = made(tape.end())
    notes = [change.note for change in found if change.note]
    assert notes[0] == "bastion: 5 minutes left" and any("secret plan" in note for note in notes)
    assert not any("minutes left" in text for text in drawn(found)[0])


def test_each_channel_has_its_own_screen() -> None:
    tape = Tape(full())
    open_shell(tape, 1)
    run_command(tape, 2, "true")
    tape.out(b"on one", 1)
    tape.out(b"a\nb\n", 2)
    found = made(tape.end(), None)
    assert drawn(found, 1)[0][0] == "on one" and drawn(found, 2)[0][:2] == ["a", "b"]
    assert any("exec true" in change.note for change in found)


def test_a_screen_made_to_cost_too_much_stands_still_and_says_so() -> None:
    tape = Tape(full())
    open_shell(tape, cols=500, rows=500)
    for _ in range(60):
        tape.out(b"\x1b[2J\x1b[500L\x1b[500M" * 400)
    tape.out(b"end")
    assert "cost too much" in made(tape.end())[-1].note
