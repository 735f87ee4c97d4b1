"""What a session did with files, as a tree (L1, pure): sftp from its notes, scp from its streams.

Invariant: a path is text that a peer chose and nothing more; memory is bounded (MOST_PLACES, MOST_DEEDS), and what is
left out is counted. Deeds stand at their place in the order of time.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from bastion.recording.channels import ChannelSummary, Survey
from bastion.recording.format import FormatError, Kind, Recorded
from bastion.recording.operations import CopyCommand, copy_command, sftp_deed
from bastion.recording.reader import Reader
from bastion.recording.scp import Copied
from bastion.wire.printable import printable

MOST_PLACES: Final = 5000
MOST_DEEDS: Final = 10_000
DEEPEST: Final = 64
"""Names of one path; what is deeper stands in one name."""

LONGEST_NAME: Final = 255
LONGEST_DEED: Final = 1024

ROOT: Final = "/"
HOME: Final = "~"
"""Where absolute paths begin, and those that a client gave without a beginning: on the target, the login's home."""


class Deed(NamedTuple):
    """Something that was done, at `time` seconds from the session's start."""

    time: float
    channel: int
    text: str


@dataclass(slots=True)
class Place:
    """A file or folder, by its name. `below`: what is in it."""

    name: str
    deeds: list[Deed] = field(default_factory=list)
    below: dict[str, Place] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """All of it as JSON values, names in order."""
        places = [self.below[name].document() for name in sorted(self.below)]
        return {"name": self.name, "deeds": [list(one) for one in self.deeds], "below": places}


class FileTree:
    """One session's. `more` deeds are not in it."""

    def __init__(self) -> None:
        self.top = Place("")
        self.more = 0
        self._places = self._deeds = 0

    def add(self, path: str, deed: Deed) -> None:
        """Something was done with this path."""
        names = _names(path)
        if self._deeds >= MOST_DEEDS:
            self.more += 1
            return
        place = self.top
        for name in names:
            found = place.below.get(name)
            if found is None:
                if self._places >= MOST_PLACES:
                    self.more += 1
                    return
                self._places += 1
                found = place.below[name] = Place(name)
            place = found
        self._deeds += 1
        place.deeds.append(deed._replace(text=printable(deed.text, LONGEST_DEED)))


def _names(path: str) -> list[str]:
    """The names of a path, safe to show; `..` is a name, as nobody knows where it led."""
    begin = ROOT if path.startswith("/") else HOME
    names = [name for name in path.split("/") if name not in ("", ".")]
    if begin == HOME and names[:1] == [HOME]:
        del names[0]
    if len(names) > DEEPEST:
        names[DEEPEST - 1 :] = ["/".join(names[DEEPEST - 1 :])]
    return [begin, *(printable(name, LONGEST_NAME) for name in names)]


class _Copying:
    """One channel of scp: where it puts what it copies."""

    def __init__(self, summary: ChannelSummary, tree: FileTree, input_kept: bool) -> None:
        self.time = 0.0
        self._tree, self._channel = tree, summary.id
        self._verb = "put" if summary.transfer[1] == "upload" else "get"
        self._place = _place_of(summary.program)
        if self._verb == "get":  # what is named there is sent by its last name
            self._place = self._place.rpartition("/")[0] + "/" if "/" in self._place else ""
        self.command = copy_command(summary, input_kept, self._heard)

    def _heard(self, one: Copied) -> None:
        path = "/".join((self._place, *one.path) if self._place else one.path)
        verb = "made" if one.is_folder and self._verb == "put" else self._verb
        self._tree.add(path, Deed(self.time, self._channel, f"{verb}: {one.text}"))


def _place_of(command: str) -> str:
    """The last path of scp's command line."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    return words[-1] if len(words) > 2 else ""


def walk(reader: Reader, tree: FileTree) -> Iterator[float]:
    """Puts a recording into the tree; gives the time of each event, for whoever has not got the time for all."""
    channels, copies = Survey(), dict[int, _Copying]()
    for event in reader:
        time = event.time_us / 1e6
        yield time
        if not event.channel:
            continue
        channels.add(event)
        if event.kind is Kind.NOTE:
            _noted(event, tree, time)
            if event.channel not in copies and b'"exec"' in bytes(event.payload):
                summary = channels.channels.get(event.channel)
                if summary is not None and summary.transfer[0] == "scp" and not summary.has_pty:
                    copies[event.channel] = _Copying(summary, tree, reader.header.input)
            continue
        copying = copies.get(event.channel)
        command: CopyCommand | None = None if copying is None else copying.command
        if copying is None or command is None or event.stream:
            continue
        copying.time = time
        if event.kind is Kind.DATA:
            command.data(event.side, event.payload)
        elif event.kind is Kind.GAP:
            command.missing(event.side, event.gap.size)


def _noted(event: Recorded, tree: FileTree, time: float) -> None:
    try:
        found = sftp_deed(event.note)
    except FormatError:
        return
    if found is None:
        return
    path, to, text = found
    tree.add(path, Deed(time, event.channel, f"{text}, to {to}" if to else text))
    if to:
        tree.add(to, Deed(time, event.channel, f"{text}, from {path}"))
