"""The reply ledger: replies carry no id, only order (RFC 4254 sections 4 and 5.4).

One ledger lists what one side owes in answers, oldest first: to requests that were *forwarded* to it, and
to those *asked by us*. A request *refused by us* never reached that side; its refusal waits behind the
newest forwarded one, so that the asking side gets its answers in the order of its requests. Invariant:
entries and waiting refusals together never exceed `limit`.
"""

from __future__ import annotations

from bastion.errors import ProtocolError

CHANNEL_REPLIES = 256
"""Replies outstanding per channel and direction. PuTTY's winadj needs some dozens; an entry takes about 70
bytes, so 128 channels hold at most 4.5 MiB, for which the peers have sent as much."""

CONNECTION_REPLIES = 1024
"""Global replies outstanding per direction: OpenSSH sends every -R of a config at once. About 70 KiB."""


Place = int | str
"""Where a remote forward listens: a port (0: the target chooses it) or the path of a socket."""


class Entry:
    """One reply that is owed: to the request `name`, which we asked ourselves or forwarded.

    `place` is what a forward was asked for. `refusals` of ours are due to the asking side as soon as this reply
    has been forwarded, and `proof`, an answer of ours, behind so many of them.
    """

    __slots__ = ("name", "ours", "place", "proof", "refusals")

    def __init__(self, name: str, ours: bool, place: Place | None = None) -> None:
        self.name = name
        self.ours = ours
        self.place = place
        self.refusals = 0
        self.proof: tuple[int, bytes] | None = None


class Ledger:
    """What one side owes on one channel, or on the connection."""

    __slots__ = ("_entries", "_last_forwarded", "_limit", "_refusals")

    def __init__(self, limit: int) -> None:
        # A list, taken from its front: one is owed at a time, and an empty deque is 0.6 KiB. With the most
        # that may be owed, taking the first moves 8 KiB.
        self._entries: list[Entry] = []
        self._last_forwarded: Entry | None = None
        self._limit = limit
        self._refusals = 0

    def __len__(self) -> int:
        """Replies owed and refusals waiting."""
        return len(self._entries) + self._refusals

    def _check_room(self) -> None:
        if len(self) >= self._limit:
            raise ProtocolError("too many requests without an answer")

    def add_forwarded(self, name: str, place: Place | None = None) -> None:
        """A request that wants a reply goes to the owing side."""
        self._check_room()
        self._last_forwarded = Entry(name, False, place)
        self._entries.append(self._last_forwarded)

    def add_asked(self, name: str) -> bool:
        """A request of ours goes to the owing side; False, and nothing noted, when the ledger is full."""
        if len(self) >= self._limit:
            return False
        self._entries.append(Entry(name, ours=True))
        return True

    def add_refused(self) -> bool:
        """We refuse a request that wants a reply. True: say so now. False: it waits its turn."""
        if self._last_forwarded is None:
            return True
        self._check_room()
        self._last_forwarded.refusals += 1
        self._refusals += 1
        return False

    def add_answer(self, answer: bytes) -> bool:
        """We answer a request that wants a reply ourselves, once on this ledger. True: now. False: in its turn."""
        if self._last_forwarded is None:
            return True
        self._last_forwarded.proof = self._last_forwarded.refusals, answer
        return False

    def settle(self) -> Entry | None:
        """The owing side answered: the entry it answers, None when it owed nothing."""
        if not self._entries:
            return None
        entry = self._entries.pop(0)
        self._refusals -= entry.refusals
        if entry is self._last_forwarded:
            self._last_forwarded = None
        return entry
