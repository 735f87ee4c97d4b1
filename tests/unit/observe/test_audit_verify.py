"""Every way to tamper with an audit log is named, with the line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from bastion.observe.audit_chain import NO_DIGEST, Link, bind, digest_of, read_bound
from bastion.observe.audit_verify import MOST_FINDINGS, Fault, Result, Told, Verifier, told_by

NAME = "ab" * 8


def made(count: int, name: str = NAME, first: Link | None = None) -> list[bytes]:
    """Lines of one chain, without newlines."""
    head, lines = first or Link(name, -1, NO_DIGEST), []
    for number in range(count):
        text = b'{"ts":"2026-11-30T10:00:%02d.000Z","event":"x%d"}\n' % (number % 60, number)
        line, head = bind(text, head)
        lines.append(line[:-1])
    return lines


def head_of(line: bytes) -> Link:
    bound = read_bound(line)
    assert bound is not None
    return Link(bound.chain, bound.serial, digest_of(line))


def verified(*files: Sequence[bytes], told: Sequence[Told] = (), complete: bool = False) -> Result:
    verifier = Verifier(told, complete)
    for number, lines in enumerate(files):
        for at, line in enumerate(lines, 1):
            verifier.add(f"f{number}", at, line)
    return verifier.finish()


def found(result: Result) -> list[tuple[Fault, str, int]]:
    return [(one.fault, one.file, one.line) for one in result.findings]


def test_what_was_written_is_whole() -> None:
    lines = made(50)
    result = verified(lines, told=[Told("ledger", head_of(lines[20])), Told("ledger", head_of(lines[49]))])
    assert result.whole and result.lines == 50
    story = result.stories[NAME]
    assert (story.first, story.last, story.digest) == (0, 49, digest_of(lines[49]))


def change(lines: list[bytes]) -> None:
    lines[4] = lines[4].replace(b"x4", b"y4")


def drop(lines: list[bytes]) -> None:
    del lines[4:6]


def double(lines: list[bytes]) -> None:
    lines.insert(6, lines[4])


def swap(lines: list[bytes]) -> None:
    lines[4], lines[5] = lines[5], lines[4]


def add(lines: list[bytes]) -> None:
    lines.insert(4, b'{"ts":"2026-11-30T10:00:00.000Z","event":"x"}')


def tear(lines: list[bytes]) -> None:
    lines.insert(4, b'{"ts":"2026-11-3')


def forge(lines: list[bytes]) -> None:
    """A line between with a number that is right, and all behind it bound anew but not numbered anew."""
    lines.insert(4, bind(b'{"event":"forged"}\n', head_of(lines[3]))[0][:-1])


def cut(lines: list[bytes]) -> None:
    del lines[7:]


def begin_again(lines: list[bytes]) -> None:
    lines[7:] = made(3, "cd" * 8)


def write_anew(lines: list[bytes]) -> None:
    """Changed, and bound anew to the end."""
    lines[4:] = made(6, first=head_of(lines[3]))


TAMPERED: list[tuple[Callable[[list[bytes]], None], list[tuple[Fault, int]]]] = [
    (change, [(Fault.CHANGED, 5)]),
    (drop, [(Fault.MISSING, 5)]),
    (double, [(Fault.DOUBLED, 7)]),
    (swap, [(Fault.REORDERED, 6)]),
    (add, [(Fault.FOREIGN, 5)]),
    (tear, [(Fault.TORN, 5)]),
    (forge, [(Fault.DOUBLED, 6), (Fault.CHANGED, 5)]),
    (cut, [(Fault.TRUNCATED, 7)]),
    (begin_again, [(Fault.RESTARTED, 8), (Fault.TRUNCATED, 7)]),
    (write_anew, [(Fault.CHANGED, 10)]),
]


@pytest.mark.parametrize(("tamper", "expected"), TAMPERED, ids=lambda value: getattr(value, "__name__", ""))
def test_each_way_to_tamper_is_named_with_the_line(
    tamper: Callable[[list[bytes]], None], expected: list[tuple[Fault, int]]
) -> None:
    lines = made(10)
    told = [Told("ledger.gw1.jsonl", head_of(lines[9]), 1.0)]
    tamper(lines)
    assert found(verified(lines, told=told)) == [(fault, "f0", line) for fault, line in expected]


@pytest.mark.parametrize("at", range(10))
def test_no_byte_of_a_line_can_be_another(at: int) -> None:
    lines = made(10)
    told = [Told("ledger", head_of(lines[9]))]
    for index in range(len(lines[at])):
        tampered = list(lines)
        tampered[at] = lines[at][:index] + bytes((lines[at][index] ^ 1,)) + lines[at][index + 1 :]
        assert not verified(tampered, told=told).whole, index


def test_the_oldest_files_may_be_gone_and_no_others() -> None:
    lines = made(30)
    assert verified(lines[10:]).whole
    assert verified(lines[10:20], lines[20:]).whole
    assert found(verified(lines[:10], lines[20:])) == [(Fault.MISSING, "f1", 1)]
    other = made(20, "cd" * 8)
    assert verified(lines[10:], other).whole
    assert found(verified(lines[10:], other[5:])) == [(Fault.MISSING, "f1", 1)]


def test_lines_from_before_there_was_a_chain_are_counted() -> None:
    result = verified([b'{"event":"old"}', b"torn", *made(3)])
    assert result.whole and result.older == 2


def test_a_file_says_where_the_one_before_it_ended() -> None:
    old = made(10)
    last = head_of(old[9])
    line = b'{"event":"audit_continued","before_chain":"%b","before_seq":%d,"before_digest":"%b"}\n' % (
        last.chain.encode(),
        last.serial,
        last.digest.encode(),
    )
    new = [bind(line, Link("cd" * 8, -1, NO_DIGEST))[0][:-1]]
    told = list(told_by("f1", [*new, b'"audit_continued"', b'{"event":"audit_continued"}']))
    assert told == [Told("f1", last)]
    assert verified(old, new, told=told).whole
    assert found(verified(old[:8], new, told=told)) == [(Fault.TRUNCATED, "f0", 8)]


def continued(name: str, before: bytes, count: int = 3, hour: int = 11) -> list[bytes]:
    """A file that goes on from the one that ended with `before`, said by two processes."""
    last, head, lines = head_of(before), Link(name, -1, NO_DIGEST), []
    line = b'{"ts":"2026-11-30T%d:00:00.000Z","event":"audit_continued","before_chain":"%b",' % (
        hour,
        last.chain.encode(),
    )
    line += b'"before_seq":%d,"before_digest":"%b"}\n' % (last.serial, last.digest.encode())
    for _ in range(2):
        bound, head = bind(line, head)
        lines.append(bound[:-1])
    return [*lines, *made(count, first=head)]


def test_a_file_between_two_others_is_missed_without_a_ledger() -> None:
    one = made(3)
    two = continued("cd" * 8, one[-1])
    three = continued("ef" * 8, two[-1], hour=12)
    assert verified(one, two, three).whole and verified(two, three).whole and verified(three).whole
    assert verified(three, two).whole and verified(two, one).whole, "a copy has new times, and another order"
    assert found(verified(one, three)) == [(Fault.MISSING, "f1", 1)]
    assert verified(two, continued("12" * 8, two[-1], hour=13)).whole, "whoever slept through a rotation"
    later = Told("ledger", head_of(two[-1]), 4e9)
    assert found(verified(one, three, told=[later], complete=True)) == [(Fault.MISSING, "f1", 1)], "said once"


def test_a_file_whose_lines_were_unbound_is_not_from_before_there_was_a_chain() -> None:
    one = made(3)
    plain = [line[: line.index(b',"chain"')] + b"}" for line in one]
    result = verified(plain, continued("cd" * 8, one[-1]))
    assert result.older == 3 and found(result) == [(Fault.MISSING, "f1", 1)]


def test_a_whole_file_that_is_gone_is_missed_when_all_are_looked_at() -> None:
    told = [
        Told("ledger", Link("cd" * 8, 7, "0" * 64), 4e9),
        Told("ledger", Link("ef" * 8, 7, "0" * 64), 1.0),
    ]
    result = verified(made(3), told=told, complete=True)
    assert found(result) == [(Fault.MISSING, "", 0)] and "cdcd" in result.findings[0].text
    assert verified(made(3), told=told).unknown == 2
    assert not verified([], told=told, complete=True).whole


def test_no_more_is_kept_of_what_is_wrong_than_somebody_reads() -> None:
    lines = made(3 * MOST_FINDINGS)[::2]
    result = verified(lines)
    assert len(result.findings) == MOST_FINDINGS and result.more == MOST_FINDINGS // 2 - 1
    assert not result.whole


def test_a_large_gap_that_is_filled_behind_is_a_reordering_of_each() -> None:
    lines = made(9)
    result = verified([*lines[:2], *lines[5:], *lines[2:5]])
    assert found(result) == [(Fault.REORDERED, "f0", line) for line in (7, 8, 9)]
