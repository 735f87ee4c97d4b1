"""What the tap is told: values, all of them known to whoever listens."""

from __future__ import annotations

import dataclasses
import inspect
from typing import get_args

import pytest

from bastion.errors import PolicyReason
from bastion.relay import events
from bastion.sides import Side

KINDS = [
    kind
    for _, kind in inspect.getmembers(events, inspect.isclass)
    if kind.__module__ == events.__name__ and dataclasses.is_dataclass(kind)
]


def test_no_event_is_left_out_of_their_union() -> None:
    assert set(get_args(events.Event)) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_a_value_that_says_what_it_is_about(kind: type) -> None:
    fields = {field.name: field.type for field in dataclasses.fields(kind)}
    assert kind.__dataclass_params__.frozen and "__slots__" in vars(kind)  # type: ignore[attr-defined]
    assert "channel_id" in fields or "by" in fields
    assert fields.get("by", "Side") == "Side"
    assert fields.get("reason", "PolicyReason") == "PolicyReason", "a reason is never a peer's text"


def test_no_two_events_share_a_detail() -> None:
    first = events.ChannelRefused("x11", Side.TARGET, PolicyReason.VERB_NOT_ALLOWED, "no")
    second = events.ChannelRefused("x11", Side.TARGET, PolicyReason.VERB_NOT_ALLOWED, "no")
    assert first == second and first.detail is not second.detail
