"""What is open and was opened with something that is revoked by now ends (L3): after every reload."""

from __future__ import annotations

from typing import Final

from bastion.errors import EndReason
from bastion.recording.format import REF_LENGTH
from bastion.session.ending import End
from bastion.session.gateway import REVOKED, Gateway
from bastion.session.present import Kind

_ORDER: Final = tuple(Kind)


def end_revoked(gateway: Gateway) -> int:
    """End it, what is inside before what it came through, whatever the rules say; how much it was.

    While the list cannot be read nothing ends: that nobody knows who is revoked is no reason to end everybody.
    """
    revocation = gateway.services.auth.revocation
    met = [present for present in gateway.present if revocation.names(present.party.shown)]
    for present in sorted(met, key=lambda one: _ORDER.index(one.kind)):
        present.end(End(EndReason.LOCKED, REVOKED, ref=present.id[:REF_LENGTH]))
    return len(met)
