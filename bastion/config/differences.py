"""What is different between two configurations, as lines for people (L2): what a reload has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from bastion.config.changes import each_option, value_at
from bastion.config.load import Config

MOST: Final = 100
"""Lines of one reload; one more says how many there would be. A list in the audit log has at most 128 items."""

LONGEST: Final = 200
"""Characters of a value that are shown."""


def differences(
    old: Config, new: Config, before: Mapping[str, str], after: Mapping[str, str]
) -> tuple[str, ...]:
    """Options, targets and rules by name, and the other files whose content is another (`config.contents`)."""
    lines = [
        *_options(old, new),
        *_named("target", _by_name(old.inventory), _by_name(new.inventory)),
        *_named("rule", _by_name(old.rules.rules), _by_name(new.rules.rules)),
        *_files(old, before, after),
    ]
    if len(lines) > MOST:
        lines[MOST:] = [f"and {len(lines) - MOST} more"]
    return tuple(lines)


def _options(old: Config, new: Config) -> Iterator[str]:
    for path, declared in each_option():
        before, after = value_at(old, path), value_at(new, path)
        if before != after and declared.kind.named:
            yield from _named(path, before, after)
        elif before != after:
            yield f"{path}: {_shown(declared.kind, before)} -> {_shown(declared.kind, after)}"


def _shown(kind: Any, value: object) -> str:
    if value is None:
        return '"off"' if '"off"' in kind.allowed else "not set"
    text = str(kind.write(value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}[cut]"


def _by_name(things: Iterable[Any]) -> dict[str, Any]:
    return {thing.name: thing for thing in things}


def _named(what: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{what} {name}: removed" for name in old if name not in new)
    yield from (f"{what} {name}: added" for name in new if name not in old)
    yield from (f"{what} {name}: changed" for name in new if name in old and old[name] != new[name])


def _files(old: Config, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    """What has lines of its own above is left out, when only its content is another."""
    told = {str(old.file), "targets.file", "targets.folder", "policy.file"}
    for name, digest in after.items():
        if (
            name in before
            and name not in told
            and not name.startswith("inventories.")
            and before[name] != digest
        ):
            yield f"{name}: another content"
