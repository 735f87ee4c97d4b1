"""What one LDAP entry says about an account (L1, pure): name, id and keys. Its state: `auth.ldap_state`, its
groups: `auth.ldap_groups`.

Everything here came from a server and is bounded: counts and lengths have named limits, and a value that
cannot be read never widens anything.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bastion.auth.identity import LOGIN_NAME
from bastion.errors import ProtocolError
from bastion.wire.key_options import MAX_LINE
from bastion.wire.keys import AuthorizedKey, parse_authorized_key

# Keys of one account that are looked at. Each is at most MAX_LINE (8 KiB): 512 KiB a login at worst.
MAX_KEYS = 64
MAX_ID = 128

# What "surrogateescape" makes of bytes that are no UTF-8.
_FOREIGN = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One search result: its DN, and its values by lower-cased attribute name."""

    dn: str
    values: Mapping[str, Sequence[bytes]]

    def texts(self, attribute: str) -> list[str]:
        """The values that are UTF-8; others are left out."""
        found = []
        for value in self.values.get(attribute.lower(), ()):
            try:
                found.append(value.decode("utf-8"))
            except UnicodeDecodeError:
                continue
        return found

    def has(self, attribute: str) -> bool:
        return bool(self.values.get(attribute.lower()))


def own_name(entry: Entry, attribute: str, asked: str) -> str | None:
    """The entry's own value that, lower-cased, is the asked name; None when it has no such value.

    A server's matching rule may fold blanks, widths and accents; ours folds ASCII case and nothing else.
    """
    for value in entry.texts(attribute):
        if value.isascii() and value.lower() == asked:
            return value
    return None


def account_name(entry: Entry, attribute: str, aliases: Sequence[str], asked: str) -> str | None:
    """The name in lower case of the account that was asked for: by its own name, or by a name with an @ that one of
    `aliases` has. None when it is not this entry's, or when the entry does not show exactly one name to be known by.
    """
    if "@" not in asked:
        own = own_name(entry, attribute, asked)
        return None if own is None else own.lower()
    names = [name.lower() for name in entry.texts(attribute)]
    if len(names) != 1 or not LOGIN_NAME.match(names[0]):
        return None
    return names[0] if any(own_name(entry, alias, asked) is not None for alias in aliases) else None


def immutable_id(entry: Entry, attribute: str) -> str | None:
    """The id that stays when the account is renamed, or None when the entry does not show exactly one."""
    values = entry.values.get(attribute.lower(), ())
    if len(values) != 1 or not 0 < len(values[0]) <= MAX_ID:
        return None
    if attribute.lower() == "objectguid" and len(values[0]) == 16:
        return str(uuid.UUID(bytes_le=bytes(values[0])))
    texts = entry.texts(attribute)
    return texts[0] if texts and texts[0].isprintable() else None


def authorised_keys(entry: Entry, attribute: str) -> tuple[tuple[AuthorizedKey, ...], int]:
    """The keys that can be read, and how many were left out.

    A value is a piece of an authorized_keys file: keys a line each, blank lines and comments between them. One bad
    line hides no other. An option that we do not know or obey costs that key, never just the option.
    """
    keys: list[AuthorizedKey] = []
    seen = 0
    for value in entry.values.get(attribute.lower(), ()):
        for line in _key_lines(value):
            seen += 1
            if seen <= MAX_KEYS:
                with contextlib.suppress(ProtocolError):
                    keys.append(_read_key(line))
    return tuple(keys), seen - len(keys)


def _key_lines(value: bytes) -> Iterator[bytes]:
    """The lines that are to hold a key; one that is none for a value that is longer than all keys may be."""
    if len(value) > MAX_KEYS * MAX_LINE:
        value = b"too long"
    for line in value.split(b"\n"):
        stripped = line.strip(b" \t\r")
        if stripped and not stripped.startswith(b"#"):
            yield stripped


def _read_key(line: bytes) -> AuthorizedKey:
    """Read one line, whatever its comment is written in; options and key are UTF-8. Raises ProtocolError."""
    if len(line) > MAX_LINE:
        raise ProtocolError("key line is too long")
    text = line.decode("utf-8", "surrogateescape")
    key = parse_authorized_key(text)
    if _FOREIGN.search(text.removesuffix(key.comment)):
        raise ProtocolError("key options are not UTF-8")
    comment = key.comment.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return replace(key, comment=comment)


def number(entry: Entry, attribute: str) -> int | None:
    """The one value as an integer (RFC 4517 section 3.3.16), or None."""
    values = entry.texts(attribute)
    if len(values) != 1 or len(values[0]) > 20 or not values[0].isascii():
        return None
    try:
        return int(values[0])
    except ValueError:
        return None
