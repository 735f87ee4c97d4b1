"""One line of the log as detections see it (L1, pure), and its fields, none of which is trusted to be there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bastion.detect.memory import number
from bastion.detect.person import Person
from bastion.detect.places import Locate
from bastion.detect.settings import Settings
from bastion.observe.events.base import Line

LONGEST_WORD: Final = 128


@dataclass(frozen=True, slots=True)
class Seen:
    """A line, when it was written (seconds since 1970), whose it is and what is known of them; `learned`: enough to
    call something unusual."""

    line: Line
    at: float
    user: str
    person: Person
    learned: bool
    settings: Settings
    locate: Locate

    @property
    def session(self) -> str:
        """What it happened in."""
        return word(self.line, "session") or word(self.line, "connection")

    @property
    def target(self) -> str:
        """Where, as far as the line says it."""
        return word(self.line, "target")


def word(line: Line, name: str) -> str:
    """A field that is text, cut; "" for everything else."""
    value = line.get(name)
    return value[:LONGEST_WORD] if isinstance(value, str) else ""


def count(line: Line, name: str) -> int:
    """A field that is a number of something; 0 for everything else."""
    return int(number(line.get(name)))


def size(amount: float) -> str:
    """Bytes for people: `3.2 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def span(seconds: float) -> str:
    """A time for people: `3 d`, `5 h`, `10 min`, `42 s`."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
