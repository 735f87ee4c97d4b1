"""What stands in the bodies of requests and opens, and how it is told to people.

Invariant: `detail` is what recordings and the audit log may show of a body: every field, no secret. Peer bytes become
text in which every one of them stays visible.
"""

from __future__ import annotations

from bastion.wire.struct import Struct

Detail = dict[str, str | int]
"""Facts about one request for people: plain text and numbers."""

MIXED_LIMIT = 4096
"""Bytes in which what is UTF-8 stays readable beside what is not: telling them apart costs 0.3 us for each that is not,
76 ms for the 250 KB of one request."""


def printable(raw: bytes) -> str:
    """Peer bytes as text that keeps every byte visible: what is not UTF-8 becomes `\\xNN`.

    In long texts every byte that is not ASCII does, once one of them is no UTF-8.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        if len(raw) <= MIXED_LIMIT:
            return raw.decode("utf-8", "backslashreplace")
        return raw.decode("latin-1").encode("ascii", "backslashreplace").decode("ascii")


class Body(Struct):
    """The fields of one kind of request, open or reply."""

    __slots__ = ()

    def detail(self) -> Detail:
        """Every field under its name. A body overrides this where a name says too little, or a field nothing."""
        return {name: _plain(getattr(self, name)) for name in self.KINDS}


def _plain(value: str | bytes | int) -> str | int:
    if isinstance(value, bytes):
        return printable(value)
    return int(value) if isinstance(value, bool) else value
