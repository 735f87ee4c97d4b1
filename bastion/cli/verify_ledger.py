"""The folder held against the ledger of recordings, and the ledger against those who were told (L4)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
import orjson
from sqlalchemy import select

from bastion.cli.output import printable
from bastion.config.outputs import Audit, Recording, State, read_section
from bastion.recording.ledger import Account, Fault, FileFacts, Finding, Head, LedgerBroken, follow
from bastion.recording.ledger_file import ledgers_in, read_lines
from bastion.recording.verifying import State as Found
from bastion.recording.verifying import Verdict
from bastion.state.database import Database, Place, StateDown, password_of
from bastion.state.schema import LEDGER_HEADS
from bastion.state.schema_version import check_schema

EVENT: Final = b'"ledger_head"'
MAX_LINE: Final = 64 << 10
"""Bytes of a line of the audit log that is looked at."""


@dataclass(frozen=True, slots=True)
class Told:
    """A head that somebody was told: by whom it is known, and what it was."""

    where: str
    node: str
    head: Head


@dataclass(slots=True)
class Ledgers:
    """All ledgers of a folder, followed. `broken` are those with a line that does not fit."""

    account: Account = field(default_factory=Account)
    lines: int = 0
    broken: list[Finding] = field(default_factory=list)
    _digests: dict[tuple[str, int], set[str]] = field(default_factory=dict)

    def read(self, path: Path) -> None:
        """Raises OSError."""
        node = ""
        aside = path.name.endswith(".broken")
        try:
            for entry, head in follow(read_lines(path)):
                node = node or entry.detail
                self.account.add(entry)
                self.lines += 1
                self._digests.setdefault((node, head.serial), set()).add(head.digest)
        except LedgerBroken as error:
            if not aside:
                self.broken.append(Finding(Fault.BROKEN, "", f"{path.name}: {error.text}"))

    @property
    def nodes(self) -> frozenset[str]:
        """Whose ledgers they are."""
        return frozenset(node for node, _ in self._digests)

    def has(self, node: str, head: Head) -> bool:
        """Is that the digest of this line of a ledger that is here?"""
        return head.digest in self._digests.get((node, head.serial), ())

    def contradictions(self, told: Iterable[Told]) -> Iterator[Finding]:
        """Heads that are in no ledger: it was rolled back, or written anew."""
        for one in told:
            if not self.has(one.node, one.head):
                text = f"line {one.head.serial} of {one.node} is not the one that {one.where} was told"
                yield Finding(Fault.ROLLED_BACK, "", text)


def read_ledgers(folder: Path) -> Ledgers:
    """Raises OSError."""
    found = Ledgers()
    for path in ledgers_in(folder):
        found.read(path)
    return found


def told_in_audit(path: Path) -> Iterator[Told]:
    """What the audit log was told. Lines that are none are passed over. Raises OSError."""
    with path.open("rb") as log:
        while line := log.readline(MAX_LINE):
            if EVENT not in line:
                continue
            try:
                document = orjson.loads(line)
                node, serial, digest = document["node"], document["serial"], document["digest"]
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue
            if document.get("event") == "ledger_head" and isinstance(node, str) and isinstance(serial, int):
                yield Told(path.name, node, Head(serial, str(digest)))


def told_to(config: Path, nodes: Collection[str] = ()) -> Iterator[Told]:
    """The audit log and the state store, as far as they are there. Raises OSError.

    A store that gateways share was told by each of them: what is asked of it is the head of this gateway, and those of
    `nodes`, whose ledgers are here too. That of a gateway whose ledger is on another disk contradicts nothing.
    """
    audit = read_section(config, Audit).file
    if audit.exists():
        yield from told_in_audit(audit)
    state, folder = read_section(config, State), read_section(config, Recording).directory
    try:
        place = Place.chosen(folder, state.directory, state.url, state.password_file)
        with closing(Database(place, password_of(place))) as database:
            check_schema(database)
            with database.read() as connection:
                rows = connection.execute(select(LEDGER_HEADS)).all()
    except StateDown as error:
        click.echo(f"bastion: the state store was not asked: {printable(error.text)}", err=True)
        return
    for row in rows:
        if row.node != state.name and row.node not in nodes:
            continue
        yield Told("the state store", row.node, Head(row.serial, row.digest))


def facts_of(verdicts: Mapping[str, Verdict]) -> dict[str, FileFacts]:
    """What the files say; those of format 1 stand in no ledger."""
    return {
        session: FileFacts(one.began, one.ended, one.state is Found.LIVE)
        for session, one in verdicts.items()
        if one.state is not Found.UNSIGNED
    }
