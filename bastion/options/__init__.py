"""Options: declared once, read strictly, shown and documented from the declaration (L0, pure)."""

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
