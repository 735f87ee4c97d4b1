"""What an attempt to log in has shown in proof, as the audit log tells of it (L1, pure)."""

from __future__ import annotations

from typing import Final, NamedTuple

from bastion.auth.issued import Carried
from bastion.errors import AuthReason

PROVED: Final = frozenset((AuthReason.OK, AuthReason.PARTIAL))
"""Outcomes of an attempt that proved something."""


class Evidence(NamedTuple):
    """The fields of the event `auth` that are about the proof; what does not apply is left as it is here."""

    key: str = ""
    certificate_id: str = ""
    certificate_serial: int | None = None
    ca: str = ""
    unverified: int | None = None
    user_verified: int | None = None
    counter: int | None = None
    recovery: int | None = None
    carried: tuple[str, ...] | None = None
    carried_at: int | None = None
    offline: int | None = None

    def verified(self, carried: Carried) -> Evidence:
        """The same of a certificate whose signature is right: what it says is, and what it carries."""
        factors, at = carried.factors or None, carried.at or None
        return self._replace(unverified=None, carried=factors, carried_at=at)


NO_EVIDENCE: Final = Evidence()
"""Before anything was shown."""
