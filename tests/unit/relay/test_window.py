"""The owner of window and reserve: whatever sender, receiver and gateway do, nobody is overrun."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import bastion.relay
from bastion.errors import ProtocolError
from bastion.relay.window import Window
from bastion.wire.data import UINT32_MAX

SIZES = st.integers(0, 300) | st.integers(0, UINT32_MAX)


class Conversation(RuleBasedStateMachine):
    """A sender and a receiver that keep their own books of what was said to them."""

    @initialize(
        size=SIZES, max_packet=st.integers(1, 400), kept=st.integers(0, 100), controlled=st.booleans()
    )
    def grant(self, size: int, max_packet: int, kept: int, controlled: bool) -> None:
        spare = size // 2 if controlled else 0
        kept = min(kept, size - spare)
        self.window = Window()
        self.window.grant(size, max_packet, kept, spare)
        self.takes = size  # what the receiver takes, as it counts
        self.may_send = size - kept - spare  # what the sender may send, as it was told
        self.owed = 0  # bytes of the sender that never went on
        self.words = kept + spare  # what the reserve was at first: it is never more

    @rule(size=SIZES, goes_on=st.booleans())
    def send(self, size: int, goes_on: bool) -> None:
        may = size <= self.may_send and size <= self.window.max_packet
        assert self.window.fits(size) is may
        assert self.window.take(size) is may
        if may:
            self.may_send -= size
            self.takes -= size if goes_on else 0
            self.owed += 0 if goes_on else size

    @rule()
    def use_up(self) -> None:
        self.send(min(self.may_send, self.window.max_packet), True)

    @rule(size=SIZES)
    def adjust(self, size: int) -> None:
        if self.takes - self.owed + size > UINT32_MAX:
            with pytest.raises(ProtocolError, match="overflows the window"):
                self.window.adjust(size)
            return
        lack = self.window.reserve_size - (self.takes - self.owed - self.may_send)
        told = self.window.adjust(size)
        assert told == size - min(lack, size), "the reserve is filled first"
        self.takes += size
        self.may_send += told

    @precondition(lambda self: self.window.reserve)
    @rule(part=st.floats(0, 1))
    def speak(self, part: float) -> None:
        size = int(self.window.reserve * part)
        self.window.speak(size)
        self.takes -= size

    @rule()
    def speak_too_much(self) -> None:
        with pytest.raises(AssertionError):
            self.window.speak(self.window.reserve + 1)

    @rule()
    def lend(self) -> None:
        self.may_send += self.window.lend()

    @rule()
    def release_spare(self) -> None:
        self.may_send += self.window.release_spare()
        assert self.window.spare == 0
        assert self.window.release_spare() == self.window.lend() == 0

    @rule()
    def give_back(self) -> None:
        size = self.window.give_back(self.owed)
        assert size == self.owed or self.window.room + self.window.reserve == UINT32_MAX
        self.owed -= size
        self.may_send += size

    @invariant()
    def books_agree(self) -> None:
        window = getattr(self, "window", None)
        if window is None:
            return
        assert window.room == self.may_send >= 0
        assert window.room + window.reserve + self.owed == self.takes
        assert 0 <= window.reserve <= window.reserve_size <= self.words
        assert 0 <= window.spare <= window.reserve_size
        assert window.room + window.reserve <= UINT32_MAX


TestConversation = Conversation.TestCase


def test_a_window_takes_nothing_before_it_is_granted() -> None:
    assert Window().take(0)
    assert not Window().take(1)


def test_a_sender_that_runs_dry_gets_what_brings_the_receiver_to_adjust() -> None:
    """The receiver adjusts when half of its window is used: `spare` is that half."""
    window = Window()
    window.grant(1000, 100, kept=50, spare=500)
    assert window.lend() == 0, "it has enough"
    while window.room >= 100:
        assert window.take(100)
    assert window.take(window.room)
    lent = window.lend()
    assert lent == 51
    assert window.room + window.reserve - lent < 500, "having sent that, more than half is used"


def test_a_spare_that_was_used_in_part_is_released_in_part() -> None:
    window = Window()
    window.grant(1000, 100, kept=50, spare=500)
    window.speak(400)
    assert window.release_spare() == 150
    assert (window.room, window.reserve, window.reserve_size) == (600, 0, 50)


def test_nobody_else_writes_a_window() -> None:
    """The invariant has one owner: elsewhere in the room its fields are only read."""
    written = [
        f"{path.name}:{node.lineno} {node.attr}"
        for path in Path(bastion.relay.__path__[0]).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del)
        if node.attr in Window.__slots__ and path.name != "window.py"
    ]
    assert written == []
