"""An option is declared once: name, type, default, help and scope stand on one dataclass field (L0, pure).

Reading, error texts, `bastion check --show`, the sample file and the reference in `docs/` all come from that
declaration, so none of them can disagree with another. A section is a frozen dataclass whose fields are made
by `option(...)`; `read(Section, table, at)` fills it and notes every fault at its line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast

from bastion.options.source import At, Unreadable, did_you_mean

T = TypeVar("T")
_MARK = "bastion.option"
# Section classes whose declarations are kept: there are some twenty, and an inventory asks once for each target.
SECTIONS_MAX = 256


class Scope(StrEnum):
    """When a changed value takes effect."""

    RELOAD = "reload"  # for new connections after `systemctl reload` (SIGHUP)
    RESTART = "restart"
    COMMAND = "command"  # whenever a command reads it: no gateway does


class _Required:
    """The default of an option that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """A type of value: its name in the docs, what may stand there, how to read it and how to write it.

    `section` is the class of a nested section, for the dump and the reference; with `named` there are any number of
    them, by name, and the value is a mapping.
    """

    name: str
    allowed: str
    read: Callable[[object, At], T]
    write: Callable[[T], str]
    section: type[Any] | None = None
    named: bool = False


@dataclass(frozen=True, slots=True)
class Declared:
    """One declaration, as the reader, the dump and the reference see it."""

    name: str
    kind: Kind[Any]
    default: Any
    help: str
    scope: Scope
    example: str

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def default_text(self) -> str:
        """The default as TOML, or the word that stands for having none."""
        if self.required:
            return "required"
        return self.kind.write(self.default) or "not set"


def option(
    kind: Kind[T], help: str, *, default: T = REQUIRED, example: str = "", scope: Scope = Scope.RELOAD
) -> T:
    """Declare one option. `example` is TOML for the sample files where the default says too little.

    Typed as the value it will hold, as `dataclasses.field` is, so that mypy compares it with the annotation.
    """
    metadata = {_MARK: (kind, default, help, scope, example)}
    if default is REQUIRED:
        return cast(T, dataclasses.field(metadata=metadata, kw_only=True))
    return dataclasses.field(default_factory=lambda: default, metadata=metadata, kw_only=True)


def declarations(section: type[Any]) -> tuple[Declared, ...]:
    """The options of a section class in the order in which they were declared."""
    return _declared(cast(Hashable, section))


@lru_cache(maxsize=SECTIONS_MAX)
def _declared(section: Hashable) -> tuple[Declared, ...]:
    return tuple(
        Declared(field.name, *field.metadata[_MARK])
        for field in dataclasses.fields(cast(Any, section))
        if _MARK in field.metadata
    )


def read(section: type[T], table: object, at: At, **given: object) -> T:
    """Make a `section` from a TOML table; `given` fills fields that are no options (a table's own name).

    Unknown keys are faults with the nearest known key. A method `validate(at)` of the section looks at keys
    together and notes what does not fit. Raises `Unreadable` after all faults of the table have been noted.
    """
    if not isinstance(table, dict):
        raise at.wrong("must be a table", f"[{'.'.join(str(key) for key in at.path)}]")
    options = declarations(section)
    names = [declared.name for declared in options]
    faults = len(at.problems.errors)
    for key in table:
        if key not in names:
            at.child(key).wrong(f'unknown key "{key}"{did_you_mean(key, names)}', ", ".join(names))
    values: dict[str, Any] = {}
    for declared in options:
        if declared.name in table:
            try:
                values[declared.name] = declared.kind.read(table[declared.name], at.child(declared.name))
            except Unreadable:
                continue
        elif declared.required:
            at.child(declared.name).wrong("is required", declared.kind.allowed)
    if len(at.problems.errors) > faults:
        raise Unreadable
    made = section(**values, **given)
    validate = getattr(made, "validate", None)
    if validate is not None:
        validate(at)
        if len(at.problems.errors) > faults:
            raise Unreadable
    return made
