"""What a replay needs of a recording before it shows anything, kept so that the file need not be read for it (L2).

Invariant: it is asked only while the recording's file is as it was when it was read; what it says of a channel is what
`channels.survey` says of the file.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import orjson

from bastion.indexing.searching import Hit
from bastion.indexing.store import IndexFile, IndexUnfit, Stored
from bastion.indexing.words import Question
from bastion.recording.channels import Survey
from bastion.recording.commands import Command
from bastion.recording.pieces import Pieces
from bastion.recording.reader import Place, Reader
from bastion.recording.redacted import RedactedReader
from bastion.recording.resizes import Resize

_MASKED: Final = "it has {} with its secrets masked; the recording is read from its beginning"
_OTHERWISE: Final = "{} was masked by other patterns than now; run `bastion index` again"


@dataclass(frozen=True, slots=True)
class Played:
    """The channels, and channel -> control strings in it that some terminals show, and that none does. `pieces` prove
    what is read of a copy elsewhere. An index of before has no `resizes` and no `pieces`."""

    channels: Survey
    strings: dict[int, tuple[int, int]]
    resizes: tuple[Resize, ...] = ()
    pieces: Pieces | None = None

    def pack(self) -> str:
        """As JSON text."""
        strings = [[channel, *counts] for channel, counts in self.strings.items()]
        document = {
            **self.channels.document(),
            "strings": strings,
            "resizes": [list(one) for one in self.resizes],
            "pieces": None if self.pieces is None else self.pieces.document(),
        }
        return orjson.dumps(document).decode()

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
            resizes = tuple(Resize(float(at), *map(int, more)) for at, *more in document.get("resizes", ()))
        except (TypeError, LookupError):
            raise ValueError("no counts of strings") from None
        pieces = document.get("pieces")
        return cls(Survey.of(document), strings, resizes, None if pieces is None else Pieces.of(pieces))


class IndexedSession:
    """One recording in the index. Raises IndexUnfit for what the index is to blame for."""

    def __init__(self, file: IndexFile, stored: Stored, played: Played) -> None:
        self.problem = stored.problem
        self.played = played
        self._file = file
        self._stored = stored

    @classmethod
    def find(
        cls, file: IndexFile, path: Path, redaction: str, size: int | None = None, digests: str = ""
    ) -> IndexedSession | None:
        """The recording in this file; None when the index does not know it as it is now. One that was masked by
        another redaction than that of this digest is an IndexUnfit too: its screens are others.

        Of one that lies in a bucket alone `path` has the name, and `size` and `digests` say what is there: its bytes,
        and its SHA-256 in hex where that is known, or two while it is being replaced.
        """
        found = file.played(path, size)
        if found is None or not found.played:
            return None
        if found.redaction != redaction:
            raise IndexUnfit(_MASKED.format(path.stem) if not redaction else _OTHERWISE.format(path.stem))
        with file.blamed():
            played = Played.unpack(found.played)
        if digests and played.pieces is not None and played.pieces.whole not in digests.split():
            return None
        return cls(file, found, played)

    def mask(self, reader: Reader) -> None:
        """A reader of this recording that masks by the same patterns is told what they found, and looks no more."""
        if isinstance(reader, RedactedReader):
            with self._file.blamed():
                reader.masked_by(self._stored.masks)

    def keyframe(self, channel: int, time: float) -> tuple[float, Place, bytes | None] | None:
        """`IndexFile.keyframe` of this session."""
        return self._file.keyframe(self._stored.number, channel, time)

    def commands(self) -> list[Command]:
        """All of them, in the order of time."""
        return [command for _, command in self._file.commands(self._file.sessions(self._stored.number))]

    def hits(self, words: str, most: int) -> list[Hit]:
        """The lines of it that are asked for, `most` at most."""
        found = self._file.search(Question.of(words), self._file.sessions(self._stored.number))
        with closing(found):
            return list(islice(found, most))
