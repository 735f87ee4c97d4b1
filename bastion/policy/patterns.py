"""Names and destinations as rules write them (L1, pure).

Invariant: a pattern only ever matches text that is itself a well-formed name. A candidate is checked against
the grammar before any wildcard is looked at, so that no newline, NUL, blank or letter of another script is
ever "matched by a star".
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

from bastion.options import At, Kind, shown
from bastion.options.kinds import Network, quoted

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# The longest thing that is matched: a host name.
WORD_MAX = 253
# Patterns kept compiled, about 1 KiB each: more than an honest policy has, and only an operator writes them.
COMPILED_MAX = 20_000
_PATTERN = re.compile(r"\A[A-Za-z0-9_.@*?-]{1,253}\Z")
# RFC 1123 names with the underscore that inventories use; a trailing dot has been taken off before.
_HOST = re.compile(r"\A[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?\Z")
# One part of what inet_aton(3) takes: decimal, octal or hexadecimal.
_ATON_PART = re.compile(r"\A(?:0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,11})\Z")

# A letter that no form of an address has: most hosts have one, and reading an inventory asks for all of them.
_NAME_LETTER = re.compile(r"[g-wyzG-WYZ_-]")

LOOPBACK_NAMES = frozenset(("localhost", "ip6-localhost", "ip6-loopback", "localhost.localdomain"))


def is_glob(pattern: str) -> bool:
    """True when the pattern has a wildcard."""
    return "*" in pattern or "?" in pattern


@lru_cache(maxsize=COMPILED_MAX)
def expression_of(pattern: str) -> re.Pattern[str]:
    """The pattern as an expression without backtracking: what stands between two stars is found once, for good."""
    if not _PATTERN.match(pattern):
        return re.compile(r"(?!)")
    letter = "[A-Za-z0-9_.@-]"
    first, *rest = (
        "".join(letter if mark == "?" else re.escape(mark) for mark in part) for part in pattern.split("*")
    )
    if not rest:
        return re.compile(rf"\A{first}\Z")
    middle = "".join(f"(?>{letter}*?{part})" for part in rest[:-1])
    return re.compile(rf"\A{first}{middle}{letter}*{rest[-1]}\Z")


def matches(pattern: str, word: str) -> bool:
    """`*` any run of letters, `?` any one; nothing else is special. Takes O(len * len), whatever the pattern."""
    return 0 < len(word) <= WORD_MAX and expression_of(pattern).match(word) is not None


def matches_any(patterns: tuple[str, ...], word: str) -> bool:
    return any(matches(pattern, word) for pattern in patterns)


def _read_pattern(value: object, at: At) -> str:
    if not isinstance(value, str) or not _PATTERN.match(value):
        raise at.wrong(f"{shown(value)} is not a name or pattern", PATTERN.allowed)
    return value


PATTERN: Kind[str] = Kind(
    "pattern", "a name; * stands for any run of letters, ? for one", _read_pattern, quoted
)


def address_of(host: str) -> Address | None:
    """The address that a C library would connect to for `host`, or None when it is a name.

    `127.1`, `0x7f000001`, `017700000001` and `::ffff:127.0.0.1` are all 127.0.0.1 to inet_aton(3) and
    connect(2), so a check of the text alone could be walked round.
    """
    if ":" not in host and "%" not in host and _NAME_LETTER.search(host):
        return None
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address: Address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        number = _aton(bare)
        return None if number is None else ipaddress.IPv4Address(number)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _aton(host: str) -> int | None:
    """inet_aton(3): one to four parts, the last one filling all bytes that are left."""
    parts = host.split(".")
    if len(parts) > 4 or not all(_ATON_PART.match(part) for part in parts):
        return None
    numbers = []
    for part in parts:
        base = 16 if part[:2].lower() == "0x" else 8 if part.startswith("0") and len(part) > 1 else 10
        try:
            numbers.append(int(part, base))
        except ValueError:  # an 8 or 9 in an octal number
            return None
    last_limit = 1 << (8 * (5 - len(numbers)))
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= last_limit:
        return None
    value = numbers[-1]
    for index, number in enumerate(numbers[:-1]):
        value |= number << (8 * (3 - index))
    return value


def host_name(host: str) -> str | None:
    """A host name in the one form that is compared: lower case, no trailing dot. None when it is no name."""
    name = _name_of(host)
    return None if name is None or address_of(name) is not None else name


def _name_of(host: str) -> str | None:
    """What has the form of a host name, as one is compared; it may be an address too."""
    name = host.lower() if host.isascii() else ""
    name = name[:-1] if name.endswith(".") else name
    return name if _HOST.match(name) else None


def canonical(host: str) -> str | None:
    """The one spelling of a name or address that policy compares; None for what is neither."""
    address = address_of(host)
    return str(address) if address is not None else host_name(host)


def is_loopback(host: str) -> bool:
    """True for what ends at the machine itself, however it is spelt, including 0.0.0.0, :: and ""."""
    address = address_of(host)
    if address is not None:
        return address.is_loopback or address.is_unspecified
    name = host_name(host)
    return name is None or name in LOOPBACK_NAMES or name.endswith(".localhost")


@dataclass(frozen=True, slots=True)
class Destinations:
    """One `host:port` pattern of a rule's `forward` list.

    Names and globs match names only, networks match literal addresses only: the target resolves a name, so no
    network rule can know where a name leads. `ports` is an inclusive range or None for `*`, which means every
    port but 22.
    """

    text: str
    name: str | None
    network: Network | None
    ports: tuple[int, int] | None

    def match(self, host: str, port: int) -> bool:
        """As `covers`, for a destination that a target dials: its loopback is another verb."""
        return not is_loopback(host) and self.covers(host, port)

    def covers(self, host: str, port: int) -> bool:
        """Is `host:port`, as text, one of these?"""
        if not 1 <= port <= 65535:
            return False
        if self.ports is None:
            if port == 22:
                return False
        elif not self.ports[0] <= port <= self.ports[1]:
            return False
        address = address_of(host)
        if self.network is not None:
            return address is not None and address in self.network
        name = host_name(host)
        return address is None and name is not None and self.name is not None and matches(self.name, name)

    @property
    def is_one_address(self) -> bool:
        """Somebody wrote down this very address."""
        return self.network is not None and self.network.num_addresses == 1


_PORTS = re.compile(r"\A([0-9]{1,5})(?:-([0-9]{1,5}))?\Z")


def destinations_of(text: str) -> Destinations | None:
    """Read `db1:5432`, `*.example.com:443`, `10.0.0.0/8:8000-8999`, `[2001:db8::/32]:*`; else None."""
    host, colon, port = text.rpartition(":")
    ports: tuple[int, int] | None = None
    if port != "*":
        found = _PORTS.match(port)
        if found is None:
            return None
        ports = (int(found[1]), int(found[2] or found[1]))
        if not 1 <= ports[0] <= ports[1] <= 65535:
            return None
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host and not bracketed):
        return None
    bare = host[1:-1] if bracketed else host
    try:
        return Destinations(text, None, ipaddress.ip_network(bare), ports)
    except ValueError:
        pass
    if bracketed or address_of(bare) is not None or not _PATTERN.match(bare) or "/" in bare:
        return None
    return Destinations(text, bare.lower().removesuffix("."), None, ports)


def _read_destinations(value: object, at: At) -> Destinations:
    found = destinations_of(value) if isinstance(value, str) else None
    if found is None:
        raise at.wrong(f"{shown(value)} is not a destination", DESTINATIONS.allowed)
    return found


DESTINATIONS: Kind[Destinations] = Kind(
    "destination",
    '"db1:5432", "*.example.com:443", "10.0.0.0/8:8000-8999", "[2001:db8::/32]:*"',
    _read_destinations,
    lambda value: quoted(value.text),
)
