"""Which paths may be downloaded, uploaded, listed and modified over sftp (L1, pure).

Paths are bytes, as sftp sends them, and are compared in their normal form: no empty component, no `.`, and
`..` taken away with the component before it (POSIX pathname resolution without symbolic links, which nobody
on the way can see). Invariants: what no pattern names is refused; a path that has no normal form matches
nothing; nothing raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from bastion.errors import PolicyReason
from bastion.options import At, Kind, shown
from bastion.options.kinds import list_of, mapping_of, quoted
from bastion.policy.verdict import Verdict

SFTP_VERBS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "download": "open files to read",
        "upload": "open files to write, which may create or empty them; make directories",
        "list": "read directories",
        "modify": "rename, remove, link, make directories, change owner, mode, times and size by path",
    }
)

PATH_MAX: Final = 4096
"""Bytes of a path that can be judged (limits.h); a longer one matches nothing."""

PARTS_MAX: Final = 64
"""Components of a pattern. Matching takes (components of the path) x (components of the pattern)."""

ANY: Final = "**"
_VERB_KEY = re.compile("|".join(rf"\A{verb}\Z" for verb in SFTP_VERBS))

Parts = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class PathPattern:
    """One pattern. `parts` are components, None for `**`; `home`: they begin at the login's directory."""

    text: str
    home: bool
    parts: tuple[re.Pattern[bytes] | None, ...]
    literal: Parts  # the components before the first wildcard

    @property
    def anything(self) -> bool:
        return self.text == ANY

    def reach(self, parts: Parts) -> frozenset[int]:
        """Where in the pattern one may stand after all of `parts`; empty when they do not fit."""
        states = self._closed({0})
        for part in parts:
            following = set()
            for state in states:
                if state == len(self.parts):
                    continue
                expression = self.parts[state]
                if expression is None:
                    following.add(state)
                elif expression.match(part):
                    following.add(state + 1)
            if not following:
                return frozenset()
            states = self._closed(following)
        return states

    def _closed(self, states: set[int]) -> frozenset[int]:
        """`**` stands for no component, too."""
        found = set(states)
        for state in states:
            while state < len(self.parts) and self.parts[state] is None:
                state += 1
                found.add(state)
        return frozenset(found)


def parse_pattern(text: str) -> PathPattern:
    """`/var/log/**`, `~/in/*.csv`, `**`. Raises ValueError with what is wrong."""
    home = text == "~" or text.startswith("~/")
    if text == ANY:
        return PathPattern(text, False, (None,), ())
    if not home and not text.startswith("/"):
        raise ValueError("begins with / or ~/, or is **")
    if len(text) > PATH_MAX or "\0" in text:
        raise ValueError("is too long or holds a NUL")
    words = [word for word in text.split("/")[1:] if word]
    if len(words) > PARTS_MAX:
        raise ValueError("has too many components")
    parts: list[re.Pattern[bytes] | None] = []
    literal: list[bytes] = []
    for word in words:
        if word in (".", ".."):
            raise ValueError("is not in its normal form")
        if "**" in word and word != ANY:
            raise ValueError("holds ** beside other letters: it stands for whole components")
        if len(literal) == len(parts) and not {"*", "?"} & set(word):
            literal.append(word.encode())
        parts.append(None if word == ANY else _component(word))
    return PathPattern(text, home, tuple(parts), tuple(literal))


def _component(word: str) -> re.Pattern[bytes]:
    """`*` any run of bytes, `?` one letter; what stands between two stars is found once, for good."""
    letter = rb"(?:[\x00-\x7f\x80-\xbf]|[\xc0-\xff][\x80-\xbf]*+)"
    first, *rest = (
        b"".join(letter if mark == "?" else re.escape(mark.encode()) for mark in part)
        for part in word.split("*")
    )
    if not rest:
        return re.compile(rb"\A" + first + rb"\Z", re.DOTALL)
    middle = b"".join(b"(?>.*?" + part + b")" for part in rest[:-1])
    return re.compile(rb"\A" + first + middle + b".*" + rest[-1] + rb"\Z", re.DOTALL)


