"""Each kind has what delivers to it."""

from __future__ import annotations

from bastion.observe.labels import SINK_KINDS
from bastion.options.kinds import Address
from bastion.sinks.destinations import destination_of
from bastion.sinks.section import Sink


def test_each_kind_is_one_of_its_own() -> None:
    made = [
        destination_of(Sink(kind=kind, url="https://l", address=Address("logs", 6514)), "gw1")
        for kind in SINK_KINDS
    ]
    assert [type(one).__name__.lower() for one in made] == ["journal", *SINK_KINDS[1:]]
