"""The playbook itself: it notices what it is there to notice."""

from __future__ import annotations

import pytest

from bastion.wire.messages import Eof
from tests.support.playbook import Playbook, opens, sends


def test_a_line_that_was_not_expected_is_shown_as_a_diff_with_the_conversation() -> None:
    book = Playbook()
    book.client(opens("session", 0, 8000))
    with pytest.raises(AssertionError) as caught:
        book.to_target(opens("session", 0, 8000))
    text = str(caught.value)
    assert "- ChannelOpen(kind='session', sender=0, window=8000" in text
    assert "+ ChannelOpen(kind='session', sender=0, window=7000" in text
    assert "client: ChannelOpen(kind='session', sender=0, window=8000" in text


def test_a_missing_line_is_noticed() -> None:
    book = Playbook()
    with pytest.raises(AssertionError, match="- Eof"):
        book.to_client(Eof(0))


def test_a_leg_cannot_speak_before_the_last_lines_were_expected() -> None:
    book = Playbook()
    book.client(opens("session", 0))
    with pytest.raises(AssertionError, match="before the client speaks again"):
        book.client(opens("session", 1))


def test_a_conversation_with_lines_left_cannot_be_done() -> None:
    book = Playbook()
    book.session()
    book.client(sends(0, b"x"))
    with pytest.raises(AssertionError, match="at the end"):
        book.done()
    assert not book.finished


def test_a_tap_that_heard_something_else_is_noticed() -> None:
    book = Playbook()
    book.session()
    book.client(sends(0, b"x")).to_target(sends(0, b"x"))
    with pytest.raises(AssertionError, match="to the tap"):
        book.told()
