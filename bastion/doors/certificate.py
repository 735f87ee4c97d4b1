"""`ssh alice@bastion cert`: a certificate on standard output, or nothing there and words on standard error.

Invariants: nothing is read from a client that could not have a certificate anyway; what was issued stands in the audit
log before a byte of it leaves; every refusal is one line and one counter, with a reason of `errors.IssueReason`.
"""

from __future__ import annotations

import base64
from typing import Final

from bastion.doors.asked import Answer, Call
from bastion.doors.one_line import LineFault, NoLine
from bastion.errors import IssueReason, Refused
from bastion.observe.audit import AuditFailed
from bastion.observe.events.logins import CertificateIssued
from bastion.observe.events.refusals import CertificateRefused
from bastion.observe.meters import CERTIFICATES_ISSUED, CERTIFICATES_REFUSED
from bastion.session.issuing import GivenKey, Made, certify, check_login, read_key
from bastion.session.tap import AUDIT_TEXT

USAGE: Final = "usage: cert, cert - < KEY.pub, or cert TYPE BASE64; lines for your client: help cert\n"

_NO_LINE: Final = {LineFault.LONG: IssueReason.KEY_TOO_LONG, LineFault.LATE: IssueReason.KEY_TOO_LATE}


async def cert(call: Call) -> Answer:
    """Sign the key that logged in, or the one that is given."""
    outer, key = call.outer, ""
    try:
        check_login(outer.services.issuing, outer.identity)
        given = await _given(call)
        if given is not None:
            key = given.key.fingerprint()
        made = await certify(outer.gateway, outer.identity, given)
        _write_down(call, made)
    except _WrongCall:
        return Answer("", 2, USAGE)
    except Refused as refusal:
        outer.gateway.meters.add(CERTIFICATES_REFUSED, refusal.reason)
        outer.note(CertificateRefused(refusal.reason, refusal.text, key))
        return Answer("", 1, f"bastion: {refusal.text} (ref {outer.ref})\n")
    outer.gateway.meters.add(CERTIFICATES_ISSUED)
    certificate = made.certificate
    blob = base64.b64encode(certificate.blob).decode("ascii")
    return Answer(f"{certificate.type} {blob} {certificate.key_id}\n")


class _WrongCall(Exception):
    """The command has other words than it may."""


async def _given(call: Call) -> GivenKey | None:
    """The key that stands in the command, or that comes on standard input; None: neither. Raises Refused."""
    words = call.text.split()
    if not words:
        return None
    if words == ["-"]:
        try:
            return read_key(await call.line())
        except NoLine as error:
            reason = _NO_LINE.get(error.fault, IssueReason.KEY_UNREADABLE)
            raise Refused(reason, f"the key to certify: {error.text}") from None
    if len(words) == 1:
        raise _WrongCall
    return read_key(call.text)


def _write_down(call: Call, made: Made) -> None:
    """Raises Refused when that cannot be."""
    row = made.issued
    try:
        call.outer.pay_lines(1)
        call.outer.emit(
            CertificateIssued(
                uid=row.uid,
                key=row.fingerprint,
                certificate_id=row.key_id,
                certificate_serial=row.serial,
                ca=row.ca,
                factors=made.factors,
                proved_at=int(row.proved_at),
                until=int(row.ends_at),
            )
        )
    except AuditFailed:
        raise Refused(IssueReason.STORE_AWAY, AUDIT_TEXT) from None
    except Refused as refusal:
        raise Refused(IssueReason.ISSUE_BUDGET, refusal.text) from None
