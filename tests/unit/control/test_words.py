"""Words of orders: reasons show as themselves, and who did not answer is named."""

from __future__ import annotations

import pytest

from bastion.control.asking import ControlError, Ended
from bastion.control.node import Selection
from bastion.control.words import everywhere, in_words, reason_of
from bastion.errors import ControlReason


def test_a_reason_is_one_line_that_shows_as_itself():
    assert reason_of("  a\tb\n c ") == "a b c"
    assert reason_of("x\x1b[2J\u202e") == "x\\x1b[2J\\u202e"


def test_selections_in_words():
    assert in_words(Selection(everything=True)) == "all"
    assert in_words(Selection(id="abc")) == "id abc"


def test_who_is_silent_is_named_with_what_was_done_all_the_same():
    assert everywhere(Ended(2)) == Ended(2)
    with pytest.raises(ControlError, match=r"gw2, gw3 did not answer: .* 3 have ended elsewhere") as silent:
        everywhere(Ended(2, 1, silent=("gw2", "gw3")))
    assert silent.value.reason is ControlReason.TIMEOUT
