"""Wrong passwords of one account, from wherever they come (L1, pure): so that guesses through the gateway end before
the directory locks the account.

Invariants: within `window` seconds no more than `most` passwords of an account are tried that were not right, those
that are being tried included; a right one clears nothing, since it may have been a key's code and not the directory's
password; names that nobody has are counted like all others; memory is bounded, and the account tried longest ago is
forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from bastion.auth.penalty_records import MAX_ENTRIES


@dataclass(slots=True)
class _Tried:
    """When one was tried whose outcome is no right password, and how many have no outcome yet."""

    times: list[float]
    under_way: int = 0


class AccountFailures:
    """What was tried of each account, by digest. All times are monotonic seconds."""

    def __init__(self, entries: int = MAX_ENTRIES) -> None:
        self._entries = entries
        self._tried: OrderedDict[bytes, _Tried] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tried)

    def take(self, account: bytes, now: float, most: int, window: float) -> bool | None:
        """Count one that is to be tried. False: it may not be. None: not before one that is under way has ended.

        `most` 0: as many as there are.
        """
        if not most:
            return True
        tried = self._tried.get(account)
        if tried is None:
            if len(self._tried) >= self._entries:
                self._tried.popitem(last=False)
            tried = self._tried[account] = _Tried([])
        tried.times = [at for at in tried.times if now < at + window]
        if len(tried.times) >= most:
            return None if tried.under_way else False
        tried.times.append(now)
        tried.under_way += 1
        self._tried.move_to_end(account)
        return True

    def settle(self, account: bytes, wrong: bool) -> None:
        """The outcome of one that was taken."""
        tried = self._tried.get(account)
        if tried is None:
            return
        tried.under_way = max(0, tried.under_way - 1)
        if not wrong and tried.times:
            tried.times.pop()
        if not tried.times:
            del self._tried[account]

    def forget(self, account: bytes) -> None:
        """An operator says that it is no longer at its limit; what is under way is not counted."""
        self._tried.pop(account, None)

    def clear(self) -> None:
        """Nothing was tried."""
        self._tried.clear()
