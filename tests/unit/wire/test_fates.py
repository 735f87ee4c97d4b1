"""Every field of every message of the connection protocol has a fate, and the fates say what is true of the codecs."""

from __future__ import annotations

import pytest

from bastion.wire import messages, requests
from bastion.wire.fates import FATES, Fate
from bastion.wire.struct import BOOLEAN, UINT32, Struct
from tests.support.declared import MESSAGES, declared_in

CODECS = declared_in("messages") | declared_in("requests") | declared_in("forwards")
TABLES = (
    requests.CHANNEL_REQUESTS,
    requests.CHANNEL_OPENS,
    requests.GLOBAL_REQUESTS,
    requests.GLOBAL_REPLIES,
)


def test_the_walk_finds_what_the_relay_reads() -> None:
    read = {*MESSAGES.values(), *(kind for table in TABLES for kind in table.values())}
    assert read <= CODECS


@pytest.mark.parametrize("kind", sorted(CODECS, key=lambda kind: kind.__name__))
def test_every_field_has_a_fate(kind: type[Struct]) -> None:
    assert set(kind.KINDS) == set(FATES[kind]), "a field crosses of which nobody said where it is recorded"


def test_the_table_has_no_row_of_something_else() -> None:
    assert set(FATES) == CODECS


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, row in FATES.items() for field in row], ids=str
)
def test_what_is_no_number_is_recorded_or_cannot_be_chosen_freely(kind: type[Struct], field: str) -> None:
    """Text and bytes of any length are never FLOW; only the cookie is a digest."""
    fate = FATES[kind][field]
    if kind.KINDS[field] not in (UINT32, BOOLEAN):
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