def _read_path(value: object, at: At) -> PathPattern:
    if not isinstance(value, str):
        raise at.wrong(f"{shown(value)} is not a path pattern", SFTP_PATH.allowed)
    try:
        return parse_pattern(value)
    except ValueError as fault:
        raise at.wrong(f"{shown(value)} {fault}", SFTP_PATH.allowed) from None


SFTP_PATH: Kind[PathPattern] = Kind(
    "path pattern",
    '"/var/log/**", "/srv/in/*.csv", "~/out/**" or "**"; * stands for any run within one component, '
    "** for any number of components",
    _read_path,
    lambda pattern: quoted(pattern.text),
)
_PATHS = mapping_of(
    list_of(SFTP_PATH, at_least=1),
    _VERB_KEY,
    'such as { download = ["/var/log/**"], list = ["/var/log/**"] }',
)


def _read_table(value: object, at: At) -> Mapping[str, tuple[PathPattern, ...]]:
    if value == {}:
        raise at.wrong("must not be empty (leave the key out for everything)", SFTP_TABLE.allowed)
    return _PATHS.read(value, at)


SFTP_TABLE: Kind[Mapping[str, tuple[PathPattern, ...]]] = Kind(
    "sftp verbs",
    f"lists of path patterns under {', '.join(SFTP_VERBS)}",
    _read_table,
    _PATHS.write,
)


# -- paths ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """A path in its normal form: components from the root, and from the home. None where not known."""

    absolute: Parts | None
    home: Parts | None


NOWHERE: Final = Place(None, None)
"""What cannot be judged: only a pattern for everything covers it."""


def normal_parts(path: bytes) -> tuple[int, Parts]:
    """(how many `..` lead out at the front, the components), lexically; `/..` is `/`."""
    up, parts = 0, list[bytes]()
    for part in path.split(b"/"):
        if part in (b"", b"."):
            continue
        if part != b"..":
            parts.append(part)
        elif parts:
            parts.pop()
        elif not path.startswith(b"/"):
            up += 1
    return up, tuple(parts)


def is_path(path: bytes) -> bool:
    """False for what means one thing here and another on the target: a NUL ends it in C, and a target with
    two separators reads a backslash as the other one.
    """
    if len(path) > PATH_MAX or b"\0" in path:
        return False
    return b"\\" not in path or b".." not in path.replace(b"\\", b"/").split(b"/")


def normal_form(path: bytes) -> bytes:
    """`path` as it goes on when it holds `..`, so that what was judged is what the target opens. Never
    longer.
    """
    if b".." not in path.split(b"/"):
        return path
    up, parts = normal_parts(path)
    root = b"/" if path.startswith(b"/") else b""
    return (root + b"/".join((*[b".."] * up, *parts))) or b"."


def place_of(path: bytes, home: bytes | None) -> Place:
    """Where `path` leads. `home` is where relative paths begin, None when that is not known."""
    if not is_path(path):
        return NOWHERE
    up, parts = normal_parts(path)
    base = None if home is None or not home.startswith(b"/") else normal_parts(home)[1]
    if path.startswith(b"/"):
        inside = base is not None and parts[: len(base)] == base
        return Place(parts, parts[len(base) :] if inside and base is not None else None)
    if not up:
        return Place(None if base is None else base + parts, parts)
    if base is None:
        return NOWHERE
    absolute = base[: max(len(base) - up, 0)] + parts
    return Place(absolute, absolute[len(base) :] if absolute[: len(base)] == base else None)


