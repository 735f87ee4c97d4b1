"""What a recording's header, and the audit log's line beside it, say of a session that starts (L3)."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from bastion import __version__
from bastion.auth.identity import Identity
from bastion.observe.events.sessions import SessionStarted
from bastion.policy.grant import Grant
from bastion.policy.roads import road_of
from bastion.recording.format import Header
from bastion.session.approving import Approval
from bastion.upstream.facts import UpstreamConnected


class Place(NamedTuple):
    """Which session, through which door, since when (seconds since the epoch), to a target with which host key, and
    through which hops with which."""

    session: str
    door: str
    started_at: float
    host_key: str
    hops: tuple[tuple[str, str], ...] = ()


def header_of(
    identity: Identity, grant: Grant, place: Place, policy_digest: str, approval: Approval | None
) -> Header:
    """All that is known when the session starts; with an approval the four eyes, too. `policy_digest` is of the policy
    that made the grant."""
    certificate = identity.certificate
    header = Header(
        session_id=place.session,
        identity=identity.name,
        uid=identity.uid,
        target=grant.target.name,
        login=grant.login,
        started_at=place.started_at,
        host=grant.target.host,
        port=grant.target.port,
        auth_methods=identity.factors,
        key_fingerprint=certificate.fingerprint if certificate else identity.key_fingerprint,
        certificate_key_id=certificate.key_id if certificate else "",
        certificate_serial=certificate.serial if certificate else 0,
        certificate_ca=certificate.ca_fingerprint if certificate else "",
        source_address=identity.source_address,
        host_key_fingerprint=place.host_key,
        rules=grant.rules,
        policy_digest=policy_digest,
        door=place.door,
        gateway_version=__version__,
        break_glass_why=identity.why,
        via=tuple(name for name, _ in place.hops),
        via_host_keys=tuple(host_key for _, host_key in place.hops),
        proxy_command=(*road_of(grant.inventory, grant.target), grant.target)[0].proxy_command or "",
    )
    if approval is None:
        return header
    request = approval.request
    return replace(
        header,
        request_id=request.id,
        request_why=request.why,
        approved_by=request.answered_by,
        approved_by_uid=request.answered_uid,
        approved_at=request.answered_at or 0.0,
        approved_factor=request.factor,
        approved_why=request.answer_why,
    )


def started_line(header: Header, upstream: UpstreamConnected) -> SessionStarted:
    """The line of the audit log."""
    return SessionStarted(
        user=header.identity,
        uid=header.uid,
        target=header.target,
        login=header.login,
        door=header.door,
        source=header.source_address,
        host_key=header.host_key_fingerprint,
        rules=",".join(header.rules),
        policy_digest=header.policy_digest,
        login_method=upstream.login_method,
        credential=upstream.credential,
        legacy=",".join(upstream.legacy),
        request=header.request_id,
        approved_by=header.approved_by,
        break_glass=header.break_glass_why,
        via=",".join(header.via),
        proxy_command=header.proxy_command,
    )
