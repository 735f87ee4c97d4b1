"""What one outer connection and its channels may hold, each number with its reason and its worst case in bytes."""

from __future__ import annotations

from typing import Final

# -- one channel -------------------------------------------------------------------------------------------------

MAX_PACKET: Final = 32 * 1024
"""Bytes of data in one message that we announce; what OpenSSH announces too."""

SEND_PACKET: Final = 128 * 1024
"""Bytes of data in one message that we send, whatever the client takes: half of what packet readers accept."""

CREDIT_SHARE: Final = 4
"""Credit is given back when this part of the window (1/4) was used: few messages, and no stall on long paths."""

QUEUE_LIMIT: Final = 8 * 1024 * 1024
"""Bytes that wait for the client's window before the channel is aborted. Whoever writes stops at the first one;
what may still come is one read and one flushed key exchange queue (4 MiB, `transport.settings.OUTPUT_LIMIT`)."""

HAND_UP: Final = 256 * 1024
"""Bytes of what was kept that are handed up in one turn, as one read of a socket would bring; and bytes that are
sent at once, so that a burst behind a key exchange stays far below `transport.settings.KEX_QUEUE_LIMIT`."""

JOIN_BELOW: Final = 4 * 1024
"""Pieces that wait are joined up to this many bytes. Each takes half a KiB beside its bytes: a queue of answers of 50
bytes would hold nine times what the limits count."""

# -- all channels of one connection ------------------------------------------------------------------------------

MAX_CHANNELS: Final = 384
"""Channels of one outer connection: 256 inner sessions and 128 others, those half open or
half closed included. The door keeps the two limits; this one is for whatever it grants."""

WIDE_WINDOW: Final = 2 * 1024 * 1024
"""Bytes a client may send ahead on one channel: OpenSSH's own figure, 40 MB/s over 50 ms."""

WIDE_CHANNELS: Final = 16
"""Channels that get the wide window; those beyond get `NARROW_WINDOW`."""

NARROW_WINDOW: Final = 256 * 1024
"""What a channel gets while `WIDE_CHANNELS` others are open."""

INPUT_LIMIT: Final = WIDE_CHANNELS * WIDE_WINDOW + (MAX_CHANNELS - WIDE_CHANNELS) * NARROW_WINDOW
"""Bytes kept for owners that do not read, when a client fills every window: 124 MiB, of 384 stalled channels."""

QUEUED_LIMIT: Final = 160 * 1024 * 1024
"""Bytes that wait for the client's windows in all channels together, before one that writes more is aborted. A client
that stops under the output of 256 sessions leaves a read (512 KiB, and 0.1 % to seal it) in each, 128 MiB; what is
beyond are answers that it asked for and does not read: 4 MiB a session, 1 GiB of one connection without this."""

HOLD_SIZE: Final = 1024 * 1024
"""Bytes of what waits that are accounted for at once (`auth.budget`, Work.BUFFERED). The first of each connection are
free, so that one that stalls now and then asks nobody."""

PUMP: Final = 256 * 1024
"""Bytes that one channel sends of its queue before the next one has its turn."""

CORKED_LIMIT: Final = 256 * 1024
"""Bytes that channels say within one read of the client before more data waits for its end: only then it is known what
the connection takes. Ten sessions whose key exchanges end in one read have 3 MiB to say, and a connection that is in an
exchange of its own ends at 2 MiB (`transport.settings.KEX_QUEUE_LIMIT`)."""

ASKED_LIMIT: Final = 16
"""Global requests of ours without an answer; keepalive gives a peer up long before."""

# -- a connection to a hop ---------------------------------------------------------------------------------------

HOP_WINDOW: Final = WIDE_WINDOW
"""Bytes that a hop may send ahead on its one channel, as an engineer may. They wait in the kernel while the session's
other side takes nothing: the socket is not read then."""

HOP_NOISE: Final = 64
"""Messages of a hop that nothing comes of (opens, requests, empty data), plus one for every second: keepalives of a
busy sshd, and what it says after the login. Each costs some 20 us and an answer of 50 bytes."""
