"""The connection protocol where it ends at the gateway (L2, RFC 4254): outer connections, connections to hops.

What it is for: everywhere else connection messages cross between two legs (`relay`); an outer connection leads to no
target, and one to a hop only carries the next, so their channels, windows and answers are the gateway's own. A channel
is a byte transport for what runs inside: an SSH connection of its own, a tunnel, the lobby.

Invariants: credit is given only for what has left, and data goes out only as far as the client has allowed; one slow
channel holds up no other; everything that waits has a limit, and its engineer's purse holds it; nothing is ever bound
here, and what was not granted, not allowed or not asked ends the connection.

It may import L0 and L1 (`relay.limits`, `auth.budget`, `policy.roads`) and Twisted. It decides nothing: what a channel
leads to is the `ChannelRouter`'s (`doors.outer`), or the dialler's.

    connection  messages in, their order out, channel numbers, global requests, keepalive
    channel     one channel: its two windows, what is kept and what waits, EOF and CLOSE
    hop         the client's side: one channel through a hop, and nothing granted to it
    link        what the two need of each other and of whoever uses a channel
    limits      what a connection may hold, each number with its worst case
"""
