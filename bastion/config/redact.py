"""The section `[redact]`: secrets that are masked where recordings are read (L2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bastion.options import At, Kind, Scope, option, shown
from bastion.options.kinds import choice, list_of, mapping_of, quoted, text
from bastion.recording.redacting import (
    KNOWN,
    LONGEST_PATTERN,
    MOST_PATTERNS,
    NAME,
    BadPattern,
    Redaction,
    compiled,
)

_GROUP = re.compile(r"\A[a-z_][a-z0-9_-]{0,31}\Z")


def _read_pattern(value: object, at: At) -> str:
    if not isinstance(value, str):
        raise at.wrong(f"must be a string, not {shown(value)}", PATTERN.allowed)
    try:
        compiled(value)
    except BadPattern as error:
        raise at.wrong(f"{shown(value)} {error}", PATTERN.allowed) from None
    return value


PATTERN: Kind[str] = Kind(
    "pattern", f"a pattern of RE2, up to {LONGEST_PATTERN} characters", _read_pattern, quoted
)


@dataclass(frozen=True, slots=True)
class Redact:
    """Secrets that are masked where recordings are read or indexed; the recordings keep them."""

    known: tuple[str, ...] = option(
        list_of(choice(*KNOWN)),
        "What is looked for: `docs/redaction.md` says what each finds. Empty: nothing but `patterns`.",
        default=tuple(KNOWN),
        scope=Scope.COMMAND,
    )
    patterns: Mapping[str, str] = option(
        mapping_of(PATTERN, NAME, "{ ticket = 'TCK-[0-9]{8}' }, names of a-z, 0-9 and -"),
        "Others, by a name that stands where they found something. Of a group (?P<secret>...) only that is masked.",
        default=MappingProxyType({}),
        example="{ ticket = 'TCK-[0-9]{8}', pin = '(?i)pin: *(?P<secret>[0-9]{4,8})' }",
        scope=Scope.COMMAND,
    )
    unredacted_group: str = option(
        text("group", _GROUP, "a group of this machine"),
        "Whose members may give --unredacted; root may too.",
        default="bastion-auditor",
        scope=Scope.COMMAND,
    )

    def validate(self, at: At) -> None:
        if len(self.patterns) > MOST_PATTERNS:
            at.child("patterns").wrong(f"has {len(self.patterns)} patterns", f"{MOST_PATTERNS} at most")
        for name in self.patterns:
            if name in KNOWN:
                at.child("patterns").child(name).wrong(
                    "is the name of one that is known", "another name; leave it out of `known` to replace it"
                )

    @property
    def redaction(self) -> Redaction:
        """What is masked."""
        return Redaction.of(self.known, self.patterns)
