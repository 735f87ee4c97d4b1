"""Which options differ between two configurations, and what the difference needs (L2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bastion.config.sections import Sections
from bastion.options import Declared, Scope, declarations


def each_option(section: type[Any] = Sections, path: str = "") -> Iterator[tuple[str, Declared]]:
    """Every option by its dotted path, in the order of the declarations; also those of sections that are optional."""
    for declared in declarations(section):
        name = f"{path}.{declared.name}" if path else declared.name
        inner = declared.kind.section
        if inner is None or declared.kind.named:
            yield name, declared
        else:
            yield from each_option(inner, name)


def value_at(config: Sections, path: str) -> Any:
    """The value of the option at the dotted path; None in a section that is not there."""
    value: Any = config
    for name in path.split("."):
        value = None if value is None else getattr(value, name)
    return value


def values_of(config: Sections, scope: Scope) -> dict[str, Any]:
    """The options of that scope by dotted path, to be compared with those of another configuration."""
    return {path: value_at(config, path) for path, declared in each_option() if declared.scope is scope}


def changed(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, ...]:
    """The dotted paths whose values differ, of two `values_of` the same scope."""
    return tuple(path for path, value in old.items() if new[path] != value)
