"""The bucket held against the index (L4): which recordings are there, which should be, and are not."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click

from bastion.archive.place import parse_url
from bastion.cli.bucket import Elsewhere, IndexAway, known_in_bucket
from bastion.cli.copies import Copies
from bastion.cli.output import printable
from bastion.config.outputs import State, read_section
from bastion.errors import StoreFault
from bastion.recording.ledger import Fault, Finding


@dataclass(slots=True)
class Objects:
    """What is in the bucket. `there` are sessions with an object, `objects` where each is; `findings` tell what the
    index has there and is not; `asked` is false when the bucket or the index could not be asked, and says nothing
    then."""

    objects: list[Elsewhere] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    asked: bool = True

    @property
    def there(self) -> frozenset[str]:
        """Sessions that need no file."""
        return frozenset(one.session for one in self.objects)


def objects_in(config: Path, copies: Copies, files: Collection[str]) -> Objects:
    """Asks for the names and sizes of what is there, and for nothing of its content.

    `files` are sessions whose recording is in the folder: an object of theirs is no more than a copy.
    """
    try:
        rows = known_in_bucket(config, "")
        node = read_section(config, State).name
        return _compared([one for one in rows if one.node in ("", node)], copies, files)
    except IndexAway as error:
        why = f"the index cannot be read: {error}"
    except StoreFault as fault:
        why = printable(fault.text)
    click.echo(f"bastion: what is in the bucket is not known: {why}", err=True)
    return Objects(asked=False)


def _compared(rows: list[Elsewhere], copies: Copies, files: Collection[str]) -> Objects:
    from bastion.archive.contents import contents

    bucket, found, far = copies.bucket, Objects(), 0
    lying = {bucket.place.url(one.key): one for one in contents(bucket)}
    for row in rows:
        if copies.is_another(row):
            found.objects.append(row)
            far += 1
            continue
        here = lying.pop(row.url, None)
        size = _size_of(copies, row) if here is None else here.size
        if size is None:
            text = f"the index has it at {row.url}, and there is nothing"
            found.findings.append(Finding(Fault.VANISHED, row.session, text))
            continue
        found.objects.append(row)
        if size != row.size and " " not in row.sha256:  # else it was being rewrapped, and either may be there
            text = f"{row.url} has {size} bytes, and {row.size} were uploaded"
            found.findings.append(Finding(Fault.REPLACED, row.session, text))
    found.objects += [
        Elsewhere(one.session, url, size=one.size) for url, one in lying.items() if one.session not in files
    ]
    if far:
        found.asked = False
        click.echo(f"bastion: {far} recordings are in another bucket: they are not looked at", err=True)
    return found


def _size_of(copies: Copies, row: Elsewhere) -> int | None:
    """Of what does not lie under the prefix, which may have been another once."""
    at = parse_url(row.url)
    there = None if at is None else copies.bucket.head(at[1], row.version)
    return None if there is None else there.size


def brought(found: Objects, copies: Copies) -> Iterator[tuple[Elsewhere, Path]]:
    """A copy of each object, one at a time. Those that cannot be had are told, and counted by `copies`."""
    mine = [one for one in found.objects if not copies.is_another(one)]
    for number, one in enumerate(mine, 1):
        try:
            with copies.copy(one, f"{number} of {len(mine)}") as entry:
                yield one, entry.path
        except StoreFault as fault:
            copies.miss(one, fault.text)
    copies.conclude()
