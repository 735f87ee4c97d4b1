"""What two people want gone, looked at again by whoever removes it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bastion.cli.wanted import HELD, NOT_TWO, wanted_gone
from bastion.state.deletions import Due
from bastion.state.retention import Kept
from tests.unit.state.test_deletions import GOOD, NOW, ONE

DAY = 86400.0
DUE = Due(GOOD, "u-alice", "alice")
KEPT = Kept(ONE, NOW - 10 * DAY, "alice", "web1", None, 100, "day/one.rec")


def test_it_goes_by_the_rule_of_the_two() -> None:
    found = wanted_gone([DUE], {ONE: KEPT}, (), 7 * DAY, NOW)
    assert [(one.recording, one.why) for one in found.going] == [(KEPT, "people ada, bea")]
    assert found.about == {ONE: GOOD} and found.never == found.later == []


@pytest.mark.parametrize(
    ("due", "recordings", "held", "at_least", "never", "later"),
    [
        (DUE, {ONE: KEPT}, (ONE,), 0.0, HELD, ""),
        (DUE, {ONE: KEPT}, (), 11 * DAY, "", "younger than retention.at_least"),
        (replace(DUE, identity="ada"), {ONE: KEPT}, (), 0.0, NOT_TWO, ""),
        (replace(DUE, uid="u-bea"), {ONE: KEPT}, (), 0.0, NOT_TWO, ""),
        (replace(DUE, deletion=replace(GOOD, answered_by="ada")), {ONE: KEPT}, (), 0.0, NOT_TWO, ""),
        (DUE, {}, (), 0.0, "", ""),  # another gateway's
        (DUE, {ONE: None}, (), 0.0, "", ""),  # it goes by a rule
    ],
)
def test_and_stays_where_it_may_not(
    due: Due,
    recordings: dict[str, Kept | None],
    held: tuple[str, ...],
    at_least: float,
    never: str,
    later: str,
) -> None:
    found = wanted_gone([due], recordings, held, at_least, NOW)
    assert found.going == [] and found.about == {}
    assert [why for _, why in found.never] == ([never] if never else [])
    assert len(found.later) == bool(later) and all(later in why for _, why in found.later)


def test_a_recording_goes_once() -> None:
    twice = wanted_gone([DUE, replace(DUE, deletion=replace(GOOD, id="b" * 16))], {ONE: KEPT}, (), 0.0, NOW)
    assert len(twice.going) == 1
