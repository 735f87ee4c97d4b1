"""Is an audit log what was written? (L2, no I/O: lines are given to it.)

Lines are followed along the chains of `observe.audit_chain`, the oldest file first. What the chain alone cannot show,
that its last lines or a whole file are gone, is shown by what others were told: the ledger of recordings every minute,
and a file of the log by whoever went on in the next one (`audit_continued`).

Whoever can write the log, the ledger and the state store can write all three anew: keep one of them elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import orjson

from bastion.observe.audit_chain import NO_DIGEST, Bound, Link, digest_of, read_bound

MOST_FINDINGS: Final = 1000
"""Told one by one; those beyond are counted."""


class Fault(StrEnum):
    """What is wrong with a line."""

    CHANGED = "changed"  # it is not what was written
    MISSING = "missing"  # it is not there
    DOUBLED = "doubled"  # its number was there before
    REORDERED = "reordered"  # it stands behind later ones
    TRUNCATED = "truncated"  # the chain had come further
    FOREIGN = "foreign"  # it has no number: nobody wrote it who writes here
    TORN = "torn"  # the same, and it is no JSON: a power loss leaves such a line
    RESTARTED = "restarted"  # a chain begins where another one had not ended


@dataclass(frozen=True, slots=True)
class Finding:
    """`line` counts from 1; 0: the whole file, or what is not there."""

    fault: Fault
    file: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Told:
    """That the log had come to this line, said by `where`; `time` in seconds since 1970, 0 where that is not known."""

    where: str
    link: Link
    time: float = 0.0


@dataclass(slots=True)
class Story:
    """What was seen of one chain."""

    chain: str
    first: int
    last: int
    digest: str
    file: str
    line: int
    gaps: dict[int, Finding] = field(default_factory=dict)  # numbers that did not come, at most MOST_FINDINGS


@dataclass(slots=True)
class Result:
    """What came of it. `older`: lines from before there was a chain. `unknown`: told, of chains that are not here."""

    lines: int = 0
    older: int = 0
    stories: dict[str, Story] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    more: int = 0
    unknown: int = 0

    @property
    def whole(self) -> bool:
        return not self.findings


class Verifier:
    """Give it every line in order, then `finish`."""

    def __init__(self, told: Iterable[Told], complete: bool = False) -> None:
        """`complete`: the files are all that there are, so a chain that is told and is not here is missed when it is
        younger than they are."""
        self._told: dict[str, dict[int, list[Told]]] = {}
        for one in told:
            self._told.setdefault(one.link.chain, {}).setdefault(one.link.serial, []).append(one)
        self._complete = complete
        self._since: float | None = None  # the time of the first line
        self._in_file = ""  # the chain of the file's last line
        self._file = ""
        self._begins: dict[str, float] = {}  # file -> time of its first line of a chain
        self._unbound_in = ""  # the last file with a line from before there was a chain
        self._continued: dict[
            str, tuple[str, int, int]
        ] = {}  # chain -> where it is said, and up to which line
        self.result = Result()

    def add(self, file: str, number: int, line: bytes) -> None:
        """One line of a file, without its newline."""
        if not line:
            return
        result = self.result
        result.lines += 1
        if self._since is None:
            self._since = _time_of(line)
        if file != self._file:
            self._file, self._in_file = file, ""
        bound = read_bound(line)
        if bound is None:
            self._unbound(file, number, line)
            return
        digest = digest_of(line)
        self._check_told(file, number, bound, digest)
        story = result.stories.get(bound.chain)
        if story is None:
            result.stories[bound.chain] = self._begin(file, number, bound, digest)
        else:
            self._go_on(story, file, number, bound, digest)
        self._in_file = bound.chain
        if file not in self._begins:
            self._begins[file] = _time_of(line) or 0.0
        for one in told_by(file, (line,)):
            self._continued.setdefault(one.link.chain, (file, number, one.link.serial))

    def finish(self) -> Result:
        """What was told and is not there, last."""
        result, missed = self.result, self._check_continued()
        for chain, numbers in self._told.items():
            story = result.stories.get(chain)
            newest = numbers[max(numbers)][-1]
            if story is None:
                result.unknown += 1
                if (
                    chain not in missed
                    and self._complete
                    and newest.time
                    and newest.time > (self._since or 0)
                ):
                    text = f"a chain of which {newest.where} was told (line {newest.link.serial} of {chain})"
                    self._found(Fault.MISSING, "", 0, f"{text} is in none of the files")
            elif newest.link.serial > story.last:
                text = f"the chain ends with line {story.last}, and {newest.where} was told of {newest.link.serial}"
                self._found(Fault.TRUNCATED, story.file, story.line, text)
        return result

    def _unbound(self, file: str, number: int, line: bytes) -> None:
        if not self.result.stories:
            self.result.older += 1
            self._unbound_in = file
        elif _is_object(line):
            self._found(Fault.FOREIGN, file, number, "it has no number and no digest of the line before")
        else:
            self._found(Fault.TORN, file, number, "it is no JSON, and of no chain")

    def _begin(self, file: str, number: int, bound: Bound, digest: str) -> Story:
        oldest = not self.result.stories
        if self._in_file:
            text = f"a chain begins behind line {self.result.stories[self._in_file].last} of another one"
            self._found(Fault.RESTARTED, file, number, text)
        if bound.serial and (not oldest or self.result.older):
            self._found(Fault.MISSING, file, number, f"its chain begins with line {bound.serial}, not with 0")
        if not bound.serial and bound.previous != NO_DIGEST:
            self._found(Fault.CHANGED, file, number, "the first line of a chain names one before it")
        return Story(bound.chain, bound.serial, bound.serial, digest, file, number)

    def _go_on(self, story: Story, file: str, number: int, bound: Bound, digest: str) -> None:
        wanted = story.last + 1
        if bound.serial < wanted:
            gap = story.gaps.pop(bound.serial, None)
            if gap is None:
                self._found(Fault.DOUBLED, file, number, f"line {bound.serial} of the chain was there before")
                return
            if gap not in story.gaps.values() and gap in self.result.findings:
                self.result.findings.remove(gap)
            text = f"line {bound.serial} of the chain stands behind line {story.last}"
            self._found(Fault.REORDERED, file, number, text)
            return
        if bound.serial > wanted:
            lost = f"line {wanted}" if bound.serial == wanted + 1 else f"lines {wanted} to {bound.serial - 1}"
            gap = self._found(Fault.MISSING, file, number, f"{lost} of the chain should stand before it")
            room = max(0, MOST_FINDINGS - len(story.gaps))
            story.gaps |= dict.fromkeys(range(wanted, min(bound.serial, wanted + room)), gap)
        elif bound.previous != story.digest:
            text = f"line {story.last} of the chain is not what the line after it was bound to"
            self._found(Fault.CHANGED, story.file, story.line, text)
        story.last, story.digest, story.file, story.line = bound.serial, digest, file, number

    def _check_told(self, file: str, number: int, bound: Bound, digest: str) -> None:
        for one in self._told.get(bound.chain, {}).get(bound.serial, ()):
            if one.link.digest != digest:
                text = f"line {bound.serial} of the chain is not the one that {one.where} was told"
                self._found(Fault.CHANGED, file, number, text)

    def _check_continued(self) -> set[str]:
        """The file that another one goes on from must be here, unless that is the oldest: whoever rotates drops those.
        Which is the oldest its lines say, and not the order: a copy may have changed the times of files."""
        oldest = min(self._begins, key=lambda file: self._begins[file], default="")
        if self._unbound_in not in ("", oldest):
            oldest = ""  # what is older than that has no chain, so that it goes on from none
        missed = set()
        for chain, (file, number, serial) in self._continued.items():
            if chain not in self.result.stories and file != oldest:
                text = f"it goes on from line {serial} of chain {chain}, which is in none of the files"
                self._found(Fault.MISSING, file, number, text)
                missed.add(chain)
        return missed

    def _found(self, fault: Fault, file: str, line: int, text: str) -> Finding:
        found = Finding(fault, file, line, text)
        if any((one.fault, one.file, one.line) == (fault, file, line) for one in self.result.findings[-2:]):
            return found  # the same line, found twice
        if len(self.result.findings) < MOST_FINDINGS:
            self.result.findings.append(found)
        else:
            self.result.more += 1
        return found


def told_by(file: str, lines: Iterable[bytes]) -> Iterator[Told]:
    """What lines `audit_continued` say about the files before theirs."""
    for line in lines:
        if b'"audit_continued"' not in line:
            continue
        document = _object(line)
        chain, serial, digest = (document.get(f"before_{name}") for name in ("chain", "seq", "digest"))
        if document.get("event") != "audit_continued" or type(serial) is not int:
            continue
        yield Told(file, Link(str(chain), serial, str(digest)))


def _object(line: bytes) -> dict[str, Any]:
    """{} for anything else."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _is_object(line: bytes) -> bool:
    return bool(_object(line))


def _time_of(line: bytes) -> float | None:
    try:
        return datetime.fromisoformat(str(_object(line).get("ts"))).timestamp()
    except ValueError:
        return None
