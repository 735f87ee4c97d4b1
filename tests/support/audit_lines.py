"""Events of the audit log for tests of what carries them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from bastion.observe.audit_schema import name_of, schema
from bastion.observe.audit_verify import Verifier
from bastion.observe.events import EVENTS, AuditEvent, sessions


class Told(AuditEvent):
    """An event of any name with any fields."""

    def __init__(self, event: str, **fields: Any) -> None:
        self.event = event  # type: ignore[misc]
        self._fields = fields

    def fields(self) -> dict[str, Any]:
        return self._fields


OF_SESSIONS = {one.event for one in EVENTS if one.__module__ == sessions.__name__}


@cache
def _validators() -> dict[str, Draft202012Validator]:
    """A line is judged by its own event: to try all of them on each line takes a hundred times as long."""
    return {name: Draft202012Validator(one) for name, one in schema()["definitions"].items()}


def unlike_the_schema(line: dict[str, Any]) -> str:
    """Why a line is none that the schema knows, or ""."""
    name = name_of(str(line.get("event")), str(line.get("what", "")))
    if name not in _validators():
        return f"no event {name}"
    error = best_match(_validators()[name].iter_errors(line))
    if error is not None:
        return f"{name}: {error.json_path}: {error.message}"
    missing = {"user", "target", "login"} - line.keys() if line["event"] in OF_SESSIONS else set()
    return f"{name}: no {', '.join(sorted(missing))}" if missing else ""


def wrong_lines(file: Path) -> list[str]:
    """What is wrong with the audit log that a gateway has left, [] when all is as it should be."""
    if not file.is_file():
        return []
    verifier, wrong = Verifier(()), []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        verifier.add(file.name, number, line)
        if line.startswith(b"{") and (fault := unlike_the_schema(json.loads(line))):
            wrong.append(f"{file.name}:{number}: {fault}")
    wrong += [f"{one.file}:{one.line}: {one.fault}: {one.text}" for one in verifier.finish().findings]
    return wrong
