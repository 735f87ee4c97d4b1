"""The SSH transport of both roles (L2): packets, key exchange, who may say what when, and the end (RFC 4253).

What it is for: a `Transport` turns the bytes of one connection into messages and back. It has a key exchange, an
output, a reading, and a stranger or a closing in its time; the roles are values, and what they differ in is in the key
exchange and in the state table. Its users know it as a `PacketConn`.

Invariants: a message is looked at only when the state table has it; each direction changes its keys at its own
NEWKEYS; every buffer has a limit, every wait a timer; a closed transport holds nobody.

May import: L0, L1 (what a key exchange costs: `auth.budget`), `net.read_size`, and of Twisted deferreds, failures and
the logger.

- `transport`: one connection: bytes in, messages to who takes them, the last word
- `packet_conn`: the seam above: what userauth, a session and an endpoint know of it
- `key_exchange`: who sends KEXINIT when, what was agreed on, the timers
- `exchange`: the steps of one key exchange, pure
- `output`: seals bursts, holds them back during a key exchange, counts what stays
- `stalls`: the connections whose peer takes nothing, for whoever counts them
- `reading`: whether the connection below is read
- `stranger`: what a peer may send that has not proved anything
- `closing`: what is queued is sent, what still comes is thrown away
- `owner`: what the parts ask of the whole
- `states`: which message a peer may send when, as one table
- `rekeys`: what a peer that is logged in may have in key exchanges, pure
- `settings`: limits, timers, algorithms, host keys, how it closed
- `trace`: a line for each message, for maintainers, when it is asked for
- `byte_stream`: the seam below: a socket's connection, or a channel
"""
