"""What a line of the audit log is made of (L0, pure): a value for each event, and whose line it is.

One frozen dataclass for each event, named by a past participle. Its fields are the fields of the line, in this order;
what is not known is left empty (or None) and left out of the line. `docs/audit.md` has its table from the annotations,
and the sentence that `bastion explain` tells stands beside the fields it is made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Final, get_args, get_origin, get_type_hints

Value = str | int | float | bool | bytes | None | list["Value"] | tuple["Value", ...] | Mapping[str, "Value"]

Line = Mapping[str, Any]
"""A line that was read back. Its values are not trusted, and it may come from another version."""


@dataclass(frozen=True, slots=True)
class About:
    """Whose line it is, as far as that is known: the session and what engineers are shown of its name (`ref`), the
    connection it came through, who is on it from where, and as whom on which target."""

    session: str = ""
    ref: str = ""
    connection: str = ""
    user: str = ""
    source: str = ""
    target: str = ""
    login: str = ""

    def fields(self) -> dict[str, Value]:
        """The fields behind `session` and `ref`: those of ABOUT that are known."""
        named: dict[str, Value] = {}
        if self.connection:
            named["connection"] = self.connection
        if self.user:
            named["user"] = self.user
        if self.source:
            named["source"] = self.source
        if self.target:
            named["target"] = self.target
        if self.login:
            named["login"] = self.login
        return named


ABOUT: Final = ("connection", "user", "source", "target", "login")
"""Fields that any line may have, beside those of its event."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Where a channel or a forward was to go, and from where it says to come; the words of a peer, made printable."""

    host: str = ""
    port: int | None = None
    path: str = ""
    originator: str = ""
    originator_port: int | None = None

    def fields(self) -> dict[str, Value]:
        """Those that are known."""
        found: dict[str, Value] = {}
        for name in _FACTS:
            value = getattr(self, name)
            if value is not None and value != "":
                found[name] = value
        return found


_FACTS: Final = tuple(one.name for one in fields(Facts))

NOWHERE = Facts()

NOBODY = About()
"""Of the process itself, or of somebody whom the event names."""


class AuditEvent:
    """One event. `event` and `what` are the line's fields of that name, `about` what `About` says beside it."""

    __slots__ = ()

    event: ClassVar[str]
    what: ClassVar[str] = ""
    about: ClassVar[tuple[str, ...]] = ()

    def fields(self) -> dict[str, Value]:
        """The event's own fields, those that are not known left out."""
        found: dict[str, Value] = {"what": self.what} if self.what else {}
        for name in names_of(type(self)):
            value = getattr(self, name)
            if isinstance(value, Facts):
                found |= value.fields()
            elif value is not None:
                found[name] = value
        return found

    @staticmethod
    def sentence(line: Line) -> str:
        """What happened, as one sentence without a time."""
        raise NotImplementedError


_NAMES: dict[type, tuple[str, ...]] = {}  # as many as there are events


def names_of(event: type[AuditEvent]) -> tuple[str, ...]:
    """The names of an event's own fields, in order; looked up once, as every line asks for them."""
    names = _NAMES.get(event)
    if names is None:
        names = _NAMES[event] = tuple(one.name for one in fields(event))  # type: ignore[arg-type]
    return names


def explained(event: type[AuditEvent]) -> dict[str, str]:
    """Field -> what its annotation says about it, "" where the name says everything."""
    hints = get_type_hints(event, include_extras=True)
    told: dict[str, str] = {}
    for name in names_of(event):
        kind, *texts = get_args(hints[name]) if get_origin(hints[name]) is Annotated else (hints[name],)
        told |= dict.fromkeys(_FACTS, "") if kind is Facts else {name: ""}
        told[next(reversed(told))] = next((text for text in texts if isinstance(text, str)), "")
    return told


# -- words for sentences -------------------------------------------------------------------------------------------


def of(line: Line, key: str, before: str = "", after: str = "") -> str:
    """`before value after`, or nothing when the line has no such value."""
    value = line.get(key)
    return "" if value in (None, "", [], 0) else f"{before}{value}{after}"


def place(line: Line) -> str:
    """Where a channel goes: ` to db1:5432` or ` to /run/x.sock`."""
    if line.get("path"):
        return f" to {line['path']}"
    return f" to {line['host']}{of(line, 'port', ':')}" if line.get("host") else ""


def because(line: Line) -> str:
    """`: text [reason]`, whatever of it there is."""
    return f"{of(line, 'text', ': ')}{of(line, 'reason', ' [', ']')}{of(line, 'rule', ' by rule ')}"


def moved(line: Line) -> str:
    """Bytes of a session or channel."""
    return f"{line.get('bytes_in', 0)} bytes to the target and {line.get('bytes_out', 0)} back"
