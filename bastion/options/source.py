"""Where a value was written: file, line and key of everything an operator can get wrong (L0, pure).

A document is read to its end before anything is raised, so that one run of `bastion check` shows every fault.
Invariant: a fault is noted exactly once, at the most precise place that is known.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bastion.errors import ConfigError

Key = str | int
KeyPath = tuple[Key, ...]

# A peer never writes these files, but people read the error line: a longer value is shown cut.
SHOWN_VALUE_MAX = 60


class Unreadable(Exception):
    """A value could not be read and the fault has been noted already. Never leaves `read` and `load`."""


class ConfigErrors(ConfigError):
    """All faults of one document. As a `ConfigError` it is the first of them; `errors` has every one."""

    def __init__(self, errors: Iterable[ConfigError]) -> None:
        self.errors: tuple[ConfigError, ...] = tuple(errors)
        first = self.errors[0]
        super().__init__(first.file, first.line, first.key, first.problem, first.allowed)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


@dataclass(frozen=True, slots=True)
class Source:
    """One document: `file` as it is shown, `base` for relative paths in it, `lines` from key path to line, and the
    folder in which `credential:NAME` is. `digest` is the SHA-256 of what was read."""

    file: str
    base: str = ""
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    credentials: str = ""
    digest: str = ""

    def line(self, path: KeyPath) -> int:
        """The 1-based line of `path`, or of the nearest table around it, or 0."""
        for length in range(len(path), 0, -1):
            found = self.lines.get(path[:length])
            if found is not None:
                return found
        return 0


class Problems:
    """The faults found so far, of any number of documents, in the order in which they were met."""

    def __init__(self) -> None:
        self.errors: list[ConfigError] = []

    def raise_any(self) -> None:
        """Raise `ConfigErrors` when there is anything to tell."""
        if self.errors:
            raise ConfigErrors(self.errors)


@dataclass(frozen=True, slots=True)
class At:
    """A place in a document, and where faults at that place are noted."""

    source: Source
    problems: Problems
    path: KeyPath = ()

    def child(self, key: Key) -> At:
        return At(self.source, self.problems, (*self.path, key))

    @property
    def line(self) -> int:
        return self.source.line(self.path)

    def wrong(self, problem: str, allowed: str = "") -> Unreadable:
        """Note a fault here. Returns the exception for a caller that cannot go on: `raise at.wrong(...)`."""
        error = ConfigError(self.source.file, self.line, dotted(self.path), problem, allowed)
        self.problems.errors.append(error)
        return Unreadable(problem)


def dotted(path: KeyPath) -> str:
    """`("rule", 2, "logins")` as people write it: `rule[2].logins`, counted from 1."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key + 1}]"
        else:
            text += f".{key}" if text else key
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that `word` most looks like, or ""."""
    found = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean "x"?` or nothing: the tail of a problem text."""
    found = nearest(word, known)
    return f', did you mean "{found}"?' if found else ""


def shown(value: object) -> str:
    """A value as an error line shows it: printable and short."""
    text = repr(value) if isinstance(value, str) else str(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= SHOWN_VALUE_MAX else text[: SHOWN_VALUE_MAX - 3] + "..."
