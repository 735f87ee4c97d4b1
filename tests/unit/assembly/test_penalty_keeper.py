"""Who must wait still does after a restart; nothing that cannot be read or written is a hindrance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from bastion.assembly.penalty_keeper import WRITE_EVERY, PenaltyKeeper, look_at_penalties
from bastion.auth.penalty_claims import Claim, Of
from bastion.auth.penalty_records import UNKNOWN
from bastion.auth.throttle import Penalties, PenaltyLimits
from bastion.clock import FixedClock
from bastion.errors import AuthReason
from bastion.observe.families.standing import PENALTY_CLAIMS_LEFT_OUT
from bastion.observe.meters import Meters
from bastion.state.penalty_copy import FILE
from tests.support.world import poll

HERE, OFFICE = "192.0.2.1", "198.51.100.7"


class StillReactor(Clock):
    def callFromThread(self, call: Any, *arguments: Any) -> None:
        call(*arguments)


def begun(folder: Path, clock: FixedClock) -> tuple[PenaltyKeeper, Penalties, StillReactor]:
    reactor, penalties = StillReactor(), Penalties(clock)
    keeper = PenaltyKeeper(reactor, folder)
    keeper.load(penalties)
    return keeper, penalties, reactor


def guess(penalties: Penalties) -> None:
    for _ in range(12):
        penalties.failed(HERE, "alice", AuthReason.BAD_PASSWORD)
    for number in range(40):
        penalties.failed(OFFICE, f"user{number}", AuthReason.BAD_PASSWORD)


def test_blocks_outlive_their_process_and_no_name_is_written(tmp_path: Path) -> None:
    clock = FixedClock()
    _, penalties, reactor = begun(tmp_path, clock)
    guess(penalties)
    reactor.advance(WRITE_EVERY)
    poll((tmp_path / FILE).exists)
    assert b"alice" not in (tmp_path / FILE).read_bytes()
    clock.advance(10)
    left = penalties.wait(HERE, "alice")
    _, after, _ = begun(tmp_path, clock)
    assert after.wait(HERE, "alice") == left > 100
    assert not after.allows_source(OFFICE) and after.allows(HERE, "bob")
    assert {(one.source, one.account) for one in after.waiting()} == {(HERE, UNKNOWN), (OFFICE, "")}
    assert after.forget(account="bob") == []
    assert len(after.forget(HERE, "alice")) == 1 and after.allows(HERE, "alice")


def test_what_has_handed_over_writes_no_more(tmp_path: Path) -> None:
    keeper, penalties, reactor = begun(tmp_path, FixedClock())
    keeper.retire()
    guess(penalties)
    keeper.close()
    assert keeper.flush().called and reactor.getDelayedCalls() == [] and not (tmp_path / FILE).exists()


def test_a_folder_that_cannot_be_used_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    keeper, penalties, _ = begun(tmp_path / "file", FixedClock())
    guess(penalties)
    keeper.close()
    assert not penalties.allows(HERE, "alice")


def test_a_clock_that_was_set_back_makes_no_block_longer(tmp_path: Path) -> None:
    clock = FixedClock()
    keeper, penalties, _ = begun(tmp_path, clock)
    guess(penalties)
    keeper.close()
    _, after, _ = begun(tmp_path, FixedClock(clock.time() - 1e6))
    assert 0 < after.wait(HERE, "alice") <= 600


def test_what_another_gateway_claims_and_is_not_taken_is_counted() -> None:
    clock, meters = FixedClock(), Meters()
    penalties = Penalties(clock, PenaltyLimits(exempt=("198.51.100.0/24",)))
    penalties.claims.begin("gw1")
    now = clock.time()
    claim = Claim("a1" * 12, Of.SOURCE, OFFICE, 1, now + 60, now, 0.0, now, now + 600, 1)
    penalties.learn("gw2", [claim, replace(claim, key="no digest")], True)
    look_at_penalties(meters, penalties)
    counts = [meters.value(PENALTY_CLAIMS_LEFT_OUT, why) for why in ("malformed", "known", "exempt")]
    assert counts == [1, 0, 1] and penalties.allows_source(OFFICE)
