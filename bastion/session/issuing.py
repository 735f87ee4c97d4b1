"""A certificate for somebody who has logged in, or a refusal in words (L3; docs/certificates.md).

One coroutine, from the question to a certificate that is kept and may be handed out. Invariants: the login must have
given a chain of `[issue] require`, and not by a certificate that was issued here; nothing leaves before the store has
its serial; whether the account, the login or the key is locked or revoked is asked before it is signed and again in the
turn in which it is handed out; what restricts the login and the key restricts the certificate, or there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

from bastion.auth.budget import Work
from bastion.auth.directory import Asker
from bastion.auth.identity import Account, Identity
from bastion.auth.issued import Carried, kept_by, qualifies
from bastion.auth.restrictions import AddressList, Restrictions
from bastion.ca.issuing import IssuingCA, LoginCertificate
from bastion.errors import BastionError, IssueReason, ProtocolError, Refused
from bastion.policy.locks import Party
from bastion.session.gateway import Gateway
from bastion.state.certificates import Issued, keep
from bastion.wire.certificates import Certificate
from bastion.wire.key_options import KeyOptions
from bastion.wire.keys import AuthorizedKey, PublicKey, fingerprint_of, parse_public_line

SIGN_COST: Final = 5000
"""Microseconds of one certificate: a signature with RSA of 4,096 bits, and the row in the store. Somebody may have 200
at once and 20 a second."""

SHORTEST: Final = 60
"""Seconds that a certificate must have left to be worth anything."""

NO_OPTIONS: Final = KeyOptions()


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate, and the row that the store has of it."""

    certificate: Certificate
    issued: Issued
    factors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GivenKey:
    """A key that somebody wants certified, and the comment that came with it, by which a directory may know it."""

    key: PublicKey
    comment: str = ""


def read_key(line: str) -> GivenKey:
    """What a file `.pub` has. Raises Refused(KEY_UNREADABLE)."""
    try:
        return GivenKey(*parse_public_line(line))
    except ProtocolError as error:
        raise Refused(IssueReason.KEY_UNREADABLE, f"that is no key to certify: {error.text}") from None


def check_login(issuing: IssuingCA | None, identity: Identity) -> IssuingCA:
    """May whoever this is have a certificate at all? Raises Refused."""
    if issuing is None:
        raise Refused(IssueReason.NOT_HERE, "this gateway issues no certificates")
    if identity.service:
        raise Refused(
            IssueReason.RESTRICTED, "a service logs in with its own key or certificate, and gets no other"
        )
    if identity.is_break_glass:
        raise Refused(IssueReason.RESTRICTED, "a break-glass account gets no certificate")
    if identity.carried is not None:
        text = "you logged in with a certificate that was issued for a login: log in without it to get another one"
        raise Refused(IssueReason.ISSUED_BEFORE, text)
    if not qualifies(identity.factors, issuing.chains):
        wanted = " or ".join(" and ".join(chain) for chain in issuing.chains)
        given = " and ".join(identity.factors)
        raise Refused(
            IssueReason.CHAIN_MISSING, f"a login by {given} gets no certificate: log in by {wanted}"
        )
    return issuing


async def certify(gateway: Gateway, identity: Identity, given: GivenKey | None) -> Made:
    """A certificate for `given`, or for the key that logged in. Raises Refused; nothing is left of it then."""
    issuing = check_login(gateway.services.issuing, identity)
    given = given or GivenKey(_login_key(identity))
    key = given.key
    _check_not_locked(gateway, identity, key)
    _pay(gateway, identity)
    account = await _account(gateway, identity)
    authorised = next((one for one in account.keys if one.key == key), None)
    await _check_whose(gateway, issuing, identity, given, authorised)
    wanted = _wanted(gateway, issuing, identity, key, authorised)
    certificate = await _signed(gateway, issuing, wanted)
    row = _row(gateway, identity, certificate, wanted)
    await _kept(gateway, identity, row)
    _check_not_locked(gateway, identity, key)  # somebody may have made a lock meanwhile
    return Made(certificate, row, wanted.carried.factors)


def _login_key(identity: Identity) -> PublicKey:
    if not identity.key_blob:
        text = "you logged in without a key: give one, as in `cert - < ~/.ssh/id_ed25519.pub`"
        raise Refused(IssueReason.NO_KEY, text)
    return PublicKey.parse(identity.key_blob)  # it has logged in


def _check_not_locked(gateway: Gateway, identity: Identity, key: PublicKey) -> None:
    """Neither who asks nor the key may be locked or revoked. Raises Refused(ISSUE_LOCKED)."""
    try:
        gateway.check_known()
        gateway.check_locks(identity)
        gateway.list_in_force().check_key(key.blob)
    except Refused as refusal:
        raise Refused(IssueReason.ISSUE_LOCKED, refusal.text) from None
    shown = Party(identity.name, identity.uid, identity.source_address, (key.fingerprint(),))
    lock = gateway.locks.party(shown, gateway.clock.time())
    if lock is not None:
        raise Refused(IssueReason.ISSUE_LOCKED, lock.text)


def _pay(gateway: Gateway, identity: Identity) -> None:
    try:
        gateway.budget.identity(identity.name).spend(Work.PUBLIC_KEY, SIGN_COST)
    except Refused:
        text = "too many certificates at once, please try again in a moment"
        raise Refused(IssueReason.ISSUE_BUDGET, text) from None


async def _account(gateway: Gateway, identity: Identity) -> Account:
    """As the directory has it now, with its keys. Raises Refused(NO_ACCOUNT)."""
    purse = gateway.budget.identity(identity.name)
    try:
        account = await gateway.services.auth.directory.lookup(identity.name, Asker(purse))
    except Refused as refusal:
        raise Refused(IssueReason.NO_ACCOUNT, refusal.text) from None
    if account.uid != identity.uid:
        raise Refused(IssueReason.NO_ACCOUNT, "the account is another one than at the login")
    return account


