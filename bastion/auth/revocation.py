"""What is revoked, asked for every key and certificate before anybody is let in by it (L1, pure).

Invariant: a list that could not be read revokes everything. What it held is not known, and somebody has put it there
because a key was lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bastion.auth.certificates import Claims
from bastion.errors import AuthReason, Refused
from bastion.wire.krl import RevokedKeys

_NONE: Final = RevokedKeys()


@dataclass(frozen=True, slots=True)
class Revocation:
    """`revoked` is None when the list could not be read."""

    revoked: RevokedKeys | None = _NONE

    def check_key(self, blob: bytes) -> None:
        """May this plain key be used? Raises Refused: KEY_REVOKED, REVOCATION_UNKNOWN."""
        if self._known().has_key(blob):
            raise Refused(AuthReason.KEY_REVOKED, "the key has been revoked")

    def check_certificate(self, certificate: Claims) -> None:
        """May this certificate be used? Raises Refused: CERT_REVOKED, REVOCATION_UNKNOWN."""
        key, authority = certificate.key_blob, certificate.signature_key_blob
        if self._known().has_certificate(key, authority, certificate.serial, certificate.key_id):
            raise Refused(
                AuthReason.CERT_REVOKED, "the certificate, its key or its authority has been revoked"
            )

    def names(self, shown: Iterable[str]) -> bool:
        """Is anything of what somebody has shown (`identity.shown_by`) known to be revoked?"""
        return bool(self.revoked) and self._known().has_shown(shown)

    def _known(self) -> RevokedKeys:
        if self.revoked is None:
            raise Refused(AuthReason.REVOCATION_UNKNOWN, "nobody can tell which keys are revoked")
        return self.revoked


NOTHING_REVOKED = Revocation()
"""Without a list."""
