"""The relay's limits and its output: `RelayLimits` and `Actions`."""

from __future__ import annotations

from dataclasses import dataclass

from bastion.relay.ledger import CHANNEL_REPLIES, CONNECTION_REPLIES

MAX_CHANNELS = 128
"""Channels per connection, those half open or half closed included. About 1 KiB each.
"""

MAX_PACKET = 128 * 1024
"""Bytes of data in one message that we let a side announce to the other: half of what our packet reader takes
(256 KiB), four times what OpenSSH asks for."""

MIN_PACKET = 512
"""Least maximum packet size of a channel, on either leg. Each message costs some 9 us in a session and 17 bytes of the
recording beside its data: with messages of one byte 1 MB was 9 s of the reactor and a file 17 times as long; at 512 it
is 20 ms and 3 %. RFC 4253 section 6.1 has everybody take 32 KiB; the smallest that is met is 4 KiB, paramiko's floor
(OpenSSH, dropbear, asyncssh and Conch say 32 KiB, PuTTY 16)."""

RESERVE = 32 * 1024
"""Bytes of the client's initial window kept for the gateway's own words on a session channel, at most."""

RESERVE_SHARE = 8
"""... and at most this part of the window (1/8), so that small windows still carry the target's data."""

REFUSALS = 100_000
"""Opens and requests refused to one side of a connection. Each is a line in the audit log, some 300 bytes,
so one hostile peer writes at most 30 MiB; a browser behind -D whose destinations are refused stays far
below it."""


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Limits of one relay; the defaults are the constants above. `sftp_hash`: files get a SHA-256."""

    channels: int = MAX_CHANNELS
    max_packet: int = MAX_PACKET
    min_packet: int = MIN_PACKET
    reserve: int = RESERVE
    reserve_share: int = RESERVE_SHARE
    channel_replies: int = CHANNEL_REPLIES
    connection_replies: int = CONNECTION_REPLIES
    refusals: int = REFUSALS
    sftp_hash: bool = True

    def reserve_of(self, window: int) -> int:
        """Bytes of a client's initial window that are kept for the gateway's own words."""
        return min(self.reserve, window // self.reserve_share)


class Actions:
    """What the shell is to send, in order. `onward[side]` and `back[side]` are the same two lists, seen
    from the side a message came from. Filled by the relay, sent by the shell; one for each burst, so that
    nothing outlives it.
    """

    __slots__ = ("back", "onward", "to_client", "to_target")

    def __init__(self) -> None:
        self.to_client: list[bytes] = []
        self.to_target: list[bytes] = []
        self.onward = (self.to_target, self.to_client)
        self.back = (self.to_client, self.to_target)

    def clear(self) -> None:
        self.to_client.clear()
        self.to_target.clear()
