"""What gateways tell each other of penalties, in the process that has the store (L3)."""

from __future__ import annotations

from bastion.control.penalty_orders import PenaltiesShared, SharePenalties, Told
from bastion.state.database import Database
from bastion.state.shared_penalties import key_of, read, sweep, tell


def share(database: Database, request: SharePenalties, now: float) -> PenaltiesShared:
    """Write what is claimed and read what is new. Blocks. Raises StateDown."""
    proposed = bytes.fromhex(request.key) if request.key else None
    key = key_of(database, proposed)
    tell(database, request.node, request.claims)
    if request.sweep:
        sweep(database, request.node, now)
    seen = {one.node: one.revision for one in request.seen}
    told = tuple(Told(node, claims) for node, claims in read(database, seen, now).items())
    return PenaltiesShared("" if key is None else key.hex(), told)
