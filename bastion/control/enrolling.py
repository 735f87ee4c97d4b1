"""Second factors made, listed and taken away by a process that serves, and certificates that were issued (L3).

Invariants: a second factor is made for an identity that the directory knows now, and hangs on its immutable id; its
secret leaves this process once, in the answer to whoever made it, and is kept sealed; nobody takes away his own, since
whoever has his account on this machine would be rid of it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from bastion.auth.embedded import has_own_id
from bastion.auth.identity import Account
from bastion.auth.totp import TotpKey, new_recovery_codes, new_secret, uri_of
from bastion.control.asking import ControlError
from bastion.control.orders import (
    CertificatesAsked,
    Enrolment,
    EnrolTotp,
    Forgotten,
    Invitation,
    InviteTotp,
    IssuedCertificate,
    IssuedCertificates,
    ResetTotp,
    TotpAsked,
    TotpHolder,
    TotpHolders,
)
from bastion.errors import BastionError, ControlReason, Refused
from bastion.session.gateway import Gateway
from bastion.state import certificates as issued
from bastion.state import codes as stored
from bastion.wire.printable import printable


class Enrolling:
    """What one process answers about second factors, over its gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def enrol(self, request: EnrolTotp, stream: Any) -> Deferred[Enrolment]:
        """The answer has the secret. Fails with ControlError."""
        return Deferred.fromCoroutine(self._enrol(request))

    def invite(self, request: InviteTotp, stream: Any) -> Deferred[Invitation]:
        """The answer has the code. Fails with ControlError."""
        return Deferred.fromCoroutine(self._invite(request))

    def holders(self, request: TotpAsked, stream: Any) -> Deferred[TotpHolders]:
        """Who has one. Fails with ControlError."""
        return Deferred.fromCoroutine(self._holders())

    def reset(self, request: ResetTotp, stream: Any) -> Deferred[Forgotten]:
        """Somebody who left the directory may have one, too. Fails with ControlError."""
        return Deferred.fromCoroutine(self._reset(request))

    def certificates(self, request: CertificatesAsked, stream: Any) -> Deferred[IssuedCertificates]:
        """Which were issued. Fails with ControlError."""
        after = 0.0 if request.ended else self._gateway.clock.time()
        found = partial(issued.listed, name=request.name.strip().lower(), ends_after=after)
        asked = Deferred.fromCoroutine(self._decide(found))
        return asked.addCallback(lambda rows: IssuedCertificates(tuple(map(_told, rows))))

    async def _enrol(self, request: EnrolTotp) -> Enrolment:
        gateway = self._gateway
        services = gateway.services
        key, account = await self._for(request.name)
        who = stored.Enrolled(account.name, account.uid, gateway.clock.time(), str(request.by))
        secret, recovery = new_secret(), new_recovery_codes()
        made = await self._decide(partial(stored.enrol, key=key, who=who, secret=secret, codes=recovery))
        if not made:
            text = f"{account.name} has a second factor: take it away first, with bastion totp reset"
            raise ControlError(ControlReason.ALREADY, text)
        return Enrolment(account.name, account.uid, uri_of(secret, account.name, services.issuer), recovery)

    async def _invite(self, request: InviteTotp) -> Invitation:
        key, account = await self._for(request.name)
        if account.name == request.by.name.lower():
            raise ControlError(ControlReason.NO_ROLE, "nobody invites himself: ask another admin")
        now, code = self._gateway.clock.time(), new_recovery_codes()[0]
        made = await self._decide(partial(stored.invite, key=key, uid=account.uid, code=code, now=now))
        if not made:
            text = f"{account.name} has a second factor, and may replace it: ssh -t {account.name}@... totp"
            raise ControlError(ControlReason.ALREADY, text)
        return Invitation(account.name, account.uid, code, (now // stored.DAY + 2) * stored.DAY)

    async def _for(self, name: str) -> tuple[TotpKey, Account]:
        """What seals secrets, and the account that one is for. Raises ControlError."""
        key, shown = self._gateway.services.totp_key, printable(name, 64)
        if key is None:
            raise ControlError(
                ControlReason.FAILED, "no [totp] key_file is configured: nothing can keep the secret"
            )
        try:
            account = await self._gateway.services.auth.directory.lookup(name)
        except Refused as refusal:
            raise ControlError(ControlReason.NOT_FOUND, f"{shown}: {refusal.reason}") from None
        if not has_own_id(account):
            text = f"{account.name} has no id of its own, and whoever is called so next would inherit: give it one"
            raise ControlError(ControlReason.NOT_FOUND, text)
        return key, account

    async def _holders(self) -> TotpHolders:
        rows = await self._decide(stored.listed)
        return TotpHolders(
            tuple(TotpHolder(row.name, row.uid, row.made_at, row.made_by, row.recovery) for row in rows)
        )

    async def _reset(self, request: ResetTotp) -> Forgotten:
        name = request.name.strip()
        try:
            account = await self._gateway.services.auth.directory.lookup(name)
            found, uid = account.name, account.uid
        except Refused:
            found, uid = name.lower(), ""
        if found == request.by.name.lower():
            raise ControlError(
                ControlReason.NO_ROLE, "nobody resets his own second factor: ask another admin"
            )
        gone = await self._decide(partial(stored.forget, name=found, uid=uid))
        if not gone:
            raise ControlError(ControlReason.NOT_FOUND, f"{printable(name, 64)} has no second factor")
        now = self._gateway.clock.time()
        rows = await self._decide(partial(issued.listed, name=found, ends_after=now))
        if uid:
            rows += await self._decide(partial(issued.listed, uid=uid, ends_after=now))
        return Forgotten(gone, tuple(map(_told, dict.fromkeys(rows))), found)

    async def _decide(self, decision: Any) -> Any:
        try:
            return await self._gateway.state.decide(decision)
        except BastionError:
            raise ControlError(ControlReason.FAILED, "the state store does not answer") from None


def _told(row: issued.Issued) -> IssuedCertificate:
    return IssuedCertificate(
        name=row.name,
        uid=row.uid,
        serial=str(row.serial),
        ca=row.ca,
        key=row.fingerprint,
        key_id=row.key_id,
        factors=tuple(row.factors.split(",")),
        proved_at=row.proved_at,
        issued_at=row.issued_at,
        ends_at=row.ends_at,
        source=row.source,
    )
