"""One login attempt: a value that is opened before anything is judged and settled exactly once.

Opened, it has been checked against the penalties, a password is charged (`auth.throttle.Guess`), and it knows all
that its audit line will say. Settled, that line is written, the counter moved and the charge booked or given back.
Neither waits for anybody: a client that hangs up while the directory thinks is booked as `abandoned`, its charge
stays, and the directory is told to give up; only the *answer* to a client that stays is delayed (`userauth.server`).

Invariants: an attempt carries its own name, facts and outcome, and a failed one leaves nothing on the connection; what
an earlier one has proved for the same name comes in as a value (`before`), and what this one adds goes out as one
(`keep`), with the restrictions of both; a query is never a proof (CVE-2024-45337): only `key_proved`, `password`
and `none` set `identity`, and `succeed` needs it, and a whole chain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from bastion.auth.certificates import CertificateFacts, check_user_certificate
from bastion.auth.codes import check_code
from bastion.auth.context import AuthContext
from bastion.auth.credentials import Credential, read_credential, verify_possession
from bastion.auth.directory import OFFLINE, Asker, Covered
from bastion.auth.evidence import NO_EVIDENCE, PROVED, Evidence
from bastion.auth.factors import CODE, PASSWORD, Chain, Given, Proof, stands_for
from bastion.auth.identity import Account, Destination, Identity, joined, parse_destination
from bastion.auth.issued import NOTHING
from bastion.auth.names import account_part
from bastion.auth.restrictions import Restrictions, check_authorized_key
from bastion.auth.security_keys import check_assertion
from bastion.auth.throttle import Guess
from bastion.errors import AuthReason, RecorderReason, Refused
from bastion.observe.audit import CUT, AuditFailed
from bastion.observe.events.logins import Auth, SecurityKeyCounter
from bastion.observe.meters import AUTH_ATTEMPTS, SECURITY_KEY_COUNTERS_FALLEN
from bastion.wire.certificates import Certificate, UnverifiedCertificate
from bastion.wire.keys import AuthorizedKey, PublicKey, fingerprint_of
from bastion.wire.krl import also_by_sha1
from bastion.wire.security_keys import Assertion

# Characters of a user name that is no valid one in the audit log: enough to see what was tried, at most 768 bytes.
MAX_LOGGED_NAME = 64


@dataclass(frozen=True, slots=True)
class UserName:
    """What an SSH user name asks for, read once for each attempt.

    `account` is who asks, in the form in which penalties compare names, valid or not: of alice@example.org it is alice,
    so that guesses at one account under its several names mostly count together; `shown` stands in the audit log.
    """

    account: str
    shown: str
    found: Destination | None
    fault: str = ""

    @classmethod
    def read(cls, user: str) -> UserName:
        """Of a client's own words. What is wrong with them is kept until somebody asks for the destination."""
        try:
            found = parse_destination(user)
        except Refused as refusal:
            shown = user if len(user) <= MAX_LOGGED_NAME else user[:MAX_LOGGED_NAME] + CUT
            return cls(account_part(user), shown, None, refusal.text)
        return cls(account_part(user), user, found)

    @property
    def destination(self) -> Destination:
        """Where the name leads. Raises Refused(BAD_USER_NAME), before anybody is known whatever is wrong with it."""
        if self.found is None:
            raise Refused(AuthReason.BAD_USER_NAME, self.fault)
        return self.found


@dataclass(frozen=True, slots=True)
class Before:
    """What a connection has proved for one name until now: `identity` is there as soon as anything is `given`."""

    given: Given
    identity: Identity | None = None

    def with_proofs(self, proofs: tuple[Proof, ...], proved: Identity) -> Before:
        """The same with these proofs more: restrictions are intersected, and nothing makes the login younger.

        Raises Refused when the directory's entry has become another one meanwhile.
        """
        first = self.identity
        if first is None:
            return Before(self.given.plus(*proofs), proved)
        if (proved.name, proved.uid) != (first.name, first.uid):
            raise Refused(AuthReason.UNKNOWN_USER, "the account is another one than a moment ago")
        return Before(self.given.plus(*proofs), replace(joined(first, proved), groups=proved.groups))


