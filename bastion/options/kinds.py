"""The types of values that an option may have (L0, pure): each reads strictly and says what is right."""

from __future__ import annotations

import ipaddress
import json
import math
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from bastion.options.declare import Kind, declarations, read
from bastion.options.source import At, Unreadable, did_you_mean, shown

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Ten years: longer is a typing error, and far below what a timer or a certificate date can hold.
DURATION_MAX = 10 * 366 * 86400.0
# 1 PiB, as above.
SIZE_MAX = 1 << 50
# One string of an option; the longest honest one is an LDAP filter.
TEXT_MAX = 4096
# Elements of one list; the longest honest one is a rule's users.
LIST_MAX = 10_000

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION_PART = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")
_DURATION = re.compile(r"\A(?:[0-9]{1,9}(?:ms|s|m|h|d)){1,5}\Z")
CREDENTIAL = "credential:"
# systemd.exec(5): a name that can be a file's.
_CREDENTIAL_NAME = re.compile(r"\A[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}\Z")
_SIZE_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZE = re.compile(r"\A([0-9]{1,15}) ?(B|KiB|MiB|GiB|TiB)\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens or is reached."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def quoted(text: str) -> str:
    """A TOML basic string. JSON's escapes are a subset of TOML's, except for DEL, which JSON leaves bare."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def text(name: str = "string", pattern: re.Pattern[str] | None = None, allowed: str = "") -> Kind[str]:
    """A string, matching `pattern` as a whole when there is one (write the pattern with \\A and \\Z)."""

    def read_text(value: object, at: At) -> str:
        if not isinstance(value, str):
            raise at.wrong(f"must be a string, not {shown(value)}", allowed)
        if len(value) > TEXT_MAX or "\0" in value:
            raise at.wrong("is too long or has a NUL character", allowed)
        if pattern is not None and not pattern.match(value):
            raise at.wrong(f"{shown(value)} is not a valid {name}", allowed)
        return value

    return Kind(name, allowed or "a string", read_text, quoted)


def choice(*values: str) -> Kind[str]:
    """One word of a closed set."""
    allowed = ", ".join(quoted(value) for value in values)

    def read_choice(value: object, at: At) -> str:
        if not isinstance(value, str) or value not in values:
            hint = did_you_mean(value, values) if isinstance(value, str) else ""
            raise at.wrong(f"{shown(value)} is not one of the choices{hint}", allowed)
        return value

    return Kind("choice", allowed, read_choice, quoted)


def integer(low: int, high: int) -> Kind[int]:
    """A whole number from `low` to `high`, both included."""
    allowed = f"{low} to {high}"

    def read_integer(value: object, at: At) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise at.wrong(f"{shown(value)} is not a whole number in range", allowed)
        return value

    return Kind("integer", allowed, read_integer, str)


def _read_boolean(value: object, at: At) -> bool:
    if not isinstance(value, bool):
        raise at.wrong(f"{shown(value)} is not a boolean", "true, false")
    return value


BOOLEAN: Kind[bool] = Kind(
    "boolean", "true, false", _read_boolean, lambda value: "true" if value else "false"
)


def seconds_of(value: object) -> float | None:
    """A duration in seconds from `90`, `"90s"` or `"1h30m"`; None when it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        fits = math.isfinite(value) and 0 <= value <= DURATION_MAX
        return float(value) if fits else None
    if not isinstance(value, str) or not _DURATION.match(value):
        return None
    seconds = sum(int(count) * _DURATION_UNITS[unit] for count, unit in _DURATION_PART.findall(value))
    return seconds if seconds <= DURATION_MAX else None


def show_seconds(seconds: float) -> str:
    """Seconds as people write them: `12h`, `1h30m`, `200ms`."""
    rest = round(seconds * 1000)
    parts = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        if unit == "d" and rest:  # "1d12h" reads worse than "36h"
            rest += count * size
        elif count:
            parts += f"{count}{unit}"
    return parts or "0s"


def duration(low: float = 0.0, high: float = DURATION_MAX) -> Kind[float]:
    """A length of time in seconds, from `low` to `high`."""
    allowed = 'seconds or a string such as "30s", "15m", "1h30m", "2d"'
    if low > 0 or high < DURATION_MAX:
        allowed += f", from {show_seconds(low)} to {show_seconds(high)}"

    def read_duration(value: object, at: At) -> float:
        seconds = seconds_of(value)
        if seconds is None or not low <= seconds <= high:
            raise at.wrong(f"{shown(value)} is not a duration in range", allowed)
        return seconds

    return Kind("duration", allowed, read_duration, lambda value: quoted(show_seconds(value)))


def or_off(kind: Kind[T]) -> Kind[T | None]:
    """What `kind` reads, or the word "off", which becomes None."""
    allowed = f'{kind.allowed}, or "off"'

    def read_or_off(value: object, at: At) -> T | None:
        return None if value == "off" else kind.read(value, at)

    return Kind(
        kind.name, allowed, read_or_off, lambda value: '"off"' if value is None else kind.write(value)
    )


def optional(kind: Kind[T]) -> Kind[T | None]:
    """`kind` for an option whose default is None, that is: not set."""
    return Kind(
        kind.name,
        kind.allowed,
        kind.read,
        lambda value: "" if value is None else kind.write(value),
        kind.section,
    )


def _read_size(value: object, at: At) -> int:
    found: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    elif isinstance(value, str) and (match := _SIZE.match(value)):
        found = int(match[1]) * _SIZE_UNITS[match[2]]
    if found is None or not 0 <= found <= SIZE_MAX:
        raise at.wrong(f"{shown(value)} is not a size", SIZE.allowed)
    return found


def _write_size(value: int) -> str:
    for unit, size in reversed(_SIZE_UNITS.items()):
        if value and value % size == 0 and size > 1:
            return quoted(f"{value // size} {unit}")
    return str(value)


SIZE: Kind[int] = Kind(
    "size", 'bytes or a string such as "512 KiB", "64 MiB", "1 GiB"', _read_size, _write_size
)


def _read_path(value: object, at: At) -> str:
    if not isinstance(value, str) or not value or "\0" in value or len(value) > TEXT_MAX:
        raise at.wrong(f"{shown(value)} is not a path", PATH.allowed)
    if value.startswith(CREDENTIAL):
        name = value.removeprefix(CREDENTIAL)
        if not _CREDENTIAL_NAME.match(name) or not at.source.credentials:
            raise at.wrong(f"{shown(value)} is not the name of a credential", PATH.allowed)
        return posixpath.join(at.source.credentials, name)
    return posixpath.join(at.source.base, value)


PATH: Kind[str] = Kind(
    "path", "a path, relative to this file's folder, or credential:NAME", _read_path, quoted
)


def address_of(value: str) -> Address | None:
    """`127.0.0.1:2222`, `[::1]:2222` or `name:2222`; None when it is none of them."""
    host, colon, port = value.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            return Address(str(ipaddress.IPv6Address(host)), int(port))
        except ValueError:
            return None
    return Address(host, int(port)) if re.fullmatch(r"[A-Za-z0-9._-]{1,253}", host) else None


def _read_address(value: object, at: At) -> Address:
    found = address_of(value) if isinstance(value, str) else None
    if found is None:
        raise at.wrong(f"{shown(value)} is not an address with a port", ADDRESS.allowed)
    return found


ADDRESS: Kind[Address] = Kind(
    "address", '"127.0.0.1:2222", "[::]:2222"', _read_address, lambda value: quoted(str(value))
)


def _read_network(value: object, at: At) -> Network:
    if isinstance(value, str):
        try:
            network = ipaddress.ip_network(value)
        except ValueError:
            pass
        else:
            # Addresses are compared as IPv4 when they are IPv4 inside IPv6, so such a network would match nothing.
            if network.version == 4 or network.network_address.ipv4_mapped is None:
                return network
            raise at.wrong(f"{shown(value)} is IPv4 inside IPv6: write it as IPv4", NETWORK.allowed)
    raise at.wrong(f"{shown(value)} is not a network (host bits must be 0)", NETWORK.allowed)


NETWORK: Kind[Network] = Kind(
    "network", '"10.0.0.0/8", "2001:db8::/32", "192.0.2.7"', _read_network, lambda value: quoted(str(value))
)


def list_of(kind: Kind[T], *, at_least: int = 0) -> Kind[tuple[T, ...]]:
    """A list, every element read by `kind`. With `at_least` = 1 an empty one is a fault, never "no limit"."""
    allowed = f"a list of: {kind.allowed}"

    def read_list(value: object, at: At) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise at.wrong(f"must be a list, not {shown(value)}", allowed)
        if not at_least <= len(value) <= LIST_MAX:
            fault = (
                "must not be empty (leave the key out instead)" if len(value) < at_least else "is too long"
            )
            raise at.wrong(fault, allowed)
        made, failed = [], False
        for index, element in enumerate(value):
            try:
                made.append(kind.read(element, at.child(index)))
            except Unreadable:
                failed = True
        if failed:
            raise Unreadable
        return tuple(made)

    def write_list(values: tuple[T, ...]) -> str:
        return "[" + ", ".join(kind.write(value) for value in values) + "]"

    return Kind(f"list of {kind.name}", allowed, read_list, write_list)


def mapping_of(kind: Kind[T], key: re.Pattern[str], allowed: str) -> Kind[Mapping[str, T]]:
    """An inline table with free keys that match `key`."""

    def read_mapping(value: object, at: At) -> Mapping[str, T]:
        if not isinstance(value, dict):
            raise at.wrong(f"must be a table, not {shown(value)}", allowed)
        made, failed = {}, False
        for name, element in value.items():
            place = at.child(name)
            try:
                if not key.match(name):
                    raise place.wrong(f"{shown(name)} is not a valid key", allowed)
                made[name] = kind.read(element, place)
            except Unreadable:
                failed = True
        if failed:
            raise Unreadable
        return MappingProxyType(made)

    def write_mapping(values: Mapping[str, T]) -> str:
        inner = ", ".join(f"{quoted(name)} = {kind.write(value)}" for name, value in values.items())
        return "{ " + inner + " }" if inner else "{}"

    return Kind(f"table of {kind.name}", allowed, read_mapping, write_mapping)


def sections_by_name(cls: type[T], name: re.Pattern[str], allowed: str, most: int) -> Kind[Mapping[str, T]]:
    """Tables that are sections, each with a name that matches `name`; `most` of them."""

    def read_sections(value: object, at: At) -> Mapping[str, T]:
        if not isinstance(value, dict):
            raise at.wrong(f"must be tables, not {shown(value)}", allowed)
        if len(value) > most:
            raise at.wrong(f"has {len(value)} tables", f"{most} at most")
        made, failed = {}, False
        for key, table in value.items():
            place = at.child(key)
            try:
                if not name.match(key):
                    raise place.wrong(f"{shown(key)} is not a valid name", allowed)
                made[key] = read(cls, table, place)
            except Unreadable:
                failed = True
        if failed:
            raise Unreadable
        return MappingProxyType(made)

    return Kind("tables", allowed, read_sections, lambda value: ", ".join(map(quoted, value)), cls, True)


def section(cls: type[T], read_as: Callable[[object, At], T] | None = None) -> Kind[T]:
    """A nested table that is itself a section."""
    allowed = ", ".join(declared.name for declared in declarations(cls))

    def read_section(value: object, at: At) -> T:
        return read(cls, value, at)

    return Kind("section", allowed, read_as or read_section, lambda value: "", cls)
