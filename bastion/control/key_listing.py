"""What somebody may log in with, told by a process that serves (L3)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from bastion.auth.identity import Account
from bastion.control.asking import ControlError
from bastion.control.orders import HeldKey, HeldKeys, KeysOfAsked
from bastion.errors import BastionError, ControlReason, Refused
from bastion.session.gateway import Gateway
from bastion.state.certificates import Issued, listed
from bastion.state.key_ages import first_uses
from bastion.state.key_uses import Uses, uses_of
from bastion.wire.key_options import options_text
from bastion.wire.printable import printable


class KeyListing:
    """What one process answers about people's keys, over its gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def keys_of(self, request: KeysOfAsked, stream: Any) -> Deferred[HeldKeys]:
        """Of one account. Fails with ControlError."""
        return Deferred.fromCoroutine(self._keys_of(request))

    async def _keys_of(self, request: KeysOfAsked) -> HeldKeys:
        gateway, shown = self._gateway, printable(request.name, 64)
        try:
            account = await gateway.services.auth.directory.lookup(request.name)
        except Refused as refusal:
            raise ControlError(ControlReason.NOT_FOUND, f"{shown}: {refusal.reason}") from None
        now = gateway.clock.time()
        try:
            uses = await gateway.state.ask(partial(uses_of, uid=account.uid))
            seen = await gateway.state.ask(partial(first_uses, uid=account.uid))
            issued = await gateway.state.ask(partial(listed, uid=account.uid, ends_after=now))
        except BastionError:
            raise ControlError(ControlReason.FAILED, "the state store does not answer") from None
        held = tuple(_since(one, seen.get(one.key)) for one in _held(account, issued, uses))
        return HeldKeys(account.name, account.uid, held, gateway.services.limits.key_age)


def _since(one: HeldKey, first: float | None) -> HeldKey:
    """With its first login, which the store remembers for longer than sessions, and which may have opened none."""
    if first is None or (one.first_used is not None and one.first_used <= first):
        return one
    return replace(one, first_used=first)


def _held(account: Account, issued: list[Issued], uses: dict[str, Uses]) -> list[HeldKey]:
    found = []
    for one in account.keys:
        print_ = one.key.fingerprint()
        ends = None if one.options.expires_at is None else float(one.options.expires_at)
        found.append(
            _key(
                "key",
                account.source,
                print_,
                one.key.type,
                one.key.bits,
                uses,
                options_text(one.options),
                ends,
            )
        )
    for certificate in issued:
        options = f"serial {certificate.lock}, factors {certificate.factors}"
        found.append(
            _key(
                "certificate",
                "issued here",
                certificate.fingerprint,
                "",
                0,
                uses,
                options,
                certificate.ends_at,
            )
        )
    known = {one.key for one in found}
    for print_ in uses:  # a company's certificates, and keys that were taken away since
        if print_ not in known:
            found.append(_key("used", "no key of the account", print_, "", 0, uses, "", None))
    return found


def _key(
    kind: str,
    source: str,
    print_: str,
    key_type: str,
    bits: int,
    uses: dict[str, Uses],
    options: str,
    ends: float | None,
) -> HeldKey:
    used = uses.get(print_)
    return HeldKey(
        kind=kind,
        source=source,
        key=print_,
        type=key_type,
        bits=bits,
        options=options,
        ends_at=ends,
        first_used=None if used is None else used.first,
        last_used=None if used is None else used.last,
        sessions=0 if used is None else used.sessions,
    )
