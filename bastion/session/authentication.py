"""Who is at the door: joins the userauth service with the directory, the trusted CAs and the penalties.

One `Authentication` belongs to one connection and keeps nothing of a failed attempt. A certificate proves the
person and the directory still has to know the account; a key must stand in the account; a password is checked
by the directory alone. Every attempt is one audit line and one counter, with a reason from a closed set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.python.failure import Failure

from bastion.auth.budget import Purse
from bastion.auth.certificates import CertificateFacts, check_user_certificate
from bastion.auth.directory import TIMED_OUT, UNAVAILABLE, Asker, Covered, Directory
from bastion.auth.identity import Account, Destination, Identity, parse_destination
from bastion.auth.names import account_part
from bastion.auth.restrictions import Restrictions, check_authorized_key
from bastion.auth.throttle import Penalties
from bastion.clock import Clock
from bastion.errors import AuthReason, RecorderReason, Refused
from bastion.observe.audit import AuditFailed, AuditLog
from bastion.observe.meters import AUTH_ATTEMPTS, Meters
from bastion.recording.format import REF_LENGTH
from bastion.wire.certificates import Certificate
from bastion.wire.keys import PublicKey

# Refusals that say nothing about who asks: the engineer reads why, since the method list alone cannot say it.
TOLD = {
    AuthReason.DIRECTORY_UNAVAILABLE: UNAVAILABLE,
    AuthReason.DIRECTORY_TIMEOUT: TIMED_OUT,
    AuthReason.BAD_USER_NAME: "the user name must be identity+login+target or identity+target",
    AuthReason.THROTTLED: "too many failed logins for this name from here, please try again later",
}


@dataclass(frozen=True, slots=True)
class AuthServices:
    """What authentication needs; one value, swapped whole at a reload."""

    directory: Directory
    login_cas: tuple[PublicKey, ...]
    penalties: Penalties
    methods: tuple[str, ...]


class Authentication:
    """The `Authenticator` of one front connection (see `ssh.userauth`)."""

    def __init__(
        self,
        services: AuthServices,
        source: str,
        clock: Clock,
        meters: Meters,
        audit: AuditLog,
        connection: str,
        on_success: Callable[[Identity, Destination], None],
        purse: Purse | None = None,
    ) -> None:
        self._services = services
        self._source = source
        self._asker = Asker(purse)  # who pays for what the directory is asked
        self._clock = clock
        self._meters = meters
        self._audit = audit
        self._connection = connection
        self._on_success: Callable[[Identity, Destination], None] | None = on_success
        self._identity: Identity | None = None
        self._facts: dict[str, str | int] = {}
        self._shown: AuthReason | None = None  # what a refusal is told as, when not as it is booked
        self.on_notice: Callable[[str], None] | None = None  # shows the engineer a line before success
        self.on_proved: Callable[[Identity], None] | None = None  # hears of a proof, may raise Refused

    def methods(self) -> tuple[str, ...]:
        return self._services.methods

    def prompt(self, user: str) -> str:
        """RFC 4256 prompt. Names whose password is asked, since the login on the target is another account."""
        return f"Directory password of {_destination(user).identity}: "

    def none(self, user: str) -> Deferred[None]:
        return fail(Refused(AuthReason.METHOD_NOT_OFFERED, "proof is needed"))

    # -- the three proofs --------------------------------------------------------------------------------

    def key_known(self, user: str, credential: PublicKey | Certificate) -> Deferred[None]:
        self._facts = self._describe(credential)
        found = maybeDeferred(self._find_by_key, user, credential, replace(self._asker, query=True))
        return found.addCallback(self._forget)

    def key_proved(self, user: str, credential: PublicKey | Certificate) -> Deferred[None]:
        factor = "certificate" if isinstance(credential, Certificate) else "publickey"
        self._facts = self._describe(credential)
        found = maybeDeferred(self._find_by_key, user, credential, self._asker)
        return found.addCallback(lambda proof: self._remember(factor, *proof))

    def password(self, user: str, password: str) -> Deferred[None]:
        return maybeDeferred(self._check_password, user, password).addErrback(self._cover)

    def _check_password(self, user: str, password: str) -> Deferred[None]:
        name = self._admit(user)
        self._facts = {}
        checked = self._services.directory.check_password(name, password, self._asker)
        return checked.addCallback(lambda account: self._remember("password", account, None, Restrictions()))

    def _find_by_key(
        self, user: str, credential: PublicKey | Certificate, asker: Asker
    ) -> Deferred[tuple[Account, CertificateFacts | None, Restrictions]]:
        name = self._admit(user)
        facts: CertificateFacts | None = None
        if isinstance(credential, Certificate):
            facts = check_user_certificate(
                credential,
                self._services.login_cas,
                principals=(name,),
                now=self._clock.time(),
                source_address=self._source,
            )

        def judge(account: Account) -> tuple[Account, CertificateFacts | None, Restrictions]:
            if facts is not None:
                return account, facts, facts.restrictions
            assert isinstance(credential, PublicKey)
            return account, None, self._restrictions_of_key(account, credential)

        return self._services.directory.check_key(name, judge, asker).addErrback(self._cover)

    def _cover(self, failure: Failure) -> Failure:
        """Remember what the engineer is told of a refusal that must read like another one."""
        if isinstance(failure.value, Covered):
            self._shown = failure.value.shown
        return failure

    def _forget(self, _: object) -> None:
        """A query that was answered well leaves nothing behind."""
        self._facts = {}

    def _restrictions_of_key(self, account: Account, key: PublicKey) -> Restrictions:
        for known in account.keys:
            if known.key.blob == key.blob:
                return check_authorized_key(known, self._clock.time(), self._source)
        raise Refused(AuthReason.KEY_NOT_AUTHORISED, "the key is not one of the account's")

    def _admit(self, user: str) -> str:
        """The identity in `user`, after its grammar and its penalties."""
        name = _destination(user).identity
        if not self._services.penalties.allows(self._source, name):
            raise Refused(AuthReason.THROTTLED, "too many failures from here, try again later")
        return name

    def _remember(
        self, factor: str, account: Account, facts: CertificateFacts | None, restrictions: Restrictions
    ) -> None:
        self._identity = Identity(
            name=account.name,
            uid=account.uid,
            groups=account.groups,
            source=account.source,
            factors=(factor,),
            certificate=facts,
            source_address=self._source,
            restrictions=restrictions,
            authenticated_at=self._clock.time(),
            key_fingerprint=str(self._facts.get("key", "")),
        )
        if self.on_proved is not None:
            self.on_proved(self._identity)

    @staticmethod
    def _describe(credential: PublicKey | Certificate) -> dict[str, str | int]:
        if isinstance(credential, Certificate):
            return {
                "key": credential.key.fingerprint(),
                "certificate_id": credential.key_id,
                "certificate_serial": credential.serial,
                "ca": credential.signature_key.fingerprint(),
            }
        return {"key": credential.fingerprint()}

    # -- outcomes ----------------------------------------------------------------------------------------

    def attempted(self, user: str, method: str, reason: AuthReason) -> None:
        """One line, one counter, and a penalty for what counts as guessing. Raises Refused(AUDIT_FAILED)."""
        facts, self._facts = self._facts, {}
        label = "certificate" if "certificate_id" in facts and method == "publickey" else method
        try:
            self._write_down(user, method, label, reason, facts)
        except AuditFailed:
            self._meters.add(AUTH_ATTEMPTS, label, AuthReason.INTERNAL_ERROR)
            text = f"nobody can log in now: the audit log cannot be written{self._reference}"
            raise Refused(RecorderReason.AUDIT_FAILED, text) from None
        self._meters.add(AUTH_ATTEMPTS, label, reason)
        name = account_part(user)
        if reason is AuthReason.OK:
            if method != "none":  # nothing was proved: an inner connection on the outer one's word
                self._services.penalties.succeeded(self._source, name)
        else:
            self._services.penalties.failed(self._source, name, reason, label)
            shown, self._shown = self._shown, None
            self._tell(shown or reason)

    def _write_down(
        self, user: str, method: str, label: str, reason: AuthReason, facts: Mapping[str, str | int]
    ) -> None:
        if method == "none" and reason is AuthReason.METHOD_NOT_OFFERED:
            return  # every OpenSSH client begins with it; the counter is enough
        self._audit.emit(
            "auth",
            connection=self._connection,
            user=user,
            method=label,
            result="ok" if reason is AuthReason.OK else "refused",
            reason=reason,
            source=self._source,
            key=facts.get("key", ""),
            certificate_id=facts.get("certificate_id", ""),
            certificate_serial=facts.get("certificate_serial", ""),
            ca=facts.get("ca", ""),
        )

    def _tell(self, reason: AuthReason) -> None:
        """One banner per connection for what is no fault of the engineer's and would read as a wrong password."""
        text = TOLD.get(reason)
        if text is not None and self.on_notice is not None:
            on_notice, self.on_notice = self.on_notice, None
            on_notice(f"bastion: {text}{self._reference}\r\n")

    @property
    def _reference(self) -> str:
        return f" (ref {self._connection[:REF_LENGTH]})"

    def succeeded(self, user: str, method: str) -> None:
        identity, on_success = self._identity, self._on_success
        assert identity is not None and on_success is not None
        on_success(identity, _destination(user))

    def stop(self) -> None:
        """Break the cycle with the connection."""
        self._on_success = self.on_notice = None


def _destination(user: str) -> Destination:
    """`parse_destination` before anybody is known: whatever is wrong with the name is Refused(BAD_USER_NAME)."""
    try:
        return parse_destination(user)
    except Refused as refusal:
        raise Refused(AuthReason.BAD_USER_NAME, refusal.text) from None
