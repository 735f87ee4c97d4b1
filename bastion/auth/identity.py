"""Who somebody is, and where they asked to go (L1, pure).

An `Account` is what a directory says about a name. An `Identity` is an account plus the proof: the factors
that were verified on this connection and the restrictions they carry. Invariant: `Identity.name` is the
directory's own attribute value, lower-cased, never the string that the client typed; groups, here and in the
rules, are in the one form of `group_form`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from bastion.auth.ldap_dn import dn_form, prepared
from bastion.auth.names import SEPARATOR
from bastion.auth.restrictions import AddressList, Restrictions
from bastion.errors import AuthReason, PolicyReason, Refused

if TYPE_CHECKING:  # who only names somebody loads no cryptography
    from bastion.auth.certificates import CertificateFacts
    from bastion.auth.issued import Carried
    from bastion.wire.keys import AuthorizedKey

# fullmatch-safe: \Z, because $ also matches before a trailing newline.
LOGIN_NAME = re.compile(r"\A[a-z_][a-z0-9_.-]{0,31}\Z")
# A user principal name or mail address, under which a directory may know an account besides. Not all that RFC 5321
# allows: nothing that separates parts of a user name, or that a filter or a shell would have to escape.
ALIAS = re.compile(r"\A[a-z0-9_][a-z0-9_.-]{0,63}@[a-z0-9](?:[a-z0-9.-]{0,189}[a-z0-9])?\Z")
# The account on the target is compared exactly with the policy's list and may be "Administrator".
TARGET_LOGIN = re.compile(r"\A[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z")
# RFC 1123 host name characters plus the underscore that inventories use; no port, no address in brackets.
TARGET_NAME = re.compile(r"\A[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?\Z")

# identity + login + target and two separators in bytes. Names of targets that are used end far below what is left for
# them (189 of the 253 that a host name may have), and a longer name is refused before anything of it is looked at.
MAX_USER_NAME = 255


def is_asked_for(name: str) -> bool:
    """May somebody log in under this name, in lower case? An alias leads to an account; only a login name is one's."""
    return bool(LOGIN_NAME.match(name) or ALIAS.match(name))


def group_form(name: str) -> str:
    """The one form of a group's name, or of its DN, so that those which LDAP holds for equal are equal."""
    plain = prepared(name)
    return dn_form(name) or dn_form(plain) or plain


class AccountState(StrEnum):
    """What the directory says about the account's right to log in at all."""

    ACTIVE = "active"
    LOCKED = "locked"
    EXPIRED = "expired"
    PASSWORD_MUST_CHANGE = "password_must_change"


@dataclass(frozen=True, slots=True)
class Service:
    """What an account of a program is bound to, whatever key or certificate it shows. `expires` in seconds since the
    epoch; `owner` is who answers for it."""

    owner: str
    expires: int
    sources: AddressList

    def check(self, source_address: str, now: float) -> None:
        """Raises Refused(ACCOUNT_EXPIRED) or Refused(SERVICE_SOURCE)."""
        if now >= self.expires:
            raise Refused(AuthReason.ACCOUNT_EXPIRED, "the service account has expired")
        if not self.sources.matches(source_address):
            raise Refused(AuthReason.SERVICE_SOURCE, "the service may not come from this address")

    @property
    def restrictions(self) -> Restrictions:
        """The same for as long as a login lasts."""
        return Restrictions(source_addresses=(self.sources,), valid_before=self.expires)


