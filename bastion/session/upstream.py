"""What a session logs in to its target with: a certificate for this one session, or the target's own key.

Keys of targets that cannot trust a CA are read once, at start and at reload, so that a session never waits for
a disk and a missing file is found by `bastion check`.
"""

from __future__ import annotations

from collections.abc import Mapping

from bastion.auth.identity import Identity
from bastion.ca.upstream import CertificateRequest, UpstreamCA
from bastion.clock import Clock
from bastion.errors import Refused, UpstreamReason
from bastion.policy.grant import Grant
from bastion.ssh.dial import UpstreamLogin
from bastion.wire.keys import PrivateKey


class TargetCredentials:
    """Implements `session.gateway.UpstreamKeys`. `keys` maps target names to their configured keys."""

    def __init__(self, ca: UpstreamCA | None, keys: Mapping[str, PrivateKey], clock: Clock) -> None:
        self._ca = ca
        self._keys = keys
        self._clock = clock

    def login_for(self, grant: Grant, identity: Identity, session_id: str) -> UpstreamLogin:
        """The credential for one login, made after the host key was accepted. Raises Refused."""
        request = CertificateRequest(
            login=grant.login,
            identity=identity.name,
            session_id=session_id,
            permits=grant.permits,
            # The intersection of what all factors allow: it ends no later than any of them.
            not_after=identity.restrictions.valid_before,
            force_command=grant.force_command,
        )
        return self._make(grant, request)

    def probe(self, grant: Grant) -> UpstreamLogin:
        """A credential for `bastion target test`: no engineer, and a certificate that permits nothing."""
        request = CertificateRequest(login=grant.login, identity=grant.identity_name, session_id=grant.id)
        return self._make(grant, request)

    def _make(self, grant: Grant, request: CertificateRequest) -> UpstreamLogin:
        own = self._keys.get(grant.target.name)
        if own is not None:
            return UpstreamLogin(own, own.public, own.public.algorithms[0])
        if self._ca is None:
            text = f"{grant.target.name}: no upstream CA and no key for this target are configured"
            raise Refused(UpstreamReason.LOGIN_REFUSED, text)
        key, issued = self._ca.issue(request, self._clock.time())
        return UpstreamLogin(key, issued, issued.type)
