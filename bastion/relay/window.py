"""What the receiver of one direction still takes, and who may use it: the one owner of window and reserve.

The client's first window on a session is passed on less a reserve, which only bytes of the gateway's own may use;
withholding the client's next adjusts fills it again. So at any moment

    what the receiver still takes  ==  `room`, which the sender may use  +  `reserve`  +  what is owed to the sender

and neither the sender nor we can overrun the receiver. (Owed are bytes that the sender has sent and the gateway has
kept: refused sftp requests, until `give_back`.)

Invariants: 0 <= room; 0 <= reserve <= reserve_size; spare <= reserve_size; room + reserve < 2**32. Everybody reads
the fields, only the methods here write them.
"""

from __future__ import annotations

from bastion.errors import ProtocolError
from bastion.wire.data import UINT32_MAX


class Window:
    """One direction. Plain ints, because the hot path reads them.

    `room` bytes and `max_packet` bytes per message are what the sender may send. `reserve` of `reserve_size` bytes
    are kept back from it (target halves of sessions; 0 elsewhere); `spare` of them are needed only if the channel
    becomes a controlled sftp.
    """

    __slots__ = ("max_packet", "reserve", "reserve_size", "room", "spare")

    def __init__(self) -> None:
        self.room = 0
        self.max_packet = 0
        self.reserve = 0
        self.reserve_size = 0
        self.spare = 0

    def grant(self, size: int, max_packet: int, kept: int = 0, spare: int = 0) -> None:
        """The receiver takes `size` bytes, of which `kept` and `spare` are for the reserve."""
        self.reserve = self.reserve_size = kept + spare
        self.spare = spare
        self.room = size - self.reserve
        self.max_packet = max_packet

    def fits(self, size: int) -> bool:
        """May the sender send a message of `size` bytes now?"""
        return size <= self.room and size <= self.max_packet

    def take(self, size: int) -> bool:
        """The sender sends a message of `size` bytes. False, and nothing taken, when it may not."""
        room = self.room - size
        if room < 0 or size > self.max_packet:
            return False
        self.room = room
        return True

    def adjust(self, size: int) -> int:
        """The receiver takes `size` bytes more. How many of them the sender is told; the others fill the reserve."""
        room, reserve = self.room + size, self.reserve
        # RFC 4254 section 5.2: the window MUST NOT be increased above 2^32 - 1 bytes.
        if room + reserve > UINT32_MAX:
            raise ProtocolError("CHANNEL_WINDOW_ADJUST overflows the window")
        if reserve < self.reserve_size:
            withheld = min(self.reserve_size - reserve, size)
            self.reserve = reserve + withheld
            self.room = room - withheld
            return size - withheld
        self.room = room
        return size

    @property
    def full(self) -> bool:
        """Nothing of the reserve is used."""
        return self.reserve == self.reserve_size

    def speak(self, size: int) -> None:
        """Bytes of our own go to the receiver: no more than the reserve."""
        assert size <= self.reserve, "who speaks has looked at the reserve"
        self.reserve -= size

    def release_spare(self) -> int:
        """The channel will not be sftp: the sender is told of as many bytes more."""
        released = min(self.spare, self.reserve)
        self.reserve_size -= self.spare
        self.spare = 0
        self._hand_over(released)
        return released

    def lend(self) -> int:
        """Let a sender that is about to run dry use part of the reserve, so that the client comes to send an adjust.

        How many bytes more the sender is told of.
        """
        takes = self.room + self.reserve  # `spare` is half of what it took at first
        if takes < self.spare or self.room >= min(self.max_packet, self.spare // 4):
            return 0
        lent = min(takes - self.spare + 1, self.reserve)
        self._hand_over(lent)
        return lent

    def _hand_over(self, size: int) -> None:
        self.reserve -= size
        self.room += size

    def give_back(self, owed: int) -> int:
        """The sender gets back bytes that never went on: how many of `owed` fit into its window now."""
        size = min(owed, UINT32_MAX - self.room - self.reserve)
        self.room += size
        return size
