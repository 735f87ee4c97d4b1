"""Patterns of secrets, and where they stand in a text (L1, pure).

What it is for: what people read of a recording has no passwords and keys in it that a pattern knows. The recording
itself is never changed.

Invariant: linear in the text, whatever the pattern: RE2 has no backtracking, and every pattern is bounded in length,
count and the memory that it may take. What stands for a secret says which pattern knew it and nothing of its length.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import re2

MOST_PATTERNS: Final = 64
"""Own patterns; each is looked for in every line that is shown."""

LONGEST_PATTERN: Final = 1000
"""Characters of one."""

PATTERN_MEMORY: Final = 1 << 20
"""Bytes that one compiled pattern may take, its automaton included: with all of them 64 MiB."""

NAME: Final = re.compile(r"\A[a-z][a-z0-9-]{0,31}\Z")

_KEY_BODY: Final = r"(?:\s|[A-Za-z0-9+/=]|(?:Proc-Type|DEK-Info|Version|Comment|Hash):[^\n]*)*"
_SECRET_NAME: Final = (
    r"(?:password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|auth[_-]?key)"
)

KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "aws-key": (
        r"\b(?P<secret>(?:AKIA|ASIA)[A-Z0-9]{16})\b",
        r"(?i)aws_?secret_?(?:access_?)?key[\"']?\s{0,8}[:=]\s{0,8}[\"']?(?P<secret>[A-Za-z0-9/+=]{40})",
    ),
    "private-key": (
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?P<secret>" + _KEY_BODY + ")",
        r"AGE-SECRET-KEY-1(?P<secret>[A-Z0-9]{58})",
    ),
    "authorization": (
        r"(?i)authorization[\"']?[ \t]*:[ \t]*[\"']?(?:bearer|basic|token)[ \t]+(?P<secret>[A-Za-z0-9._~+/=:-]+)",
        r"(?i)x-(?:api-key|auth-token|vault-token)[\"']?[ \t]*:[ \t]*[\"']?(?P<secret>[^\s\"']+)",
    ),
    "password": (
        r"(?i)" + _SECRET_NAME + r"[\"']?[ \t]*(?:=|:)[ \t]*(?:\"(?P<secret>[^\"\n]+)\"|'(?P<secret>[^'\n]+)'"
        r"|(?P<secret>[^\s\"'&;,)]+))",
        r"(?i)--?" + _SECRET_NAME + r"[ \t]+[\"']?(?P<secret>[^\s\"'-][^\s\"']*)",
        r"\b(?:mysql|mysqldump|mysqladmin|mariadb)\b[^\n|;]*?[ \t]-p(?P<secret>[^\s]+)",
        r"\bsshpass[ \t]+-p[ \t]*[\"']?(?P<secret>[^\s\"']+)",
    ),
    "url-password": (r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s:/@]*:(?P<secret>[^\s@/]+)@",),
    "token": (
        r"\b(?P<secret>gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[A-Za-z0-9_-]{20,64})",
        r"\b(?P<secret>xox[abeoprs]-[A-Za-z0-9-]{10,250}|AIza[A-Za-z0-9_-]{35}|[rs]k_live_[A-Za-z0-9]{16,128})",
        r"\b(?P<secret>eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,})",
    ),
}
"""What is looked for unless it is told otherwise. Of a pattern with groups called `secret` these are masked, else all
of it."""

_GROUP: Final = re.compile(r"\(\?P?<secret>")
_BLOCK: Final = re.compile(r"-----(BEGIN|END) [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_SHOWN: Final = "[redacted:"


class Span(NamedTuple):
    """A secret in a text, and which pattern knew it."""

    start: int
    end: int
    name: str


class BadPattern(ValueError):
    """A pattern that cannot be used; the text says why."""


def compiled(pattern: str) -> Any:
    """A pattern of RE2, in which ^ and $ are those of lines, with its secrets as groups. Raises BadPattern, which
    names the limit that it exceeds."""
    if len(pattern) > LONGEST_PATTERN:
        raise BadPattern(f"is longer than {LONGEST_PATTERN} characters")
    if r"\Q" in pattern:
        raise BadPattern(r"quotes by \Q, which could swallow other patterns")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_MEMORY
    try:
        found = re2.compile(f"(?m:{_GROUP.sub('(', pattern)})", options)
    except re2.error as error:
        reason = error.args[0] if error.args else "cannot be read"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise BadPattern(f"is no pattern of RE2: {text}") from None
    if found.search("") is not None:
        raise BadPattern("finds something in an empty text, so it would be found everywhere")
    return found


def _groups(pattern: str) -> tuple[int, ...]:
    """The numbers of the groups called `secret`, () for none: RE2 takes each name once."""
    found, number, at = [], 0, 0
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 2
            continue
        if pattern[at] == "[":
            at = _behind_class(pattern, at)
            continue
        if pattern[at] == "(" and (pattern[at + 1 : at + 2] != "?" or re.match(r"\(\?P?<", pattern[at:])):
            number += 1
            if _GROUP.match(pattern, at):
                found.append(number)
        at += 1
    return tuple(found)


def _behind_class(pattern: str, at: int) -> int:
    at += 1 + (pattern[at + 1 : at + 2] == "^")
    at += pattern[at : at + 1] == "]"
    while at < len(pattern) and pattern[at] != "]":
        if pattern.startswith("[:", at):
            at = max(at, pattern.find(":]", at))
        at += 2 if pattern[at] == "\\" else 1
    return at + 1


@dataclass(frozen=True)
class Redaction:
    """Patterns in force, by name. Raises BadPattern where one is used that cannot be."""

    patterns: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, known: Iterable[str] = tuple(KNOWN), own: Mapping[str, str] | None = None) -> Redaction:
        """Those of KNOWN by their names, and others."""
        return cls({**{name: KNOWN[name] for name in known}, **{n: (one,) for n, one in (own or {}).items()}})

    @cached_property
    def digest(self) -> str:
        """Tells these patterns from others, "" for none."""
        if not self.patterns:
            return ""
        return hashlib.sha256(repr(sorted(self.patterns.items())).encode()).hexdigest()[:32]

    @cached_property
    def _compiled(self) -> tuple[tuple[str, Any, tuple[int, ...]], ...]:
        return tuple(
            (name, compiled(one), _groups(one)) for name, several in self.patterns.items() for one in several
        )

    @cached_property
    def _any(self) -> Any:
        """Finds something wherever one of them does: most lines are looked at once."""
        every = [f"(?m:{_GROUP.sub('(?:', one)})" for several in self.patterns.values() for one in several]
        options = re2.Options()
        options.log_errors = False
        options.never_capture = True
        options.max_mem = PATTERN_MEMORY * (len(every) + 1)
        return re2.compile("|".join(every), options) if every else None

    def __reduce__(self) -> tuple[Any, ...]:
        return Redaction, (dict(self.patterns),)

    def spans(self, text: str) -> list[Span]:
        """Where secrets stand, in order; those that touch are one, under the first one's name."""
        text = _encodable(text)
        found: list[Span] = []
        if self._any is None or self._any.search(text) is None:
            return found
        for name, pattern, groups in self._compiled:
            if pattern.search(text) is None:
                continue
            for match in pattern.finditer(text):
                for start, end in [match.span(group) for group in groups or (0,)]:
                    if 0 <= start < end and not text.startswith(_SHOWN, start):
                        found.append(Span(start, end, name))
        found.sort()
        merged: list[Span] = []
        for span in found:
            if merged and span.start <= merged[-1].end:
                last = merged[-1]
                merged[-1] = Span(last.start, max(last.end, span.end), last.name)
            else:
                merged.append(span)
        return merged

    def mask(self, text: str, tally: Counter[str] | None = None) -> str:
        """The text with what stands for its secrets in their place; `tally` counts them by name."""
        spans = self.spans(text)
        if not spans:
            return text
        parts: list[str] = []
        at = 0
        for start, end, name in spans:
            parts += (text[at:start], shown(name))
            at = end
            if tally is not None:
                tally[name] += 1
        return "".join((*parts, text[at:]))


def _encodable(text: str) -> str:
    """Of the same length, without lone surrogates: RE2 reads UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


NOTHING: Final = Redaction({})
"""No patterns: everything is shown."""


def shown(name: str) -> str:
    """What stands in a secret's place, whatever its length."""
    return f"{_SHOWN}{name}]"


def unfinished(text: str) -> bool:
    """A block of a private key has begun in it, and not ended: what follows belongs to it."""
    words = _BLOCK.findall(text)
    return bool(words) and words[-1] == "BEGIN"


def tally_text(tally: Mapping[str, int], more: str = "") -> str:
    """`3 secrets are masked (password 2, aws-key 1); ...`, "" when there is none."""
    if not sum(tally.values()):
        return ""
    count = sum(tally.values())
    names = ", ".join(f"{name} {number}" for name, number in sorted(tally.items()) if number)
    return f"{count} secret{'s are' if count != 1 else ' is'} masked ({names}){more}"