Succeeded = Callable[[Identity, Destination, Chain], None]
"""Hears who has proved to be who, where they asked to go, and what factors that others judge are owed still."""


class Attempt:
    """One request for authentication as `name`. See the module."""

    def __init__(
        self,
        context: AuthContext,
        name: UserName,
        method: str,
        before: Before,
        on_proved: Callable[[Identity], Identity] | None = None,
        on_succeeded: Succeeded | None = None,
        on_refused: Callable[[AuthReason], None] | None = None,
        on_kept: Callable[[Before], None] | None = None,
        needs_no_proof: Callable[[], Identity | None] | None = None,
    ) -> None:
        """`on_proved` may change the identity that was proved, or raise Refused. `on_refused` hears of a refusal as the
        engineer is told it, `on_kept` of a proof that is not enough. `needs_no_proof`: who may enter with `none`."""
        self._context = context
        self._name = name
        self._method = method
        self._on_proved, self._on_succeeded, self._on_refused = on_proved, on_succeeded, on_refused
        self._on_kept, self._needs_no_proof = on_kept, needs_no_proof
        self._before = self._after = before
        # whole: every factor of some chain is there that this gateway judges itself
        self.whole = self._settled = False
        self.owed: Chain = ()  # ... and these of it are not, which others judge
        self._judged_from = 0.0  # monotonic seconds; 0: no proof has come
        self._guess: Guess | None = None
        self._shown_as: AuthReason | None = None  # what a refusal is told as, when not as it is booked
        self._evidence = NO_EVIDENCE
        self._also_shown: tuple[str, ...] = ()
        self._key_blob = b""
        self._certificate: CertificateFacts | None = None
        self._assertion: Assertion | None = None
        self.identity: Identity | None = None

    # -- the proofs ----------------------------------------------------------------------------------------

    def none(self) -> Deferred[None]:
        """On nobody's word but that of whoever answers for this connection already."""

        def judge() -> None:
            self.identity = self._needs_no_proof() if self._needs_no_proof is not None else None
            if self.identity is None:
                raise Refused(AuthReason.METHOD_NOT_OFFERED, "proof is needed")
            self.whole = True

        return maybeDeferred(judge)

    def read_key(self, algorithm: str, blob: bytes) -> Credential:
        """The key or certificate that is offered, after everything that can be asked without computing.

        Raises Refused: the name, the penalties, what a certificate says, the purse, the key itself.
        """
        name = self._admit()

        def judge(claims: UnverifiedCertificate) -> None:
            self._evidence = Evidence(
                fingerprint_of(claims.key_blob),
                claims.key_id,
                claims.serial,
                fingerprint_of(claims.signature_key_blob),
                unverified=1,
            )
            self._certificate = check_user_certificate(
                claims,
                self._context.services.login_cas,
                principals=(name,),
                now=self._context.clock.time(),
                source_address=self._context.source,
                issuers=self._context.services.issuers,
            )
            self._context.services.ca_scopes.check_claims(claims)
            self._context.revocation.check_certificate(claims)

        credential = read_credential(algorithm, blob, judge, self._context.pay_for_keys)
        if isinstance(credential, Certificate):
            assert self._certificate is not None
            self._evidence = self._evidence.verified(self._certificate.carried or NOTHING)
            self._key_blob = credential.key_blob
            self._also_shown = also_by_sha1(credential.key_blob, credential.signature_key_blob)
        else:
            self._evidence = Evidence(credential.fingerprint())
            self._key_blob = credential.blob
            self._also_shown = also_by_sha1(credential.blob)
            self._context.revocation.check_key(credential.blob)
        if not self._before.given.takes(*self._proofs_of(credential)):
            raise Refused(AuthReason.FACTOR_NOT_WANTED, "no chain of factors goes on with this key")
        return credential

    def _proofs_of(self, credential: Credential) -> tuple[Proof, ...]:
        key = self._evidence.key
        if isinstance(credential, Certificate):
            assert self._certificate is not None
            return (self._certificate.carried or NOTHING).proofs(key)
        return (Proof(stands_for("sk-publickey" if credential.is_security_key else "publickey"), key),)

    def verify(self, credential: Credential, algorithm: str, signature: bytes, data: bytes) -> None:
        """Does `signature` prove possession? Raises Refused."""
        made = verify_possession(credential, algorithm, signature, data, self._context.pay_for_keys)
        if made is not None:
            self._assertion = made
            self._evidence = self._evidence._replace(user_verified=int(made.verified), counter=made.counter)

    def key_known(self, credential: Credential) -> Deferred[None]:
        """Would a signature of this credential be accepted? Leaves nothing behind."""
        found = maybeDeferred(self._find_by_key, credential, self._asker(query=True))
        return found.addCallback(lambda _: None)

    def key_proved(self, credential: Credential) -> Deferred[None]:
        """`verify` has found the signature right: whose is it?"""
        found = maybeDeferred(self._find_by_key, credential, self._asker())
        return found.addCallback(lambda found: self._remember(self._proofs_of(credential), *found))

    def password(self, password: str) -> Deferred[None]:
        """Ask the directory, as soon as it is this guess's turn."""
        return maybeDeferred(self._check_password, password).addErrback(self._cover)

    def answer(self, answer: str) -> Deferred[None]:
        """To the question of keyboard-interactive: a code where that is the next factor, a password else."""
        if CODE not in self._before.given.wanted:
            return self.password(answer)
        self._method = CODE
        return maybeDeferred(self._check_code, answer).addErrback(self._cover)

    def _check_code(self, answer: str) -> Deferred[None]:
        """The account first, whose id the secret hangs on. The directory is asked for no password here."""
        name = self._admit()
        codes, directory = self._context.codes, self._context.services.directory
        if codes is None:
            raise Refused(AuthReason.CODES_UNAVAILABLE, "this gateway has no key for second factors")
        asker, stranger = self._asker(), self._before.identity is None
        turn: Deferred[None] = Deferred()

        def used(found: tuple[Account, bool]) -> None:
            account, recovery = found
            if recovery:
                self._evidence = self._evidence._replace(recovery=1)
            self._remember((Proof((CODE,)),), account, Restrictions())

        checked = turn.addCallback(
            lambda _: Deferred.fromCoroutine(
                check_code(directory, codes, name, answer, asker, stranger, self._led_on_by_code)
            )
        )
        proved = checked.addCallback(used)
        self._begin(turn)
        return proved

    def outside(self, factor: str, prove: Callable[[], Awaitable[None]], guessed: bool) -> Deferred[None]:
        """A factor that others judge: `prove` asks them, and raises Refused. `guessed`: what was typed is charged."""
        self._method = factor
        return maybeDeferred(self._check_outside, factor, prove, guessed)

    def _check_outside(
        self, factor: str, prove: Callable[[], Awaitable[None]], guessed: bool
    ) -> Deferred[None]:
        """The account first: nobody is asked about somebody who is none any more; and last: others take minutes."""
        name, self._judged_from = self._admit(), 0.0  # how long others take is no measure
        self._check_wanted(factor)
        known = self._before.identity
        assert known is not None, "others are asked about nobody who has proved nothing"

        def found() -> Deferred[Account]:
            return self._context.services.directory.check_key(name, lambda account: account, self._asker())

        async def judged() -> Account:
            if (await found()).uid != known.uid:
                raise Refused(AuthReason.UNKNOWN_USER, "the account is another one than a moment ago")
            await prove()
            return await found()  # `Before.with_proofs` looks whose it is

        turn: Deferred[None] = Deferred()
        checked = turn.addCallback(lambda _: Deferred.fromCoroutine(judged()))
        proved = checked.addCallback(
            lambda account: self._remember((Proof((factor,)),), account, Restrictions())
        )
        if guessed:
            self._begin(turn)
        else:
            turn.callback(None)
        return proved

    def _led_on_by_code(self, account: Account) -> Account:
        self._going_on(account, (Proof((CODE,)),))
        return account

    def _begin(self, turn: Deferred[None]) -> None:
        """Charge one guess; `turn` fires when it may be judged, and fails when it may not."""

        def go(allowed: bool) -> None:
            if allowed:
                turn.callback(None)
            else:
                turn.errback(Refused(AuthReason.THROTTLED, "too many failures, try again later"))

        self._guess = self._context.services.penalties.open(self._context.source, self._name.account)
        self._guess.begin(go)

    def _check_password(self, password: str) -> Deferred[None]:
        name = self._admit()
        self._check_wanted(PASSWORD)
        services = self._context.services
        turn: Deferred[None] = Deferred()
        checked = turn.addCallback(lambda _: services.directory.check_password(name, password, self._asker()))
        proved = checked.addCallback(
            lambda account: self._remember((Proof((PASSWORD,)),), account, Restrictions())
        )
        self._begin(turn)
        return proved

    def _find_by_key(self, credential: Credential, asker: Asker) -> Deferred[tuple[Account, Restrictions]]:
        name = self._admit()

        def judge(account: Account) -> tuple[Account, Restrictions]:
            if account.service is not None:
                account.service.check(self._context.source, self._context.clock.time())
            if isinstance(credential, Certificate):
                assert self._certificate is not None
                facts = self._certificate
                facts.check_holder(account.uid)
                self._context.services.ca_scopes.check_account(credential, account)
                self._check_touch(credential.key, asker, facts.touch_required, facts.verify_required)
                self._going_on(account, self._proofs_of(credential))
                return account, facts.restrictions
            known = self._known_key(account, credential)
            restrictions = check_authorized_key(known, self._context.clock.time(), self._context.source)
            self._check_touch(credential, asker, known.options.touch_required, known.options.verify_required)
            self._going_on(account, self._proofs_of(credential))
            return account, restrictions

        return self._context.services.directory.check_key(name, judge, asker).addErrback(self._cover)

    def _asker(self, query: bool = False) -> Asker:
        """Who asks; `_certificate` is there as soon as one of this request has been read."""
        before = self._before.identity
        certified = self._certificate is not None or (before is not None and before.certificate is not None)
        return Asker(self._context.purse, query, certified)

    def _cover(self, failure: Failure) -> Failure:
        """Remember what the engineer is told of a refusal that must read like another one."""
        if isinstance(failure.value, Covered):
            self._shown_as = failure.value.shown
        return failure

    def _check_touch(self, key: PublicKey, asker: Asker, touch: bool, verify: bool) -> None:
        """Of a security key; but a query has no signature that could say anything."""
        if key.is_security_key and not asker.query:
            check_assertion(self._assertion, self._context.services.demands, touch, verify)

    @staticmethod
    def _known_key(account: Account, key: PublicKey) -> AuthorizedKey:
        for known in account.keys:
            if known.key.blob == key.blob:
                return known
        raise Refused(AuthReason.KEY_NOT_AUTHORISED, "the key is not one of the account's")

    def _admit(self) -> str:
        """The identity in the user name, after its grammar and its penalties: the first that is asked of a proof."""
        self._judged_from = self._judged_from or self._context.clock.monotonic()
        name = self._name.destination.identity
        if not self._context.services.penalties.allows(self._context.source, self._name.account):
            raise Refused(AuthReason.THROTTLED, "too many failures from here, try again later")
        return name

    def _going_on(self, account: Account, proofs: tuple[Proof, ...]) -> Before:
        """What was proved before, for the chains of what account this is. Raises Refused: they do not go on so."""
        before = self._before
        if before.identity is None:
            chains = self._context.services.chains_of(bool(account.only_targets))
            before = Before(replace(before.given, chains=chains))
        if not before.given.takes(*proofs):
            raise Refused(AuthReason.FACTOR_NOT_WANTED, "no chain of factors goes on with this")
        return before

    def _check_wanted(self, factor: str) -> None:
        if not self._before.given.takes(Proof((factor,))):
            raise Refused(AuthReason.FACTOR_NOT_WANTED, "no chain of factors goes on with this")

    def _remember(self, proofs: tuple[Proof, ...], account: Account, restrictions: Restrictions) -> None:
        if account.service is not None:
            account.service.check(self._context.source, self._context.clock.time())
            restrictions = restrictions.intersect(account.service.restrictions)
        identity = Identity(
            name=account.name,
            uid=account.uid,
            groups=account.groups,
            source=account.source,
            factors=tuple(dict.fromkeys((proofs[0].factors[0], *(self._evidence.carried or ())))),
            certificate=self._certificate,
            source_address=self._context.source,
            restrictions=restrictions,
            authenticated_at=self._context.clock.time(),
            key_fingerprint=self._evidence.key,
            also_shown=self._also_shown,
            user_verified=self._assertion is not None and self._assertion.verified,
            service=account.service is not None,
            key_blob=self._key_blob,
            carried=None if self._certificate is None else self._certificate.carried,
            only_targets=account.only_targets,
        )
        if account.source == OFFLINE:
            self._evidence = self._evidence._replace(offline=1)
        after = self._going_on(account, proofs).with_proofs(proofs, identity)
        assert after.identity is not None
        self.identity = after.identity if self._on_proved is None else self._on_proved(after.identity)
        self._after = after
        self.whole, self.owed = after.given.proved, after.given.owed

    # -- the outcome ---------------------------------------------------------------------------------------

    def settle(self, reason: AuthReason) -> None:
        """The charge, one line, one counter; the first time only. Raises Refused(AUDIT_FAILED)."""
        if self._settled:
            return
        self._settled = True
        if reason is AuthReason.OK and self.owed:
            reason = AuthReason.PARTIAL
        certified = self._evidence.certificate_serial is not None and self._method == "publickey"
        label = "certificate" if certified else self._method
        self._book(reason, label)
        try:
            self._write_down(label, reason)
        except AuditFailed:
            self._context.meters.add(AUTH_ATTEMPTS, label, AuthReason.INTERNAL_ERROR)
            self._audit_failed()
        self._context.meters.add(AUTH_ATTEMPTS, label, reason)
        if reason in PROVED:
            if self._judged_from:
                self._context.judged(label, self._context.clock.monotonic() - self._judged_from)
            if self._assertion is not None:
                self._note_counter(self._assertion.counter)
        elif self._on_refused is not None:
            self._on_refused(self._shown_as or reason)

    def keep(self) -> None:
        """The proof counts, and is not enough: the next attempt for the same name builds on it."""
        assert self.identity is not None and (self.owed or not self.whole) and self._on_kept is not None
        self._on_kept(self._after)

    def _note_counter(self, counter: int) -> None:
        """Two keys that count for themselves are one key and its copy. Nobody is refused: somebody has to look."""
        context, key = self._context, self._evidence.key
        last = context.counters.note(key, counter)
        if last is not None:
            context.meters.add(SECURITY_KEY_COUNTERS_FALLEN)
            context.audit.note(
                SecurityKeyCounter(
                    connection=context.connection,
                    user=self._name.shown,
                    source=context.source,
                    key=key,
                    counter=counter,
                    last=last,
                )
            )

    def succeed(self) -> None:
        """Every factor is there but those that are owed, and the client hears of it now."""
        assert self.identity is not None and self.whole and self._on_succeeded is not None
        self._on_succeeded(self.identity, self._name.destination, self.owed)

    def _book(self, reason: AuthReason, label: str) -> None:
        penalties, source = self._context.services.penalties, self._context.source
        if self._guess is not None:
            self._guess.settle(reason)
            return
        name = self._name.account
        if reason not in PROVED:
            penalties.failed(source, name, reason, label)
        elif self.whole and not self.owed and self._method != "none":
            # half a login, or one without a proof, excuses nothing
            penalties.succeeded(source, name)

    def _write_down(self, label: str, reason: AuthReason) -> None:
        if self._method == "none" and reason is AuthReason.METHOD_NOT_OFFERED:
            return  # every OpenSSH client begins with it; the counter is enough
        context = self._context
        line = Auth(
            connection=context.connection,
            user=self._name.shown,
            method=label,
            result=reason.value if reason in PROVED else "refused",
            reason=reason,
            source=context.source,
            **self._evidence._asdict(),
        )
        if reason in PROVED:
            context.audit.emit(line)
        else:
            context.rationed.emit(context.purse, context.payer, line)

    def _audit_failed(self) -> NoReturn:
        text = f"nobody can log in now: the audit log cannot be written{self._context.reference}"
        raise Refused(RecorderReason.AUDIT_FAILED, text) from None
