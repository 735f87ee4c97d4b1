"""What is written down of a session that its process left behind, once somebody has ended its recording (L4, values).

A gateway does so for its own (`assembly.leftovers`), `bastion adopt` for one that does not come back.
"""

from __future__ import annotations

from typing import Final

from bastion.errors import EndReason
from bastion.observe.events.base import About
from bastion.observe.events.sessions import SessionEnded
from bastion.recording.format import REF_LENGTH
from bastion.recording.sealing import Sealed
from bastion.state.changes import Change
from bastion.state.rows import ENDED, Moved, session_died, session_ended

DIED: Final = "the gateway's process died"
"""What recordings and audit lines say."""

_DEATHS: Final = frozenset((EndReason.WORKER_DIED, EndReason.GATEWAY_DIED))


def is_to_be_told(sealed: Sealed, reason: EndReason) -> bool:
    """Has nobody said yet that this session ended? Its own process may have written the end, or another one that found
    it dead."""
    totals = sealed.totals
    told = totals is not None and totals.reason != reason
    if reason is EndReason.WORKER_DIED:
        told = told and totals is not None and totals.reason in _DEATHS
    return not told


def line_of(session: str, sealed: Sealed, reason: EndReason, text: str) -> tuple[SessionEnded, About]:
    """The audit log's line of its end, as far as its recording tells it."""
    totals, header = sealed.totals, sealed.header
    event = SessionEnded(
        reason=reason,
        text=text,
        bytes_in=totals.bytes_in if totals else 0,
        bytes_out=totals.bytes_out if totals else 0,
        channels=totals.channels if totals else 0,
        bytes_not_kept=totals.skipped if totals else 0,
        opaque=totals.opaque if totals else 0,
    )
    whose = header.identity, header.source_address, header.target, header.login
    return event, About(session, session[:REF_LENGTH], "", *whose)


def rows_of(session: str, sealed: Sealed, reason: EndReason) -> list[Change]:
    """Its rows. A file that can have no end is told once as well, and is not looked at again at each start."""
    totals = sealed.totals
    if totals is not None:
        moved = Moved(totals.bytes_in, totals.bytes_out, totals.channels, totals.opaque)
        return session_ended(session, ENDED, totals.ended_at, totals.reason, moved, sealed.size)
    return [session_died(session, reason)] if reason is EndReason.GATEWAY_DIED else []
