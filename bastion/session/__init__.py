"""The life of a session (L3): one engineer's leg, one target's leg, a relay between them, a recording beside it.

What it is for: from a proof to a running session (`opening`), through every burst of its messages (`session`), to
the one reason for which it ends (`ending`).

Invariants: no recorder, no session; what one read brought is judged, written and only then forwarded, all in the same
turn of the reactor; after an error nothing crosses. Nothing is dialled before policy has granted it, and the engineer
reads of success when the recording exists.

It may import all rooms below. It knows no door: who opens a session is an `engineer.Engineer` to it.

    gateway     what all sessions of the process share, and the services that a reload swaps
    opening     authorise, admit, dial, record, start: one coroutine for every door
    engineer    the connection that a session is opened for
    timing      how long that takes
    approving   somebody else's word, where a rule wants it: obtained, asked for, answered
    approvals   the requests of one process: filed, waited for, used
    announcing  a request told to a webhook and by mail
    traces      the steps of logins, told to a collector
    reaching    what becomes known of a target while it is being reached
    heading     what a recording's header says
    session     the two legs joined, burst by burst
    tap         what the relay tells, to the recording, the audit log and the meters
    personal    how many sessions each person has
    allowance   how large recordings of a session and of a person may grow
    transfers   files that move (sftp, scp, rsync), as the audit log tells of them
    paying      who pays for notes and lines: the engineer, or a target's own allowance
    watching    what a session writes, for whoever watches it
    clocks      what of them a Grant sets
    watch       the clocks: keepalive, silence, longest duration, end of the credential
    ending      how it ended, and the line that the engineer reads
    present     all that is open and may be ended: sessions, tunnels, connections, and whose they are
    live        the sessions that are open now, and what each was opened with
    checkpoints  signatures over what was recorded of sessions that went quiet
    key_ages    keys that have logged in for longer than they should
    revoked     what is open and was opened with something that is revoked by now
    issuing     a certificate for somebody who has logged in
    standing    whether somebody who logged in a while ago still has the account and the rights
"""
