"""Options: declared once, read strictly, shown and documented from the declaration (L0, pure).

What it is for: a dataclass field made by `option` has a name, a type, a default, a line of help and a scope. `read`
turns a table of TOML into that dataclass; the sample file and the reference are written from the same field.

Invariants: an option is declared in one place; a value of the wrong type, an unknown key and a missing one are told
with file, line, key, what is wrong and what may stand there; all faults are told at once; a kind (`kinds`) reads
what it shows, so that a dump can be read again.

May import: L0 (`errors`). It is pure but for `paths`, which is L2 because a path belongs to a file system. Which
options there are is said in `config`, `policy` and `auth`.

- `declare`: `option`, `Kind`, `Scope`, and reading a table into a dataclass
- `kinds`: numbers, durations, sizes, lists, choices, addresses, sections
- `paths`: paths, taken relative to the file that names them
- `positions`: at which line each key of a TOML text stands
- `source`: where a value was written, and the faults of one file
"""

from bastion.options.declare import REQUIRED, Declared, Kind, Scope, declarations, option, read
from bastion.options.source import (
    At,
    ConfigErrors,
    Key,
    KeyPath,
    Problems,
    Source,
    Unreadable,
    did_you_mean,
    dotted,
    nearest,
    shown,
)

__all__ = [
    "REQUIRED",
    "At",
    "ConfigErrors",
    "Declared",
    "Key",
    "KeyPath",
    "Kind",
    "Problems",
    "Scope",
    "Source",
    "Unreadable",
    "declarations",
    "did_you_mean",
    "dotted",
    "nearest",
    "option",
    "read",
    "shown",
]
