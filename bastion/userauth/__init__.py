"""Both halves of ssh-userauth (L2, RFC 4252 and 4256): engineers log in to us, we log in to targets.

What it is for: the server turns a peer's messages into attempts and their outcomes into answers, until somebody else
says that the success may go out; the client logs in to a target in as few messages as there can be.

Invariants: one request is judged at a time, and nothing of one name is carried over to another; a query is never a
proof; every request counts, every wait has a timer; an attempt is booked whoever still listens. A secret answers one
hidden question, goes out padded and is kept by nobody; a target's words are bounded, and marked where they are shown.

It may import L0, L1 (`auth.credentials`, `auth.identity`), `transport.packet_conn` and its settings, and Twisted. It
knows no directory, no policy and no transport: each is a Protocol to it.

- `authenticator`: the seam to whoever decides: `Authenticator`, and an `Attempt` for each request
- `server`: the server's half, from the service request to the success
- `keyboard_interactive`: questions to an engineer whose proof stands
- `client`: the client's half: with a key or a certificate
- `passing`: what a target asks after that, passed on to the engineer
- `password`: the same with a password, for appliances
"""