@dataclass(frozen=True, slots=True)
class Account:
    """One directory entry. `uid` never changes in the directory (entryUUID, objectGUID); `name` may. `groups` are in
    their one form (`group_form`). `only_targets`: it is a break-glass account, and these patterns name all that it
    reaches, whatever rules give."""

    name: str
    uid: str
    groups: frozenset[str]
    keys: tuple[AuthorizedKey, ...] = ()
    source: str = ""
    state: AccountState = AccountState.ACTIVE
    service: Service | None = None
    only_targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """A proven person on one connection.

    `factors` in the order in which they were verified; `restrictions` is the intersection over all of them (a later
    factor never widens what an earlier one allowed); `authenticated_at` in seconds since the epoch; `key_fingerprint`
    of the key that was used first, for the recording, and `key_blob` that key; `also_shown` is what a second proof
    showed, by the names that a lock or a list of revoked keys may have for it, and keys by SHA-1 (`wire.krl`);
    `user_verified`: a security key has verified its owner (PIN, fingerprint); `service`: a program, which only rules
    that name it are for; `carried`: of an earlier login, by a certificate that was issued for one, whichever of the
    proofs that was; `only_targets` are the account's; `why` is what a break-glass login was for, as typed.
    """

    name: str
    uid: str
    groups: frozenset[str]
    source: str
    factors: tuple[str, ...]
    certificate: CertificateFacts | None
    source_address: str
    restrictions: Restrictions = field(default_factory=Restrictions)
    authenticated_at: float = 0.0
    key_fingerprint: str = ""
    also_shown: tuple[str, ...] = ()
    user_verified: bool = False
    key_blob: bytes = field(default=b"", repr=False)
    service: bool = False
    carried: Carried | None = None
    only_targets: tuple[str, ...] = ()
    why: str = ""

    @property
    def is_break_glass(self) -> bool:
        """Somebody in an emergency: who reaches a few targets, and neither approves nor gets certificates."""
        return bool(self.only_targets)


def shown_by(identity: Identity) -> tuple[str, ...]:
    """What a lock on a certificate may name of all that `identity` has shown, inner proofs included."""
    shown = [identity.key_fingerprint]
    certificate = identity.certificate
    if certificate is not None:
        shown += [certificate.fingerprint, certificate.key_id]
        shown.append(f"{certificate.serial}@{certificate.ca_fingerprint}")
    return tuple(dict.fromkeys(value for value in (*shown, *identity.also_shown) if value))


def joined(first: Identity, later: Identity) -> Identity:
    """`first` with what `later` has shown besides. It only takes away: restrictions are intersected, and the login
    gets no younger. Raises Refused(KEY_OPTIONS) when both cannot be obeyed."""
    return replace(
        first,
        factors=tuple(dict.fromkeys((*first.factors, *later.factors))),
        restrictions=first.restrictions.intersect(later.restrictions),
        certificate=first.certificate or later.certificate,
        key_fingerprint=first.key_fingerprint or later.key_fingerprint,
        key_blob=first.key_blob or later.key_blob,
        also_shown=tuple(dict.fromkeys((*first.also_shown, *shown_by(later)))),
        user_verified=first.user_verified or later.user_verified,
        carried=later.carried if first.carried is None else first.carried.plus(later.carried),
    )


@dataclass(frozen=True, slots=True)
class Destination:
    """What the SSH user name asks for. Without a target it is the lobby; without a login, policy's first."""

    identity: str
    login: str | None = None
    target: str | None = None

    def __str__(self) -> str:
        return "+".join(part for part in (self.identity, self.login, self.target) if part is not None)


def parse_destination(user: str) -> Destination:
    """Read `identity`, `identity+target` or `identity+login+target` (docs/doors.md); a blank counts as a +.

    The identity may be an alias. It and the target are lower-cased (ASCII only, so that no other letter folds into
    one); a login is not.
    Raises `Refused` with BAD_USER_NAME for a bad identity and BAD_DESTINATION for anything else.
    """
    if len(user) > MAX_USER_NAME or not user.isascii():
        raise Refused(AuthReason.BAD_USER_NAME, "the user name is too long or not ASCII")
    parts = SEPARATOR.split(user)
    identity = parts[0].lower()
    if not is_asked_for(identity):
        raise Refused(AuthReason.BAD_USER_NAME, "the user name is not a valid identity")
    if len(parts) == 1:
        return Destination(identity)
    if len(parts) > 3:
        raise Refused(PolicyReason.BAD_DESTINATION, "write identity+login+target or identity+target")
    target = parts[-1].lower()
    if not TARGET_NAME.match(target):
        raise Refused(PolicyReason.BAD_DESTINATION, "the target after + is not a valid host name")
    login = parts[1] if len(parts) == 3 else None
    if login is not None and not TARGET_LOGIN.match(login):
        raise Refused(PolicyReason.BAD_DESTINATION, "the login between the + signs is not a valid name")
    return Destination(identity, login, target)
