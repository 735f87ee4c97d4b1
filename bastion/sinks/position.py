"""How far a sink has got, on disk (L2): by chain and number, as files are renamed and packed.

Invariant: what stands here was confirmed by the sink; it is written whole or not at all, and synced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bastion.state.json_file import read, write

ALL: Final = 10**18
"""A number above that of any line: of files that are of no interest to the sink."""

READ_PACKED: Final = -1
"""In place of a size: a packed file, read to its end, which nobody writes any more."""

CHAINS_KEPT: Final = 64
"""Chains that are remembered whether a file has them or not: the next file may say how they ended."""

CHAINS_MAX: Final = 10_000
"""Files of a log that are followed, at most."""

_LONGEST: Final = 2 << 20
"""Bytes of the file: some 50 for each chain."""


@dataclass(slots=True)
class Reached:
    """Of one chain: the last number that was confirmed (-1: none), and up to which size its file is known to hold
    nothing else. `gone`: its file is not there, and that it had lines up to this number was counted as a loss."""

    serial: int = -1
    size: int = 0
    gone: int = -1


@dataclass(slots=True)
class Position:
    """`first` is the chain of the first line that the sink got: what came before is nothing that it has lost. `begun`:
    it is no new sink."""

    chains: dict[str, Reached] = field(default_factory=dict)
    first: str = ""
    begun: bool = False

    def serial(self, chain: str) -> int:
        """The last number that was confirmed, -1 for none."""
        found = self.chains.get(chain)
        return -1 if found is None else found.serial

    def reach(self, chain: str, serial: int) -> None:
        """It has been confirmed up to there."""
        found = self.chains.setdefault(chain, Reached())
        found.serial = max(found.serial, serial)
        self.first = self.first or chain

    def forget_all_but(self, chains: set[str]) -> None:
        """Those whose files are there, and the last ones."""
        for chain in list(self.chains)[:-CHAINS_KEPT]:
            if chain not in chains:
                del self.chains[chain]


def load(file: Path) -> Position:
    """Raises OSError, and ValueError for a file that is not what `save` writes. A missing one: a new sink."""
    try:
        found: Any = read(file, _LONGEST)
    except FileNotFoundError:
        return Position()
    try:
        chains = {str(name): Reached(*map(int, one)) for name, one in found["chains"].items()}
        return Position(chains, str(found["first"]), begun=True)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file.name} is no position") from error


def save(file: Path, position: Position) -> None:
    """Raises OSError."""
    chains = {name: [one.serial, one.size, one.gone] for name, one in position.chains.items()}
    write(file, {"first": position.first, "chains": chains})
