# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""The ledger of keys: `keys.toml`, the public halves of what the gateway signs with or trusts, with their dates (L2).

    [[key]]
    name = "upstream_ca"
    public = "ssh-ed25519 AAAA..."
    fingerprint = "SHA256:..."
    made = 2026-11-29T23:00:00Z
    by = "root"
    active_from = 2026-12-13T23:00:00Z

It says which of two keys is the one in force, from when, and which keys are not to come back. Invariants: an entry is
never taken out, a retired key stays with its dates; no key stands under two names; a file that cannot be read to its
last key is an error with its line. Nothing in it is secret, but whoever can write it decides which key is used.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from bastion.ca.files import is_there, replace_file
from bastion.ca.keys import read_text_lines
from bastion.errors import ConfigError, ProtocolError
from bastion.options import At, Kind, Problems, Source, Unreadable, option, read, shown
from bastion.options.kinds import choice, optional, quoted, text
from bastion.options.positions import key_lines
from bastion.wire.keys import PublicKey, parse_public_line

MAX_KEYS: Final = 1000
"""Entries of one file: ten keys that are replaced each month, for eight years."""

MODE: Final = 0o644
"""Of a ledger that was not there: all of it is public."""

HEAD: Final = """\
# Written by `bastion keys`: which key is in force, from when, and which are not to come back.
# Whoever can write this file decides that. Retired keys stay, so that none of them is ever used again.
"""


class KeyName(StrEnum):
    """What a key is for: the section of the configuration that names it. Of host keys there is one for each type."""

    HOST_KEYS = "host_keys"
    LOGIN_CA = "login_ca"
    UPSTREAM_CA = "upstream_ca"
    FRONT_HOST_CA = "front_host_ca"
    RECORDING = "recording"
    ISSUE = "issue"


class Standing(StrEnum):
    """How an entry is at a moment."""

    ACTIVE = "active"
    INCOMING = "incoming"  # trusted already, signs from `active_from` on
    OUTGOING = "outgoing"  # still in force or trusted, another one is to take its place
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Entry:
    """One key. Times are seconds since the epoch; `retire_after` is set once another is to take its place.

    `active_from` is when it signs (a login CA: when its certificates count); `by` is the account that made it or
    first wrote it down.
    """

    name: KeyName
    public: PublicKey
    made: float
    by: str
    active_from: float
    retire_after: float | None = None
    retired: float | None = None

    def standing(self, now: float) -> Standing:
        if self.retired is not None:
            return Standing.RETIRED
        if self.retire_after is not None:
            return Standing.OUTGOING
        return Standing.INCOMING if self.active_from > now else Standing.ACTIVE

    @property
    def overlap_ends(self) -> float | None:
        """The end of the overlap in which it goes; None when it does not go, or has gone."""
        return None if self.retired is not None else self.retire_after


@dataclass(frozen=True, slots=True)
class Ledger:
    """All entries in the order in which they were written down. A change makes another value."""

    entries: tuple[Entry, ...] = ()

    def find(self, key: PublicKey) -> Entry | None:
        return next((entry for entry in self.entries if entry.public == key), None)

    def kept(self, name: KeyName, key_type: str = "") -> tuple[Entry, ...]:
        """The entries of that name (and type of key) that are not retired."""
        return tuple(
            entry
            for entry in self.entries
            if entry.name is name and entry.retired is None and key_type in ("", entry.public.type)
        )

    def changing(self, name: KeyName) -> bool:
        """Is a key of that name being rotated, or was one?"""
        mine = (entry for entry in self.entries if entry.name is name)
        return any(entry.retire_after is not None or entry.retired is not None for entry in mine)

    def successor(self, name: KeyName, key: PublicKey) -> Entry | None:
        """The entry that takes, or has taken, the place of `key`, which goes and is not retired."""
        old = self.find(key)
        if old is None or old.retired is not None or old.retire_after is None:
            return None
        kept = self.kept(name, key.type if name is KeyName.HOST_KEYS else "")
        return next((entry for entry in kept if entry.retire_after is None), None)

    def added(self, entry: Entry) -> Ledger:
        return Ledger((*self.entries, entry))

    def changed(self, key: PublicKey, **values: float | None) -> Ledger:
        """The same with other values in the entry of `key`."""
        return Ledger(
            tuple(
                replace(entry, **values) if entry.public == key else entry  # type: ignore[arg-type]
                for entry in self.entries
            )
        )


