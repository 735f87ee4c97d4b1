"""What crosses between the two legs of a session (L1, pure): the relay, and the heart of the product.

What it is for: `relay.Relay.receive(side, payload, out)` takes one connection message of one leg and says what is to be
sent to whom. Nothing is queued: channel numbers and windows pass through, so that flow control is end to end.

Invariants: what crosses is what was read of the payload and allowed; the tap has seen it first; after an error nothing
crosses any more; nobody is overrun, by the other side or by words of our own.

May import: `wire`, `sides`, `errors`, and of `policy` the values `verdict` and `sftp`. Policy knows no relay.

- `relay`: the routes of all messages, data and adjusts, endings, the gateway's own words
- `channels`: channels as two half-machines, and the table that finds them by number
- `window`: what a half may still send, and the reserve; the only place where either is changed
- `opens`: CHANNEL_OPEN and its answers
- `requests`: requests of channels and of the connection, and their answers
- `ledger`: who owes which answer; replies have no number, only their order
- `invitations`: what the target may open because the client asked for it
- `passlist`: which kinds and requests may cross at all, as tables
- `decider`: the seam to policy: what is asked, about bodies that were read once
- `tap`, `events`: the seam to recorder, audit log and meters, and what it is told
- `paying`: who pays for what is written down of requests and opens
- `stream`, `first_bytes`: channels of other programs' bytes, watched until it is plain that they are no SSH
- `limits`: the limits of one relay, and `Actions`, its output
- `sftp`: sftp channels, followed and controlled
"""