# -- rights --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SftpRights:
    """What the matching rules give together, by verb. `rule` is the one that refusals name."""

    rule: str
    patterns: Mapping[str, tuple[PathPattern, ...]]

    @classmethod
    def of(cls, tables: Iterable[tuple[str, Mapping[str, tuple[PathPattern, ...]]]]) -> SftpRights | None:
        """Of the sftp tables of rules, by name. None = everything: a rule without a table, or none at all."""
        together: dict[str, tuple[PathPattern, ...]] = {}
        first = ""
        for rule, table in tables:
            if not table:
                return None
            first = first or rule
            for verb, patterns in table.items():
                together[verb] = together.get(verb, ()) + patterns
        return cls(first, MappingProxyType(together)) if together else None

    def allows(self, verb: str, place: Place) -> bool:
        """May `verb` be done there?"""
        return any(_matches(pattern, place) for pattern in self.patterns.get(verb, ()))

    def has(self, verb: str) -> bool:
        """Is the verb given anywhere at all?"""
        return bool(self.patterns.get(verb))

    def looks(self, place: Place) -> bool:
        """May somebody ask what is there (stat, realpath)? Where any verb is given, and on the way there."""
        if place.home == ():
            return True
        return any(
            _matches(pattern, place) or _leads_to(pattern, place)
            for patterns in self.patterns.values()
            for pattern in patterns
        )

    def renames(self, old: Place, new: Place, home_known: bool) -> bool:
        """May something get a second or another name? `modify` at both, and the new name opens nothing that
        the old one did not: otherwise a rename would be a way round the other verbs.
        """
        if not (self.allows("modify", old) and self.allows("modify", new)):
            return False
        judged = home_known and NOWHERE not in (old, new)
        if not judged and not (self._comparable(old) and self._comparable(new)):
            return False
        return all(self._opens_no_more(patterns, old, new) for patterns in self.patterns.values())

    def _comparable(self, place: Place) -> bool:
        """Every pattern can be held against the place, though the home or the place is not known: where a
        path of no normal form leads (one with a NUL at its end, or longer than it is on the target) nobody
        can say, so it may not be the new name of anything that a pattern keeps closed.
        """
        patterns = [one for many in self.patterns.values() for one in many if not one.anything]
        return all((place.home if pattern.home else place.absolute) is not None for pattern in patterns)

    def _opens_no_more(self, patterns: tuple[PathPattern, ...], old: Place, new: Place) -> bool:
        if any(_covers(pattern, old) for pattern in patterns):
            return True
        if any(_goes_below(pattern, new) for pattern in patterns):
            return False
        return self._any(patterns, old) or not self._any(patterns, new)

    @staticmethod
    def _any(patterns: tuple[PathPattern, ...], place: Place) -> bool:
        return any(_matches(pattern, place) for pattern in patterns)

    def refusal(self, verb: str) -> Verdict:
        """The verdict for what is not allowed: the verb at all, or at this path."""
        if not self.has(verb):
            return Verdict(False, PolicyReason.VERB_NOT_ALLOWED, self.rule, f"{verb} is not allowed here")
        return Verdict(False, PolicyReason.PATH_NOT_ALLOWED, self.rule, f"{verb} is not allowed at this path")


def _states(pattern: PathPattern, place: Place) -> frozenset[int]:
    parts = place.home if pattern.home else place.absolute
    return frozenset() if parts is None else pattern.reach(parts)


def _matches(pattern: PathPattern, place: Place) -> bool:
    return pattern.anything or len(pattern.parts) in _states(pattern, place)


def _covers(pattern: PathPattern, place: Place) -> bool:
    """The pattern matches the place and everything that can lie below it."""
    if pattern.anything:
        return True
    return bool(pattern.parts) and pattern.parts[-1] is None and _matches(pattern, place)


def _goes_below(pattern: PathPattern, place: Place) -> bool:
    """The pattern can match something below the place."""
    return pattern.anything or any(state < len(pattern.parts) for state in _states(pattern, place))


def _leads_to(pattern: PathPattern, place: Place) -> bool:
    """The place is a directory on the way to what the pattern names."""
    parts = place.home if pattern.home else place.absolute
    return parts is not None and parts == pattern.literal[: len(parts)]