# -- reading ------------------------------------------------------------------------------------------------------


def read_ledger(path: Path) -> Ledger:
    """The ledger in that file; a file that is not there is an empty one. Raises ConfigErrors, ConfigError."""
    if not is_there(path):
        return Ledger()
    return parse_ledger("\n".join(read_text_lines(path)), os.fspath(path))


def _read_public(value: object, at: At) -> PublicKey:
    try:
        if isinstance(value, str):
            return parse_public_line(value)[0]
    except ProtocolError as error:
        raise at.wrong(error.text, _PUBLIC.allowed) from None
    raise at.wrong(f"{shown(value)} is not a public key", _PUBLIC.allowed)


def _read_time(value: object, at: At) -> float:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.timestamp()
    raise at.wrong(f"{shown(value)} is not a moment with a time zone", _TIME.allowed)


def _time_text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_PUBLIC: Kind[PublicKey] = Kind("key", "type base64", _read_public, lambda key: quoted(key.line()))
_TIME: Kind[float] = Kind("moment", "2026-11-29T23:00:00Z", _read_time, _time_text)


@dataclass(frozen=True, slots=True)
class _Table:
    """One `[[key]]` as it is written."""

    name: str = option(choice(*KeyName), "")
    public: PublicKey = option(_PUBLIC, "")
    fingerprint: str = option(text(), "")
    made: float = option(_TIME, "")
    by: str = option(text(), "")
    active_from: float = option(_TIME, "")
    retire_after: float | None = option(optional(_TIME), "", default=None)
    retired: float | None = option(optional(_TIME), "", default=None)

    def validate(self, at: At) -> None:
        if self.fingerprint != self.public.fingerprint():
            at.child("fingerprint").wrong("is not that of the key", self.public.fingerprint())


def parse_ledger(content: str, file: str) -> Ledger:
    """Read the text; `file` is for error texts. Raises ConfigErrors, ConfigError."""
    content = content.replace("\r\n", "\n")
    try:
        document = tomllib.loads(content)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(file, 0, "", f"is not TOML: {error}") from None
    problems = Problems()
    at = At(Source(file, "", key_lines(content)), problems)
    for key in document:
        if key != "key":
            at.child(key).wrong(f"unknown key {shown(key)}", "[[key]]")
    tables = document.get("key", [])
    if not isinstance(tables, list) or len(tables) > MAX_KEYS:
        at.child("key").wrong("is no list of tables, or too long", f"[[key]], at most {MAX_KEYS}")
        tables = []
    entries = tuple(_entries(tables, at.child("key")))
    problems.raise_any()
    return Ledger(entries)


def _entries(tables: Sequence[object], at: At) -> Iterator[Entry]:
    seen: set[PublicKey] = set()
    for index, table in enumerate(tables):
        here = at.child(index)
        try:
            found = read(_Table, table, here)
        except Unreadable:
            continue
        if found.public in seen:
            here.child("public").wrong("this key is here already", "each key once")
        seen.add(found.public)
        yield Entry(
            KeyName(found.name),
            found.public,
            found.made,
            found.by,
            found.active_from,
            found.retire_after,
            found.retired,
        )


# -- writing ------------------------------------------------------------------------------------------------------


def ledger_text(ledger: Ledger) -> str:
    """The file, as `parse_ledger` reads it."""
    return HEAD + "".join(f"\n[[key]]\n{''.join(_lines(entry))}" for entry in ledger.entries)


def _lines(entry: Entry) -> Iterator[str]:
    yield f"name = {quoted(entry.name)}\n"
    yield f"public = {quoted(entry.public.line())}\n"
    yield f"fingerprint = {quoted(entry.public.fingerprint())}\n"
    yield f"made = {_time_text(entry.made)}\n"
    yield f"by = {quoted(entry.by)}\n"
    for name, moment in (
        ("active_from", entry.active_from),
        ("retire_after", entry.retire_after),
        ("retired", entry.retired),
    ):
        if moment is not None:
            yield f"{name} = {_time_text(moment)}\n"


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Replace the file in one step. Raises OSError, and ConfigError when it could not be read again."""
    content = ledger_text(ledger)
    parse_ledger(content, os.fspath(path))
    replace_file(path, content.encode("utf-8"), MODE)
