"""What a peer that is logged in may have in key exchanges (pure): as many as its data pays for, and a few more.

RFC 4253 section 9 lets either side begin one at any time, and each costs the reactor 0.6 to 30 ms in which nobody
else is served. A client that changes its keys every few MB at full speed is right to: the bytes it has moved have
cost more than the keys. One that moves nothing is not.

Invariant: an exchange that a peer begins is paid for before its first agreement is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bastion.auth.budget import REASONS, TEXTS, Work
from bastion.errors import Refused

COSTS: Final[Mapping[str, int]] = {
    "mlkem768x25519-sha256": 1_000,
    "curve25519-sha256": 800,
    "curve25519-sha256@libssh.org": 800,
    "ecdh-sha2-nistp256": 800,
    "ecdh-sha2-nistp384": 1_500,
    "ecdh-sha2-nistp521": 2_000,
    "diffie-hellman-group14-sha256": 2_500,
    "diffie-hellman-group14-sha1": 2_500,
    "diffie-hellman-group16-sha512": 6_000,
    "diffie-hellman-group18-sha512": 19_000,
    "diffie-hellman-group-exchange-sha256": 30_000,
    "diffie-hellman-group-exchange-sha1": 30_000,
}
"""Microseconds of CPU of one exchange, signature or verification with it; a group that a target names counts as the
largest that is taken (`wire.kex.GEX_MAX`)."""

BYTES_A_MICROSECOND: Final = 1024
"""Bytes on the wire since the last keys that pay a microsecond: 1 MiB pays one exchange by a curve, and to carry it
has cost 3 ms or more. Whoever changes keys every MiB at 100 MB/s, both ways together, never owes anything."""

SECONDS_PAY: Final = 100
"""Microseconds that each second with the same keys pays: one every 10 s is free, and 256 sessions that do it are a
fortieth of a core."""

LEG_BURST: Final = 200_000
"""Microseconds that one connection may owe beside what its bytes and its time have paid: 250 exchanges by a curve, 6 in
a group that a target names. Beyond it that connection ends, and what its identity has left is there for the others."""

LEG_RATE: Final = 20_000
"""... and what of it is forgiven in a second: one that asks for more than 25 exchanges by a curve a second, and moves
nothing, ends within half a minute."""


def _nobody(microseconds: int) -> None:
    """Nobody is known who pays: the connection's own limit holds."""


class Rekeys:
    """What one authenticated connection owes. `spend(microseconds)` is its payer's; it may raise Refused."""

    __slots__ = ("_at", "_keys_at", "_owed", "spend")

    def __init__(self, now: float, spend: Callable[[int], None] = _nobody) -> None:
        """`now` in seconds of the reactor, as everywhere below."""
        self.spend = spend
        self._owed = 0.0
        self._at = self._keys_at = now

    def keyed(self, now: float) -> None:
        """New keys are in use."""
        self._keys_at = now

    def pay(self, kex: str, moved: int, now: float) -> None:
        """The peer asks for an exchange by `kex` after `moved` bytes. Raises Refused(BUDGET_KEY_EXCHANGE)."""
        since = max(0.0, now - self._keys_at)
        owed = COSTS[kex] - moved // BYTES_A_MICROSECOND - int(since * SECONDS_PAY)
        if owed <= 0:
            return
        self._owed = max(0.0, self._owed - max(0.0, now - self._at) * LEG_RATE)
        self._at = now
        if self._owed + owed > LEG_BURST:
            raise Refused(REASONS[Work.KEY_EXCHANGE], TEXTS[Work.KEY_EXCHANGE])
        self.spend(owed)
        self._owed += owed
