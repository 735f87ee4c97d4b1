"""The audit log's events: every one is declared, written somewhere, and documented as it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from bastion.errors import PolicyReason
from bastion.observe.events import (
    EVENTS,
    About,
    AuditEvent,
    Facts,
    approvals,
    console,
    control,
    detections,
    keys,
    logins,
    nodes,
    process,
    reading,
    refusals,
    retention,
    reviewing,
    sentence,
    sessions,
    table,
    tunnels,
    workers,
)
from bastion.observe.events.base import explained, names_of
from bastion.observe.events.refusals import ChannelRefused, Refusal, SessionRefused

ROOT = Path(__file__).resolve().parents[3]
SHARED = {Refusal}  # what several events have in common


def kinds() -> Iterator[type[AuditEvent]]:
    """Every subclass that a module of the room defines."""
    for module in (
        approvals,
        console,
        control,
        detections,
        keys,
        logins,
        nodes,
        process,
        reading,
        refusals,
        retention,
        reviewing,
        sessions,
        tunnels,
        workers,
    ):
        for one in vars(module).values():
            if isinstance(one, type) and issubclass(one, AuditEvent) and one.__module__ == module.__name__:
                yield one


def made() -> set[str]:
    """Every class that something in the package makes an instance of."""
    found = set()
    for path in (ROOT / "bastion").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        renamed = {
            alias.asname: alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bastion.observe.events")
            for alias in node.names
            if alias.asname
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                found.add(renamed.get(name, name))
    return found


def test_every_event_is_listed_once() -> None:
    assert set(kinds()) - SHARED == set(EVENTS)
    assert len({(one.event, one.what) for one in EVENTS}) == len(EVENTS)


@pytest.mark.slow
def test_every_event_is_written_somewhere() -> None:
    assert {one.__name__ for one in EVENTS} - made() == set()


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_an_event_is_a_frozen_value_that_says_what_it_is(kind: type[AuditEvent]) -> None:
    assert is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert not hasattr(kind, "__dict__") or "__slots__" in vars(kind)
    assert kind.__doc__ and kind.__doc__.strip() and not kind.__doc__.endswith(".")
    assert names_of(kind) == tuple(field.name for field in fields(kind))  # type: ignore[arg-type]
    assert set(names_of(kind)) - {"facts"} <= set(explained(kind))
    assert not {"ts", "event", "session", "ref"} & set(names_of(kind))


def test_fields_stand_in_order_and_what_is_not_known_is_left_out() -> None:
    refused = ChannelRefused(
        kind="direct-tcpip", reason=PolicyReason.NO_RULE, text="no", facts=Facts("db1", 0)
    )
    names = "what kind by reason rule text host port"
    assert list(refused.fields()) == names.split()
    assert refused.fields()["port"] == 0 and "originator_port" not in refused.fields()


def test_whose_line_it_is_stands_in_front() -> None:
    assert About("s", "r", "c", "alice", "192.0.2.1").fields() == {
        "connection": "c",
        "user": "alice",
        "source": "192.0.2.1",
    }
    assert About("s", "r").fields() == {}


def test_a_refusal_is_told_by_what_was_refused() -> None:
    line = {"event": "refused", "what": "session", "reason": "no_rule", "text": "web1: no rule"}
    assert (
        sentence(line) == SessionRefused.sentence(line) == "the session was refused: web1: no rule [no_rule]"
    )
    assert sentence({"event": "refused", "what": "new", "text": "x"}) == "the new was refused: x"


def test_the_table_has_a_row_for_each_and_no_cell_breaks_it() -> None:
    rows = table()
    assert len(rows) == len(EVENTS) + 2
    assert all(row.count("|") == 4 for row in rows)
