"""The one line that the engineer reads of an ending, and what of a peer's words may stand in it."""

from __future__ import annotations

import pytest

from bastion.errors import EndReason
from bastion.session.ending import DETAIL_LIMIT, End
from bastion.transport.settings import ClosedBy, CloseReason


def test_the_line_has_the_reference_when_there_is_one() -> None:
    assert End(EndReason.IDLE, "no data for 10 min").line == "bastion: no data for 10 min"
    assert End(EndReason.IDLE, "no data", ref="k3v2m5").line == "bastion: no data (ref k3v2m5)"


@pytest.mark.parametrize(
    ("reason", "close", "text"),
    [
        (EndReason.CLIENT_CLOSED, CloseReason(ClosedBy.NETWORK), "the client closed the connection"),
        (
            EndReason.TARGET_CLOSED,
            CloseReason(ClosedBy.PEER, 2, "too many\x1b[2J\n"),
            'the target closed the connection: "too many\\x1b[2J\\x0a"',
        ),
        (
            EndReason.CLIENT_CLOSED,
            CloseReason(ClosedBy.US, 2, "packet is too long"),
            "the client closed the connection: packet is too long",
        ),
    ],
    ids=["no words", "a peer's are quoted", "ours are not"],
)
def test_a_leg_that_closed(reason: EndReason, close: CloseReason, text: str) -> None:
    made = End.of_close(reason, close)
    assert (made.reason, made.text) == (reason, text)


def test_a_peer_s_words_are_cut() -> None:
    long = End.of_close(EndReason.TARGET_CLOSED, CloseReason(ClosedBy.PEER, 2, "x" * 10_000))
    assert len(long.text) < 100 + 4 * DETAIL_LIMIT
