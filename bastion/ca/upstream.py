"""The upstream CA: a certificate per session towards the target (L2; docs/keys.md).

Invariant: what it issues never exceeds the login that asked for it: one principal (the login), minutes of
life, not beyond the engineer's own certificate, only from the gateways' addresses, only the permits of the
grant, and the forced command when there is one. The private key is fresh and lives in memory only.

The key id is `IDENTITY SESSION`: the directory name, one space, the 16 characters of the session id. sshd
writes it into its log at the login (`ID alice k3v2m5q7p2r4t6w8 (serial ...)`), which joins that log and the
recording.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from bastion.auth.certificates import FORCE_COMMAND, SOURCE_ADDRESS
from bastion.auth.restrictions import AddressList
from bastion.ca.agent import AgentSigner
from bastion.ca.slots import Staged
from bastion.errors import AuthReason, ConfigError, ProtocolError, Refused
from bastion.wire.certificates import Certificate, CertificateKind, flag_options, issue
from bastion.wire.key_options import ALL_PERMITS
from bastion.wire.keys import PrivateKey

BACKDATED = 60
"""Seconds by which valid_after lies before now, for targets whose clock is behind. Never in checks."""

DEFAULT_LIFETIME = 300
"""Seconds after now. sshd looks only at the login, so it covers the dial and clocks that are ahead."""

MAX_LIFETIME = 3600
"""Seconds. A certificate for one login never needs an hour; more is a mistyped option."""

_IDENTITY = re.compile(r"\A[a-z0-9_][a-z0-9_.@-]{0,127}\Z")
_SESSION = re.compile(r"\A[A-Za-z0-9_-]{1,64}\Z")
_LOGIN = re.compile(r"\A[A-Za-z0-9_][A-Za-z0-9_.@$-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """What one session needs. `permits` are extension names (`permit-pty`, ...) of the grant.

    `not_after` is the valid_before of the engineer's own certificate, in seconds since the epoch. `sources`: where a
    machine behind a hop sees the connection come from, as networks, () when that is not known; None: from the gateways.
    """

    login: str
    identity: str
    session_id: str
    permits: Collection[str] = ()
    not_after: int | None = None
    force_command: str | None = None
    sources: tuple[str, ...] | None = None

    @property
    def key_id(self) -> str:
        """`IDENTITY SESSION`; neither part can hold a space, so it splits one way only."""
        return f"{self.identity} {self.session_id}"


class UpstreamCA:
    """Issues per-session certificates with the key that is in force. Holds no state of any session."""

    def __init__(
        self, keys: Staged, egress_addresses: Collection[str] = (), lifetime: int = DEFAULT_LIFETIME
    ) -> None:
        """`egress_addresses` are addresses or CIDR networks; none means no source-address option at all.

        Raises ConfigError for an address or a lifetime that makes no sense.
        """
        if not 0 < lifetime <= MAX_LIFETIME:
            raise ConfigError("[upstream_ca]", 0, "lifetime", "out of range", f"1 to {MAX_LIFETIME} seconds")
        if isinstance(egress_addresses, str):
            raise ConfigError("[upstream_ca]", 0, "egress_addresses", "one text", "a list of addresses")
        self._keys = keys
        self._lifetime = lifetime
        self._sources = ",".join(sorted(set(egress_addresses)))
        try:
            AddressList.from_cidr_list(self._sources)
        except ProtocolError as error:
            raise ConfigError(
                "[upstream_ca]", 0, "egress_addresses", error.text, "addresses or CIDR networks"
            ) from None

    def waits(self, now: float) -> AgentSigner | None:
        """The key that `issue` would sign with at `now`, when it is in an agent: then only a thread may call it."""
        return self._keys.waits(now)

    def issue(self, request: CertificateRequest, now: float) -> tuple[PrivateKey, Certificate]:
        """A fresh ed25519 key and its certificate.

        Raises Refused(CERT_EXPIRED) when the engineer's own certificate has ended, and ValueError for names
        or permits that policy must never have let through.
        """
        if not _LOGIN.match(request.login) or not _IDENTITY.match(request.identity):
            raise ValueError("login or identity is not a name a certificate may carry")
        if not _SESSION.match(request.session_id) or not ALL_PERMITS.issuperset(request.permits):
            raise ValueError("session id or permits are not what a certificate may carry")
        begin = max(0, int(now) - BACKDATED)
        end = int(now) + self._lifetime
        if request.not_after is not None:
            end = min(end, request.not_after)
        if end <= now:
            raise Refused(AuthReason.CERT_EXPIRED, "the certificate of your login has expired; log in again")
        options: dict[str, str | bytes] = {}
        sources = self._sources if request.sources is None else ",".join(sorted(set(request.sources)))
        if sources:
            options[SOURCE_ADDRESS] = sources
        if request.force_command is not None:
            options[FORCE_COMMAND] = request.force_command
        key = PrivateKey.generate_ed25519()
        certificate = issue(
            self._keys.at(now),
            key.public,
            kind=CertificateKind.USER,
            serial=secrets.randbits(64),
            key_id=request.key_id,
            principals=(request.login,),
            valid_after=begin,
            valid_before=end,
            critical_options=options,
            extensions=dict(flag_options(request.permits)),
        )
        return key, certificate
