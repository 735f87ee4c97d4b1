"""The issuing CA: certificates for people who have logged in, to log in with for some hours (L2; docs/certificates.md).

Invariant: a certificate never exceeds the login that got it: its one principal is the identity, it ends no later than
the login's own key or certificate does, works from no other addresses and permits no more; and it says, where only a
gateway looks, what was proved, when, and by whose account.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass

from bastion.auth.certificates import NO_TOUCH_REQUIRED, SOURCE_ADDRESS, VERIFY_REQUIRED
from bastion.auth.factors import Chain
from bastion.auth.issued import EXTENSION, Carried
from bastion.ca.agent import AgentSigner
from bastion.ca.slots import Staged
from bastion.wire.certificates import Certificate, CertificateKind, flag_options, issue
from bastion.wire.keys import PublicKey

BACKDATED = 60
"""Seconds by which valid_after lies before now, for other gateways whose clock is behind. Never in checks."""

SERIAL_BITS = 63
"""What fits into a column of both databases; 0, which is nobody's in a list of revoked keys, is never one."""


@dataclass(frozen=True, slots=True)
class LoginCertificate:
    """What is to be certified: `key` as `name`, until `ends` (seconds since the epoch).

    `sources` is a list of networks in the form of a certificate, None: from anywhere. `verify` and `no_touch` are
    about the signatures of a security key.
    """

    key: PublicKey
    name: str
    key_id: str
    carried: Carried
    ends: int
    permits: Collection[str]
    sources: str | None = None
    verify: bool = False
    no_touch: bool = False


@dataclass(frozen=True, slots=True)
class IssuingCA:
    """The CA and what `[issue]` says: which `chains` a login must have given, `lifetime` in seconds from that login on,
    and whose `certified` keys may be (`config.issue.OWN_KEYS`)."""

    keys: Staged
    chains: tuple[Chain, ...]
    lifetime: int
    certified: str = "own"

    @property
    def publics(self) -> tuple[PublicKey, ...]:
        """Whose certificates count: both keys while one takes the other's place."""
        return self.keys.publics

    def waits(self, now: float) -> AgentSigner | None:
        """The key that `issue` would sign with at `now`, when it is in an agent: then only a thread may call it."""
        return self.keys.waits(now)

    def issue(self, wanted: LoginCertificate, now: float) -> Certificate:
        """Sign it. ValueError when it would end before it begins. An agent's key raises AgentFailed."""
        options: dict[str, str | bytes] = {}
        if wanted.sources is not None:
            options[SOURCE_ADDRESS] = wanted.sources
        if wanted.verify:
            options[VERIFY_REQUIRED] = b""
        extensions: dict[str, str | bytes] = dict(flag_options(wanted.permits))
        extensions[EXTENSION] = wanted.carried.encode()
        if wanted.no_touch:
            extensions[NO_TOUCH_REQUIRED] = b""
        return issue(
            self.keys.at(now),
            wanted.key,
            kind=CertificateKind.USER,
            serial=1 + secrets.randbelow((1 << SERIAL_BITS) - 1),
            key_id=wanted.key_id,
            principals=(wanted.name,),
            valid_after=max(0, int(now) - BACKDATED),
            valid_before=wanted.ends,
            critical_options=options,
            extensions=extensions,
        )
