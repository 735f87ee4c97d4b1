"""What a running gateway can be asked and told from outside SSH (L3): who is here, end it, how are you.

What it is for: the security team's commands, one page of metrics for several processes, and processes that know of
each other. Whoever asks sees a `node.Node` and never how many processes stand behind it: this one (`local`), one at
the far end of a socket (`link`), or several as one (`hub`).

Invariants: nothing here is on the way of a byte; every frame, queue and list that a peer can fill has a limit and every
question a deadline; what acts is written to the audit log with who asked and why.

    asking    what a question is, whom it is asked of, and where events on the way to its answer go
    glass     accounts for emergencies, opened and closed, as values
    glass_keeping  the same: said, kept over a restart, followed
    approvals requests for approval, as values
    deletion  recordings that two people want deleted, as values
    speaking  whom an account speaks for, and what may be asked so
    orders    locks, penalties, the log's level, watching, as values
    penalty_orders  penalties, as people ask for them and as gateways share them
    penalty_sharing  penalties told to other gateways of the store, and heard of them
    penalty_store   the same, where the store is
    reloads   the configuration read again, as values
    proving   a one-time code tried by another program, and what a passkey signs, as values
    proofs    who it is that decides, and with what that is proved
    code_using  the same, charged and answered
    blocks    penalties for failed logins as answers
    account_id whose a name is, for a lock: what is asked
    directory_id  the same, answered
    lock_keeping  locks: made, kept, and followed where other gateways change them
    words       reasons, what was selected, who did not answer
    confirming  whether what is locked is known, as values
    there       what gateways ask each other, as values
    obeying     what other gateways may order here, judged here
    peers       another gateway, as it is reached from here
    nodes_door  where other gateways connect to
    rate        how often something may be done
    fleet       all gateways as one, and whether what is locked is known
    desk      what people ask and order, over one node or many: keeps the locks, writes down who did what
    socket    the control socket, for people
    peer      who is at its other end, as the kernel says
    roles     who may ask and tell what
    frames    length and JSON object: cutting a stream into them, and what they may hold
    codec     frozen dataclasses as JSON, and back, strictly
    node      what can be asked, as values, and `Node`, whom it is asked of
    local     the node of this process, over `session.gateway.Gateway`
    enrolling second factors made, listed and taken away; certificates that were issued
    answering requests for approval listed and answered
    deleting  deletions listed, asked for and agreed to
    key_listing what somebody may log in with
    watching  a session as it happens, in blocks of its recording
    hub       several nodes as one: union, all, sum
    link      the node at the far end of a connection, and what serves one there
"""
