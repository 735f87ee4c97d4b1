"""Who must wait still does after a restart; nothing that cannot be read or written is a hindrance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from bastion.assembly.penalty_keeper import WRITE_EVERY, PenaltyKeeper
from bastion.auth.penalty_records import UNKNOWN
from bastion.auth.throttle import Penalties
from bastion.clock import FixedClock
from bastion.errors import AuthReason
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
