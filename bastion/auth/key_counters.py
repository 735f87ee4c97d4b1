"""The last counter of each security key that this process has seen log in (L1, pure).

What it is for: a security key counts its signatures, so a counter that does not rise means that there are two of them
(WebAuthn section 6.1.1). Invariant: memory is bounded; the key that was used longest ago is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MAX_KEYS: Final = 65_536
"""Keys that are kept: 10 MB."""


class KeyCounters:
    """One per process: after a start, each key's first counter is taken as it is."""

    def __init__(self, size: int = MAX_KEYS) -> None:
        self._size = size
        self._last: OrderedDict[str, int] = OrderedDict()

    def note(self, fingerprint: str, counter: int) -> int | None:
        """A login with that key. The last counter, when this one should have been higher; else None.

        The highest one is kept. Keys that never count say 0 each time, and that is none.
        """
        last = self._last.pop(fingerprint, 0)
        self._last[fingerprint] = max(last, counter)
        if len(self._last) > self._size:
            self._last.popitem(last=False)
        return last if last and counter <= last else None