async def _check_whose(
    gateway: Gateway,
    issuing: IssuingCA,
    identity: Identity,
    given: GivenKey,
    authorised: AuthorizedKey | None,
) -> None:
    """May this key be certified for whoever this is? Raises Refused(KEY_OF_ANOTHER, KEY_NOT_OWN, NO_ACCOUNT).

    That it was certified for somebody else is the store's to know, which is asked last.
    """
    key, directory = given.key, gateway.services.auth.directory
    if key.blob == identity.key_blob or (authorised is not None and issuing.certified != "login"):
        return
    asker = Asker(gateway.budget.identity(identity.name))
    try:
        holders = await directory.holders_of(key, given.comment, asker)
    except Refused as refusal:
        raise Refused(IssueReason.NO_ACCOUNT, f"nobody can tell whose that key is: {refusal.text}") from None
    if holders - {identity.uid}:
        raise Refused(IssueReason.KEY_OF_ANOTHER, "that key is somebody else's")
    if issuing.certified == "any":
        return
    what = "the one that you logged in with" if issuing.certified == "login" else "yours in the directory"
    raise Refused(IssueReason.KEY_NOT_OWN, f"that key is not {what}, and no other is certified here")


def _wanted(
    gateway: Gateway,
    issuing: IssuingCA,
    identity: Identity,
    key: PublicKey,
    authorised: AuthorizedKey | None,
) -> LoginCertificate:
    """What is to be signed: no more than the login and the key may. Raises Refused(RESTRICTED, LOGIN_TOO_OLD)."""
    same = key.blob == identity.key_blob
    options = NO_OPTIONS if authorised is None else authorised.options
    try:
        limits = identity.restrictions.intersect(Restrictions.of_key_options(options))
    except Refused as refusal:
        raise Refused(IssueReason.RESTRICTED, f"{refusal.text}: no certificate can say that") from None
    now = gateway.clock.time()
    proved = int(
        min(identity.authenticated_at, now)
    )  # never later than now, though the clock was set back since
    ends = proved + issuing.lifetime
    if limits.valid_before is not None:
        ends = min(ends, limits.valid_before)
    if ends < now + SHORTEST:
        raise Refused(IssueReason.LOGIN_TOO_OLD, "this login is too old to get a certificate: log in again")
    facts = identity.certificate if same else None
    demands = gateway.services.auth.demands
    verify = options.verify_required or (facts is not None and facts.verify_required) or demands.verify
    touch = options.touch_required if authorised is not None else facts is None or facts.touch_required
    return LoginCertificate(
        key,
        identity.name,
        f"{identity.name}@{gateway.public[0]}",
        Carried(kept_by(identity.factors, same), proved, identity.uid),
        ends,
        sorted(limits.extensions),
        _sources(limits),
        verify=key.is_security_key and verify,
        no_touch=key.is_security_key and not touch,
    )


def _sources(limits: Restrictions) -> str | None:
    """The login's addresses as a certificate has them. Raises Refused(RESTRICTED) for what it has no word for."""
    if limits.force_command is not None or limits.permit_open:
        what = "one command" if limits.force_command is not None else "certain forwards"
        raise Refused(IssueReason.RESTRICTED, f"this login is for {what} only, and gets no certificate")
    if not limits.source_addresses:
        return None
    if len(limits.source_addresses) > 1 or not _plain(limits.source_addresses[0]):
        text = "this login works from certain addresses only, which a certificate cannot name"
        raise Refused(IssueReason.RESTRICTED, text)
    return ",".join(str(network) for _, network in limits.source_addresses[0].networks)


def _plain(addresses: AddressList) -> bool:
    """Is it a list of networks and nothing else? An empty one matches nobody, and is none."""
    negated = any(negated for negated, _ in addresses.networks)
    return bool(addresses.networks) and not addresses.patterns and not negated


async def _signed(gateway: Gateway, issuing: IssuingCA, wanted: LoginCertificate) -> Certificate:
    """Raises Refused(SIGNING_FAILED)."""
    now = gateway.clock.time()
    signer = issuing.waits(now)
    if signer is None:
        return issuing.issue(wanted, now)
    try:
        return await gateway.services.agents.run(signer, partial(issuing.issue, wanted, now))
    except Refused as refusal:
        raise Refused(IssueReason.SIGNING_FAILED, refusal.text) from None


def _row(gateway: Gateway, identity: Identity, certificate: Certificate, wanted: LoginCertificate) -> Issued:
    return Issued(
        ca=fingerprint_of(certificate.signature_key_blob),
        serial=certificate.serial,
        uid=identity.uid,
        name=identity.name,
        key_id=certificate.key_id,
        fingerprint=certificate.fingerprint(),
        factors=",".join(wanted.carried.factors),
        proved_at=float(wanted.carried.at),
        issued_at=gateway.clock.time(),
        ends_at=float(wanted.ends),
        source=identity.source_address,
        node=gateway.state.writer.node,
    )


async def _kept(gateway: Gateway, identity: Identity, row: Issued) -> None:
    """Raises Refused: STORE_AWAY, and what `state.certificates.keep` raises."""
    purse = gateway.budget.identity(identity.name)
    try:
        await gateway.state.decide(partial(keep, issued=row), Asker(purse))
    except Refused as refusal:
        if isinstance(refusal.reason, IssueReason):
            raise
        raise Refused(IssueReason.STORE_AWAY, refusal.text) from None
    except BastionError:
        text = "no certificate can be written down now, please try again in a moment"
        raise Refused(IssueReason.STORE_AWAY, text) from None
