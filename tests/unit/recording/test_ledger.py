"""The chain of lines: what was changed, dropped, swapped or rolled back is found; files are held against it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.ledger import (
    MAX_DETAIL,
    MAX_LINE,
    NO_DIGEST,
    Account,
    Entry,
    Fault,
    FileFacts,
    Head,
    LedgerBroken,
    LedgerEvent,
    digest_of,
    encode,
    follow,
    parse,
)

SESSIONS = ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb", "cccccccccccccccc"]
ONE, TWO, THREE = "1" * 64, "2" * 64, "3" * 64

DIGESTS = st.sampled_from(["", ONE, TWO])
ENTRIES = st.builds(
    Entry,
    serial=st.integers(0, (1 << 63) - 1),
    time=st.floats(0, 4e9),
    event=st.sampled_from(LedgerEvent),
    session=st.sampled_from(["", *SESSIONS]),
    digest=DIGESTS,
    detail=st.text(max_size=20),
)


def chain(*entries: Entry) -> list[bytes]:
    lines: list[bytes] = []
    previous = NO_DIGEST
    for entry in entries:
        lines.append(encode(entry, previous))
        previous = digest_of(lines[-1])
    return lines


def began(serial: int, session: str, digest: str = ONE) -> Entry:
    return Entry(serial, 1.5, LedgerEvent.BEGAN, session, digest)


LINES = chain(
    Entry(0, 1.0, LedgerEvent.OPENED, detail="node1"),
    began(1, SESSIONS[0]),
    began(2, SESSIONS[1]),
    Entry(3, 2.0, LedgerEvent.ENDED, SESSIONS[0], TWO),
)


@given(ENTRIES, st.sampled_from([NO_DIGEST, ONE]))
def test_a_line_says_what_was_written(entry: Entry, previous: str) -> None:
    line = encode(entry, previous)
    assert line.isascii() and line.count(b"\n") == 1
    assert parse(line, entry.serial) == (entry, previous)


@pytest.mark.parametrize("character", ["x", "\0", "\u2028", "\U0001f600"])
def test_the_longest_detail_fits_into_a_line(character: str) -> None:
    entry = Entry((1 << 63) - 1, 1 / 3 + 4e9, LedgerEvent.REMOVED, SESSIONS[0], ONE, character * MAX_DETAIL)
    line = encode(entry, NO_DIGEST)
    assert len(line) <= MAX_LINE and parse(line, entry.serial) == (entry, NO_DIGEST)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(line: bytes) -> None:
    with pytest.raises(LedgerBroken, match="line 7"):
        parse(line, 7)


def test_a_long_detail_is_refused_before_it_is_written() -> None:
    with pytest.raises(ValueError, match="200"):
        encode(Entry(0, 1.0, LedgerEvent.OPENED, detail="x" * (MAX_DETAIL + 1)), NO_DIGEST)


@pytest.mark.parametrize(
    "change",
    [
        {"serial": "1"},
        {"serial": -1},
        {"serial": True},
        {"time": "now"},
        {"event": "maybe"},
        {"session": "../../../etc/pwd"},
        {"digest": "1" * 63},
        {"digest": "A" * 64},
        {"detail": 7},
        {"previous": "0"},
        {"previous": None},
    ],
)
def test_fields_are_read_strictly(change: dict[str, object]) -> None:
    document = json.loads(LINES[1]) | change
    with pytest.raises(LedgerBroken):
        parse(json.dumps(document).encode() + b"\n", 1)


def test_a_chain_is_followed_to_its_head() -> None:
    followed = list(follow(LINES))
    assert [entry.serial for entry, _ in followed] == [0, 1, 2, 3]
    assert followed[-1][1] == Head(3, digest_of(LINES[3]))
    assert list(follow(LINES[2:], followed[1][1])) == followed[2:]


@pytest.mark.parametrize("place", range(len(LINES)))
@pytest.mark.parametrize("what", ["drop", "double", "change"])
def test_what_was_done_to_a_line_is_found(place: int, what: str) -> None:
    lines = list(LINES)
    if what == "drop":
        del lines[place]
    elif what == "double":
        lines.insert(place, lines[place])
    else:
        lines[place] = lines[place].replace(b'"detail":"', b'"detail":"x')
    last = place == len(LINES) - 1
    if what != "double" and last:  # the head, which was told elsewhere, tells the two apart
        assert list(follow(lines))[-1][1] != Head(3, digest_of(LINES[3]))
        return
    with pytest.raises(LedgerBroken):
        list(follow(lines))


def test_lines_that_changed_places_are_found() -> None:
    with pytest.raises(LedgerBroken, match="line 1"):
        list(follow([LINES[0], LINES[2], LINES[1], LINES[3]]))


def account(*entries: Entry) -> Account:
    made = Account()
    for entry in entries:
        made.add(entry)
    return made


ENDED = Entry(3, 2.0, LedgerEvent.ENDED, SESSIONS[0], TWO)
AGAIN = Entry(4, 3.0, LedgerEvent.INCOMPLETE, SESSIONS[0], THREE)  # cut off, and ended by the node
REMOVED = Entry(4, 2.0, LedgerEvent.REMOVED, SESSIONS[0], "", "retention")


@pytest.mark.parametrize(
    ("entries", "files", "faults"),
    [
        ((began(1, SESSIONS[0]), ENDED), {SESSIONS[0]: FileFacts(ONE, TWO)}, []),
        ((began(1, SESSIONS[0]),), {SESSIONS[0]: FileFacts(ONE, "", running=True)}, []),
        ((began(1, SESSIONS[0]),), {SESSIONS[0]: FileFacts(ONE, "")}, []),
        ((began(1, SESSIONS[0]), ENDED, REMOVED), {}, []),
        ((), {SESSIONS[0]: FileFacts(ONE, "", running=True)}, []),
        ((began(1, SESSIONS[0]), ENDED), {}, [Fault.VANISHED]),
        ((began(1, SESSIONS[0]), ENDED), {SESSIONS[0]: FileFacts(THREE, TWO)}, [Fault.REPLACED]),
        ((began(1, SESSIONS[0]), ENDED), {SESSIONS[0]: FileFacts(ONE, "")}, [Fault.CUT]),
        ((began(1, SESSIONS[0]), ENDED), {SESSIONS[0]: FileFacts(ONE, THREE)}, [Fault.REWRITTEN]),
        ((began(1, SESSIONS[0]), ENDED, AGAIN), {SESSIONS[0]: FileFacts(ONE, THREE)}, [Fault.REWRITTEN]),
        ((began(1, SESSIONS[0]), ENDED, AGAIN), {SESSIONS[0]: FileFacts(ONE, TWO)}, []),
        ((), {SESSIONS[2]: FileFacts(ONE, TWO)}, [Fault.UNKNOWN]),
    ],
)
def test_files_are_held_against_it(
    entries: tuple[Entry, ...], files: dict[str, FileFacts], faults: list[Fault]
) -> None:
    assert [finding.fault for finding in account(*entries).compare(files)] == faults


def test_what_is_in_a_bucket_is_not_missed() -> None:
    told = account(began(1, SESSIONS[0]), began(2, SESSIONS[1]))
    assert [finding.session for finding in told.compare({}, {SESSIONS[0]})] == [SESSIONS[1]]
