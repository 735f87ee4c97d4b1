"""One gateway process takes over from another, and nobody notices (L4).

What it is for: an upgrade, or a restart, that cuts no session. The running process (`giving`) starts its successor from
the path that it was started from itself, with the listening sockets in its hands. When the successor has read and
checked everything it says so; the old one stops to accept, the new one begins, and from then on the old one is an
*elder*: it serves the sessions that it has until the last has ended, and answers the new one as a node.

Invariants: the listening sockets are never closed by both, so nobody who connects is refused; there is at most one
process that accepts, and as long as the new one has not said that it does, the old one takes it back at the first
fault: it exits, it says nothing for READY_WITHIN seconds, its link breaks; what an elder had counted stays in the page.

May import: L0 to L3. The reactor is an argument; whatever serves is reached by callables (`giving.Serving`).

    questions   what the two processes ask each other, as values
    giving      the old side: start the successor, hand over, or take it back
    taking      the new side: ready, go, begun
    elders      the processes that serve their last sessions: nodes, figures, their end
    orders      what leads to one: signals, and `bastion upgrade`
    program     how this program was started, and is started again
"""
