"""One line in the audit log covers many parts of one recording, for one visit and a while."""

from __future__ import annotations

from bastion.clock import FixedClock
from bastion.console import grants
from bastion.console.visits import Visits
from tests.unit.cli.made import FIRST, SECOND


def test_a_line_covers_the_parts_of_one_recording_and_visit_for_a_while() -> None:
    clock = FixedClock()
    visits = Visits(clock, 1e6, 1e6, lambda visit, reason: None)
    _, one = visits.begin("ada", "u-ada", frozenset(), "192.0.2.1")
    _, other = visits.begin("ada", "u-ada", frozenset(), "192.0.2.1")
    assert not grants.is_open(one, FIRST, 0.0)
    grants.opened(one, FIRST, 0.0)
    assert grants.is_open(one, FIRST, grants.SECONDS - 1) and not grants.is_open(one, FIRST, grants.SECONDS)
    assert not grants.is_open(one, SECOND, 1.0) and not grants.is_open(other, FIRST, 1.0)
    for number in range(grants.MOST):
        grants.opened(one, f"{number:016}", 1.0)
    assert len(one.opened) == grants.MOST and not grants.is_open(one, FIRST, 1.0)
