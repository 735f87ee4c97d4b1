"""Who pays for what a session writes down besides its data (L1, pure).

An open or a request is an event of the recording, and often a line of the audit log, at the word of a peer: 60 MB in
0.9 s were written for one engineer's `env` requests. So each is paid for before its text is looked at; what nobody
can pay for is refused. Of such refusals the first is told as any other, the rest are counted and told in one event as
soon as the next one is paid, or at the end.

What each side's data may make of the recording is the bulk rule's business (`recording.bulk`), not this.
"""

from __future__ import annotations

from typing import Final, Protocol

from bastion.errors import PolicyReason
from bastion.policy.verdict import Verdict
from bastion.relay import events
from bastion.relay.tap import Tap
from bastion.sides import Counts, Side, counted

REQUEST_NOTES: Final = 320
"""Bytes of the recording for a request and its answer, without the request's text."""

OPEN_NOTES: Final = 800
"""... for a channel: opened, confirmed, both EOFs, closed."""

OPEN_LINES: Final = 2
"""Lines of the audit log for a channel: opened and closed."""

SUMMARY_NOTES: Final = 512
"""Paid beside, with one line, by the first that is paid again: for the refusal that was told, and for the count."""

ESCAPED: Final = 6
"""Bytes of JSON that a byte can take which is no printable ASCII (`\\u0000`, `\\\\xff`)."""

_PRINTABLE: Final = bytes(range(32, 127))

UNPAID: Final = Verdict(
    False, PolicyReason.RECORD_RATE, text="too many requests to record, please try again in a moment"
)


class Payer(Protocol):
    """One session's, and whose it is."""

    def pay(self, side: Side, notes: int, lines: int) -> bool:
        """Pay for `notes` bytes of the recording and `lines` of the audit log on account of `side`; False: no."""
        ...


class Free:
    """Nobody pays: for relays without a recording."""

    def pay(self, side: Side, notes: int, lines: int) -> bool:
        return True


def text_size(body: bytes) -> int:
    """Bytes of JSON that a peer's `body` can become: two passes in C, whatever it holds."""
    return len(body) + (ESCAPED - 1) * len(body.translate(None, _PRINTABLE))


class Accounts:
    """The payer of one relay, and what was refused for want of him and not told yet."""

    __slots__ = ("_payer", "_tap", "_untold")

    def __init__(self, payer: Payer, tap: Tap) -> None:
        self._payer = payer
        self._tap = tap
        self._untold: Counts = (0, 0)

    def pay_request(self, side: Side, body: bytes, lines: int) -> bool:
        """A request of `side`."""
        return self._pay(side, side, REQUEST_NOTES + text_size(body), lines)

    def pay_open(self, side: Side, body: bytes) -> bool:
        """A channel that `side` opens. Those of the target were asked for by the client, so it pays for both."""
        return self._pay(side, Side.CLIENT, OPEN_NOTES + text_size(body), OPEN_LINES)

    def _pay(self, side: Side, account: Side, notes: int, lines: int) -> bool:
        if self._untold[side]:
            notes, lines = notes + SUMMARY_NOTES, lines + 1
        if not self._payer.pay(account, notes, lines):
            return False
        self._tell(side)
        return True

    def refuse(self, side: Side) -> bool:
        """One of `side` could not be paid. True for the first, which is told as it is."""
        self._untold = counted(self._untold, side)
        return self._untold[side] == 1

    def finish(self) -> None:
        """Nothing more comes: tell what was counted."""
        for side in Side:
            self._tell(side)

    def _tell(self, side: Side) -> None:
        untold = self._untold[side]
        if untold:
            self._untold = counted(self._untold, side, -untold)
            if untold > 1:
                self._tap.event(events.RefusalsCounted(side, untold - 1, UNPAID.reason))
