"""Every field of every codec of the connection protocol has a fate, and the fates say what is true of the codecs."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from types import ModuleType

import pytest

from bastion.wire import forwards, messages, requests
from bastion.wire.fates import FATES, Fate

MODULES = (messages, requests, forwards)


def codecs_of(module: ModuleType) -> set[type]:
    """Whatever in `module` reads a message or a body; what begins with an underscore is a part of others."""
    return {
        kind
        for name, kind in vars(module).items()
        if isinstance(kind, type) and is_dataclass(kind) and hasattr(kind, "parse") and name[0] != "_"
    }


CODECS = set().union(*map(codecs_of, MODULES))
TABLES = (
    requests.CHANNEL_REQUESTS,
    requests.CHANNEL_OPENS,
    requests.GLOBAL_REQUESTS,
    requests.GLOBAL_REPLIES,
)


def names(kind: type) -> set[str]:
    return {place.name for place in fields(kind)}


def test_the_walk_finds_what_the_relay_reads() -> None:
    read = {*messages.MESSAGES.values(), *(kind for table in TABLES for kind in table.values())}
    assert read <= CODECS


@pytest.mark.parametrize("kind", sorted(CODECS, key=lambda kind: kind.__name__))
def test_every_field_has_a_fate(kind: type) -> None:
    assert names(kind) == set(FATES[kind]), "a field crosses of which nobody said where it is recorded"


def test_the_table_has_no_row_of_something_else() -> None:
    assert set(FATES) == CODECS


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, row in FATES.items() for field in row], ids=str
)
def test_what_is_no_number_is_recorded_or_cannot_be_chosen_freely(kind: type, field: str) -> None:
    """Text and bytes of any length are never FLOW; only the cookie is a digest."""
    (place,) = [place for place in fields(kind) if place.name == field]
    fate = FATES[kind][field]
    if place.type not in ("int", "bool"):
        assert fate is not Fate.FLOW
    if fate is Fate.DIGEST:
        assert (kind, field) == (requests.X11Request, "cookie")
    if fate is Fate.BODY:
        assert kind in (
            messages.GlobalRequest,
            messages.RequestSuccess,
            messages.ChannelOpen,
            messages.ChannelRequest,
        )
