"""The ledger of recordings after its loss (L4): what the bucket holds is written into a new one, and what nobody can
prove any more is told.

Invariant: nothing that some ledger knows is written again, and nothing at all unless it is asked for: whoever puts a
recording into the bucket would else have it in the ledger by the next rebuild.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bastion.cli.copies import Copies
from bastion.cli.output import fail, printable
from bastion.cli.progress import counting
from bastion.cli.stores import Stored
from bastion.cli.verify_ledger import Ledgers, read_ledgers, told_to
from bastion.clock import SystemClock
from bastion.errors import StoreFault
from bastion.recording.ledger import Entry, LedgerEvent
from bastion.recording.ledger_file import LedgerFile, ledger_path

if TYPE_CHECKING:
    from bastion.archive.contents import Lying

FOUND = "found in the bucket by rebuild-index"
"""The detail of a line that was not written when the recording began."""

AT_ONCE = 1000
"""Lines in one write."""


def rebuild_ledger(config: Path, copies: Copies, stored: Stored, wanted: bool) -> None:
    """Counts the recordings of the bucket that no ledger of the folder knows; where `wanted`, writes them into that of
    this gateway. Ends the command when the bucket or the folder refuses."""
    from bastion.archive.contents import contents

    folder = stored.recordings.directory
    try:
        ledgers = read_ledgers(folder)
        strangers = [one for one in contents(copies.bucket) if one.session not in ledgers.account]
        if not strangers:
            return
        if not wanted:
            click.echo(
                f"{len(strangers)} recordings in the bucket are in no ledger of {folder}: where it was lost with the"
                " disk, --ledger writes them into a new one"
            )
            return
        lost = _lost(config, stored.node, ledgers)
        written = _write(copies, stored, strangers)
    except StoreFault as fault:
        fail(f"the bucket {copies.place.bucket}: {printable(fault.text)}: run it again", 3)
    except OSError as error:
        fail(f"{error.filename or folder}: {error.strerror}", 3)
    click.echo(f"the ledger: {written} recordings of the bucket are in it from now on")
    if len(strangers) > written:
        click.echo(
            f"{len(strangers) - written} are of format 1 or damaged at their beginning, and in no ledger"
        )
    for line in _unproven(written, lost):
        click.echo(line)


def _write(copies: Copies, stored: Stored, strangers: Sequence[Lying]) -> int:
    """How many lines it has more now."""
    from bastion.archive.rebuilding import began

    file = LedgerFile(ledger_path(stored.recordings.directory, stored.node), stored.node)
    waiting, written = list[Entry](), 0
    with counting("reading how they began") as told:
        for number, (session, link) in enumerate(began(copies.bucket, strangers), 1):
            now = round(SystemClock().time(), 3)
            if link:
                waiting.append(Entry(0, now, LedgerEvent.BEGAN, session, link.hex(), FOUND))
            if waiting and (len(waiting) == AT_ONCE or number == len(strangers)):
                file.append(waiting, now)
                written += len(waiting)
                waiting = []
            told(number, len(strangers))
    return written


def _lost(config: Path, node: str, ledgers: Ledgers) -> tuple[int, str]:
    """How many lines the ledger had that is lost, as far as somebody was told, and who; (0, "") when nobody was."""
    there = [one for one in told_to(config) if one.node == node and not ledgers.has(node, one.head)]
    most = max(there, key=lambda one: one.head.serial, default=None)
    return (0, "") if most is None else (most.head.serial + 1, most.where)


def _unproven(written: int, lost: tuple[int, str]) -> list[str]:
    """What this ledger cannot say, and the one that is lost could."""
    lines, where = lost
    told = [
        "what cannot be proven any more: which recordings were there besides and are not in the bucket (removed by"
        " retention, never uploaded, or taken away), and that these began as they say they did; each still proves"
        " itself by its signatures (`bastion verify --store`)"
    ]
    if lines:
        rest = max(0, lines - 1 - 2 * written)
        told.append(
            f"{where} knows of {lines} lines of the ledger that is lost: these {written} recordings had two each, so"
            f" {rest} lines told of others, {rest // 2} recordings at most"
        )
    else:
        told.append("neither the audit log nor the state store was told how long the ledger was that is lost")
    return told
