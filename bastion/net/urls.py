"""URLs as values of options (L2): of servers that the gateway asks or tells."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from bastion.options.declare import Kind
from bastion.options.kinds import quoted
from bastion.options.source import At, shown

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def url(
    name: str,
    what: str,
    allowed: str,
    *,
    loopback: bool = False,
    query: bool = True,
    longest: int | None = None,
) -> Kind[str]:
    """An https URL without a password or a fragment, kept as it is written. `what` ends the fault "... is no URL of an
    inventory"; with `loopback` http does on this machine, without `query` there must be none; `longest` is in
    characters."""

    def read(value: object, at: At) -> str:
        visible = isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value
        if isinstance(value, str) and visible and (longest is None or len(value) <= longest):
            try:
                parts = urlsplit(value)
                good = parts.hostname and parts.username is None and not parts.fragment and parts.port != 0
            except ValueError:
                good = False
            if (
                good
                and (parts.scheme == "https" or (loopback and _is_local(parts)))
                and (query or not parts.query)
            ):
                return value
        raise at.wrong(f"{shown(value)} is no {what}", allowed)

    return Kind(name, allowed, read, quoted)


def _is_local(parts: SplitResult) -> bool:
    return parts.scheme == "http" and parts.hostname in _LOOPBACK
