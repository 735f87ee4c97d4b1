"""What a replay needs of a recording before it shows anything, kept so that the file need not be read for it (L2).

Invariant: it is asked only while the recording's file is as it was when it was read; what it says of a channel is what
`channels.survey` says of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from bastion.indexing.store import IndexFile
from bastion.recording.channels import Survey
from bastion.recording.commands import Command
from bastion.recording.reader import Place


@dataclass(frozen=True, slots=True)
class Played:
    """The channels, and channel -> control strings in it that some terminals show, and that none does."""

    channels: Survey
    strings: dict[int, tuple[int, int]]

    def pack(self) -> str:
        """As JSON text."""
        strings = [[channel, *counts] for channel, counts in self.strings.items()]
        return orjson.dumps({**self.channels.document(), "strings": strings}).decode()

    @classmethod
    def unpack(cls, text: str) -> Played:
        """`pack` read back. Raises ValueError for what is none."""
        document = orjson.loads(text)
        if not isinstance(document, dict):
            raise ValueError("no channels")
        try:
            strings = {
                int(channel): (int(hidden), int(quiet)) for channel, hidden, quiet in document["strings"]
            }
        except (TypeError, LookupError):
            raise ValueError("no counts of strings") from None
        return cls(Survey.of(document), strings)


class IndexedSession:
    """One recording in the index. Raises IndexUnfit for what the index is to blame for."""

    def __init__(self, file: IndexFile, number: int, problem: str, played: Played) -> None:
        self.problem = problem
        self.played = played
        self._file = file
        self._number = number

    @classmethod
    def find(cls, file: IndexFile, path: Path, redaction: str) -> IndexedSession | None:
        """The recording in this file; None when the index does not know it as it is now, masked by that redaction."""
        found = file.played(path, redaction)
        if found is None or not found[2]:
            return None
        with file.blamed():
            return cls(file, found[0], found[1], Played.unpack(found[2]))

    def keyframe(self, channel: int, time: float) -> tuple[float, Place, bytes | None] | None:
        """`IndexFile.keyframe` of this session."""
        return self._file.keyframe(self._number, channel, time)

    def commands(self) -> list[Command]:
        """All of them, in the order of time."""
        return [command for _, command in self._file.commands(self._file.sessions(self._number))]
