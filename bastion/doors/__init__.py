"""The ways in (L3): the listener, and what an engineer's connection leads to once it is known whose it is.

What it is for: an accepted connection becomes a session (the direct door), or an outer connection whose channels
lead through a door each: the lobby, a jump into a session, a tunnel. Every door asks for the same proof, the same
policy and the same recorder.

Invariants: who has not proved anything opens nothing, and is paid for by its source; the identity of what is inside
a connection is the outer one; what an engineer may not reach is refused in the words that refuse what does not exist.

It may import all rooms below and `session`, which knows no door. A door and its outer connection know each other
through `door` only.

    listener              the front door: each TCP connection from its accept to its end
    balancer              its sockets, and what load balancers say of a connection before that
    authentication        whose it is: the userauth service joined with directory, authorities and penalties
    handshakes            how a first key exchange ended, in a word and in the fields of a line
    door                  the seam: `Door`, and the `Outer` that a door sees
    outer                 an outer connection from its login to its end, and which door serves a channel
    lobby                 session channels: text made from the policy in force, and a few commands
    asked                 the seam between it and its commands that wait for something
    one_line              a line that such a command is sent
    certificate           `cert`: a certificate for whoever has logged in
    approvals             the lobby's commands about approvals
    jump                  SSH inside a channel, ended here and joined to its target
    inner_authentication  who is behind such a connection, where it may not be the engineer's own client
    break_glass           the door for emergencies: who may through, and who hears of it
    step_up               factors that a rule wants besides: asked for, and noted for the outer connection
    lobby_talk            a conversation on a channel of the lobby
    lobby_factor          the same asked in the lobby, for what cannot ask
    lobby_totp            `totp`: a second factor of one's own
    tunnel                bytes to and from what is no target, counted and not recorded
    draining              what runs finishes, whoever has nothing open goes home
"""
