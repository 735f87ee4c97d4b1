"""Whom the certificates of one login CA may let in (L1, pure).

Invariant: a scope only ever refuses. What it says of accounts is asked of the directory's answer, never of what the
certificate says of itself; and a CA that stands in several files is held to the scope of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bastion.auth.certificates import Claims
from bastion.auth.identity import Account
from bastion.auth.restrictions import wildcard_match
from bastion.errors import AuthReason, Refused


@dataclass(frozen=True, slots=True)
class CaScope:
    """Accounts by the patterns of their names, or by one of their `groups` (in their one form); nothing of either is
    everybody. `principals`: patterns, one of which every principal of a certificate must fit; none is any."""

    users: tuple[str, ...] = ()
    groups: frozenset[str] = frozenset()
    principals: tuple[str, ...] = ()

    def check_principals(self, principals: Iterable[str]) -> None:
        """Raises Refused(CERT_OUT_OF_SCOPE) for a certificate that names somebody whom its CA may not."""
        if self.principals and not all(_fits(name, self.principals) for name in principals):
            raise Refused(
                AuthReason.CERT_OUT_OF_SCOPE, "the certificate's authority may not name its principals"
            )

    def check_account(self, account: Account) -> None:
        """Raises Refused(CERT_OUT_OF_SCOPE)."""
        if not self.users and not self.groups:
            return
        if not _fits(account.name, self.users) and self.groups.isdisjoint(account.groups):
            raise Refused(AuthReason.CERT_OUT_OF_SCOPE, "the certificate's authority is not for this account")


@dataclass(frozen=True, slots=True)
class CaScopes:
    """The scopes of every CA that has any, by the blob of its key."""

    of: Mapping[bytes, tuple[CaScope, ...]] = field(default_factory=dict)

    def check_claims(self, certificate: Claims) -> None:
        """Raises Refused(CERT_OUT_OF_SCOPE), before anything is computed."""
        for scope in self.of.get(certificate.signature_key_blob, ()):
            scope.check_principals(certificate.principals)

    def check_account(self, certificate: Claims, account: Account) -> None:
        """Raises Refused(CERT_OUT_OF_SCOPE)."""
        for scope in self.of.get(certificate.signature_key_blob, ()):
            scope.check_account(account)


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(wildcard_match(pattern, name) for pattern in patterns)
