"""Parts of a recording: together they are the whole, from wherever one begins, masked, and bounded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from bastion.recording import keyframes, segments
from bastion.recording.changes import Change
from bastion.recording.channels import ChannelSummary, survey
from bastion.recording.format import Kind
from bastion.recording.keyframes import Keyframe, Keyframes
from bastion.recording.reader import Reader
from bastion.recording.redacted import reading
from bastion.recording.redacting import NOTHING, Redaction
from bastion.recording.render import by_channel, transcript
from bastion.recording.segments import STANDS_STILL, Cutter, Limits, Segment
from bastion.recording.terminal import Terminal
from bastion.recording.transcript import Line, Mark
from tests.unit.recording.made_terminals import recorded_terminal, some_output
from tests.unit.recording.samples import Tape, full
from tests.unit.recording.test_render import open_shell, run_command
from tests.unit.recording.test_seeking import Kept

SMALL = Limits(7.0, 1 << 20, 1 << 20)
SECRET = "hunter2horse"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("segments")
    return recorded_terminal(folder, some_output(150), other=True, resized=True).read_bytes()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyframes, "EVERY", 2000)
    monkeypatch.setattr(keyframes, "CELL_COST", 0)


def read(file: bytes, redaction: Redaction = NOTHING) -> Reader:
    return reading(redaction, unmasked=True)(io.BytesIO(file))


def stored(file: bytes, redaction: Redaction = NOTHING) -> Kept:
    made: list[Keyframe] = []
    reader = read(file, redaction)
    for _ in by_channel(
        reader, survey(reader), None, screens=False, keyframes=Keyframes(reader, made.append)
    ):
        pass
    return Kept(made)


def channel(file: bytes, number: int = 1) -> ChannelSummary:
    return survey(read(file)).channels[number]


def cut(
    file: bytes,
    kept: Kept | None = None,
    limits: Limits = SMALL,
    redaction: Redaction = NOTHING,
    number: int = 1,
) -> Iterator[Segment]:
    """Each part asked for by itself, as a player does."""
    begin = 0.0
    while True:
        where = None if kept is None else kept.keyframe
        part = Cutter(read(file, redaction), channel(file, number), begin, where).next(limits)
        yield part
        if part.ended:
            return
        assert part.until > begin
        begin = part.until


def shown(changes: list[Change], seconds: float) -> list[str]:
    """The screen after so many seconds."""
    rows: list[str] = []
    for change in changes:
        if change.time > seconds:
            break
        if change.size is not None:
            rows = (rows + [""] * change.size[1])[: change.size[1]]
        for at, text in change.rows.items():
            rows[at] = text
    return rows


def drawn(file: bytes, seconds: float, number: int = 1) -> list[str]:
    """What a terminal showed then."""
    terminal = Terminal(80, 24, lambda row, lost: None)
    for event in read(file):
        if event.time_us / 1e6 > seconds or event.channel != number:
            continue
        if event.kind is Kind.DATA:
            terminal.feed(event.payload, 0.0)
        elif event.kind is Kind.NOTE and event.note.get("event") == "window_changed":
            terminal.resize(event.note["cols"], event.note["rows"])
    return [row.text for row in terminal.screen]


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_every_part_begins_with_the_whole_screen_and_shows_what_was_there(
    file: bytes, indexed: bool, number: int
) -> None:
    parts = list(cut(file, stored(file) if indexed else None, number=number))
    assert len(parts) >= 10 and parts[-1].ended and not any(one.ended for one in parts[:-1])
    for part in parts:
        for seconds in (part.begin, (part.begin + part.until) / 2, part.until - 0.01):
            if seconds >= part.begin:
                assert shown(part.changes, seconds) == drawn(file, seconds, number), seconds
        assert all(part.begin <= change.time for change in part.changes)
        assert part.ended or all(change.time < part.until for change in part.changes)


@pytest.mark.usefixtures("often")
def test_lines_of_all_parts_are_those_of_the_whole(file: bytes) -> None:
    def texts(records: Any) -> list[str]:
        return [one.text for one in records if isinstance(one, Line | Mark) and one.text.strip()]

    reader = read(file)
    whole = texts(transcript(reader, survey(reader), 1, screens=False))
    assert texts(one for part in cut(file) for one in part.lines) == whole
    again = iter(texts(one for part in cut(file, stored(file)) for one in part.lines))
    assert all(text in again for text in whole), "in their order, and none is missing"


@pytest.mark.usefixtures("often")
def test_parts_cut_in_one_go_are_those_that_are_asked_for_one_by_one(file: bytes) -> None:
    cutter, together = Cutter(read(file), channel(file)), []
    while not together or not together[-1].ended:
        together.append(cutter.next(SMALL))
    for one, other in zip(together, cut(file), strict=True):
        assert (one.begin, one.until, one.ended, one.changes) == (
            other.begin, other.until, other.ended, other.changes,
        )  # fmt: skip
        assert [line.text for line in one.lines] == [line.text for line in other.lines]


@pytest.mark.usefixtures("often")
def test_a_part_from_a_keyframe_reads_no_more_than_it_needs(file: bytes) -> None:
    reader = read(file)
    part = Cutter(reader, channel(file), 140.0, stored(file).keyframe).next(SMALL)
    assert part.changes and reader.place.sequence > 100
    untouched = read(file)
    Cutter(untouched, channel(file), 0.0, None).next(SMALL)
    assert untouched.place.sequence < 20


def test_a_part_ends_where_enough_was_drawn_or_is_held_and_at_the_next_change_behind_a_pause() -> None:
    tape = Tape(full())
    open_shell(tape, cols=80, rows=24)
    for _ in range(40):
        tape.clock.advance(0.1)
        tape.out(b"x" * 79 + b"\r\n")
    tape.clock.advance(4000)
    tape.out(b"much later\r\n")
    tape.end()
    first = Cutter(tape.reader(), channel(tape.file)).next(Limits(180, 1000, 1 << 20))
    assert 1.1 < first.until < 1.6 and not first.ended
    held = Cutter(tape.reader(), channel(tape.file)).next(Limits(180, 1 << 20, 1000))
    assert 0.1 < held.until < 2
    whole = Cutter(tape.reader(), channel(tape.file)).next()
    assert whole.until == pytest.approx(4004.0)
    late = Cutter(tape.reader(), channel(tape.file), whole.until).next()
    assert late.ended and "much later" in "".join(shown(late.changes, whole.until))
    assert Cutter(tape.reader(), channel(tape.file), 1e9).next().ended


def test_lines_of_a_part_are_so_many_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MOST_LINES", 10)
    tape = Tape(full())
    open_shell(tape)
    tape.out(b"".join(b"line %d\r\n" % number for number in range(100)))
    part = Cutter(tape.end().reader(), channel(tape.file)).next()
    assert len(part.lines) == 10 and part.more >= 90


def test_output_without_a_terminal_and_what_the_gateway_said() -> None:
    tape = Tape(full())
    run_command(tape, 2, "make all")
    tape.out(b"one\ntwo\n", 2)
    tape.clock.advance(1)
    tape.recorder.injected(2, b"bye soon")
    part = Cutter(tape.end().reader(), channel(tape.file, 2)).next()
    assert shown(part.changes, 9)[:2] == ["one", "two"]
    assert {"one", "two"} < {one.text for one in part.lines}
    notes = [change.note for change in part.changes if change.note]
    assert "exec make all" in notes and any("bye soon" in note for note in notes)


def test_strings_that_some_terminals_show_are_told() -> None:
    tape = Tape(full())
    open_shell(tape)
    tape.out(b"a\x1b_secret words\x1b\\b\r\n")
    part = Cutter(tape.end().reader(), channel(tape.file)).next()
    assert any("secret words" in change.note for change in part.changes)
    assert any("secret words" in line.text for line in part.lines)


def spent(tape: Tape) -> None:
    """Output that costs more than a screen is worth."""
    open_shell(tape, cols=1000, rows=500)
    for _ in range(3000):
        tape.out(b"\x1b[500L\x1b#8" * 100)


@pytest.mark.slow
def test_a_terminal_that_costs_too_much_stands_still_and_its_lines_go_on() -> None:
    tape = Tape(full())
    spent(tape)
    tape.clock.advance(1)
    tape.out(b"behind it\r\n")
    part = Cutter(tape.end().reader(), channel(tape.file)).next(Limits(180, 1 << 30, 1 << 30))
    assert part.ended and STANDS_STILL in [change.note for change in part.changes]

    def undrawn(number: int, time: float) -> Any:
        reader = tape.reader()
        event = next(one for one in reader if one.kind is Kind.DATA)
        return event.time_us / 1e6, reader.place, b""

    late = Cutter(tape.reader(), channel(tape.file), 0.5, undrawn).next()
    assert [change.note for change in late.changes if change.note] == [STANDS_STILL]
    assert "behind it" in [line.text for line in late.lines]


@pytest.mark.usefixtures("often")
def test_secrets_are_masked_wherever_a_part_begins_or_ends() -> None:
    tape = Tape(full())
    open_shell(tape, cols=20, rows=5)
    for number in range(60):
        tape.clock.advance(1)
        tape.out(b"PASSWORD=" + SECRET[:6].encode())  # wraps, and comes in two writes
        tape.clock.advance(1)
        tape.out(SECRET[6:].encode() + b"\r\n")
        if number % 5 == 0:  # put together by the cursor alone
            tape.out(
                b"\x1b[1;14H"
                + SECRET[5:].encode()
                + b"\x1b[1;1HPASSWORD="
                + SECRET[:5].encode()
                + b"\x1b[5;1H\r\n"
            )
    tape.end()
    redaction = Redaction.of()
    kept = stored(tape.file, redaction)
    for seconds in (0.5, 1.0, 3.0, 17.0):
        limits = Limits(seconds, 1 << 20, 1 << 20)
        for where in (None, kept):
            said = ""
            for part in cut(tape.file, where, limits, redaction):
                said += "".join(text for change in part.changes for text in change.rows.values())
                said += "".join(line.text for line in part.lines)
            assert "redacted" in said and "horse" not in said and "hunter" not in said, (seconds, where)
