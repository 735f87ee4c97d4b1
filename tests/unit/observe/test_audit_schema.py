"""The schema says what the events write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from bastion.errors import PolicyReason
from bastion.observe.audit import encode_line
from bastion.observe.audit_chain import NO_DIGEST, Link, bind
from bastion.observe.audit_schema import definition, name_of, schema
from bastion.observe.events import EVENTS, About, AuditEvent, Facts
from bastion.observe.events.logins import ConnectionRefused
from bastion.observe.events.process import AuditContinued, ClockStepped
from bastion.observe.events.refusals import ChannelRefused

ABOUT = About("a" * 16, "a" * 6, "b" * 16, "alice", "192.0.2.1", "web1", "root")


def line_of(event: AuditEvent, about: About = ABOUT) -> dict[str, Any]:
    line = encode_line(1.5, event.event, about, about.fields() | event.fields())
    return dict(json.loads(bind(line, Link("ab" * 8, -1, NO_DIGEST))[0]))


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_every_field_of_every_event_has_a_type(kind: type[AuditEvent]) -> None:
    made = definition(kind)
    without = [name for name, one in made["properties"].items() if not {"type", "const", "anyOf"} & set(one)]
    assert without == []
    assert set(made["required"]) <= set(made["properties"])


@pytest.mark.parametrize(
    "event",
    [
        ClockStepped(-1.25),
        AuditContinued("ab" * 8, 3, "cd" * 32),
        ChannelRefused(kind="direct-tcpip", reason=PolicyReason.NO_RULE, text="no", facts=Facts("db1", 5432)),
    ],
)
def test_lines_are_one_of_the_events_and_of_no_other(event: AuditEvent) -> None:
    Draft202012Validator(schema()).validate(line_of(event))


@pytest.mark.parametrize(
    "change",
    [{"seconds": "1"}, {"seconds": None}, {"more": 1}, {"event": "clock"}, {"ts": "today"}, {"seq": -1}],
)
def test_what_no_gateway_writes_is_none(change: dict[str, Any]) -> None:
    line = line_of(ClockStepped(1.0)) | change
    with pytest.raises(ValidationError):
        Draft202012Validator(schema()).validate(
            {key: value for key, value in line.items() if value is not None}
        )


def test_events_of_one_name_are_told_apart() -> None:
    assert name_of("refused", "channel") == "refused.channel"
    assert definition(ChannelRefused)["properties"]["what"] == {"const": "channel"}
    assert definition(ConnectionRefused)["properties"]["event"] == {"const": "connection_refused"}
