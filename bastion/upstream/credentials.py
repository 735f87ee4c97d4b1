"""What a session logs in to its target with: a certificate for this one session, the target's own key, a password.

Keys of targets that cannot trust a CA are read once, at start and at reload, so that a session never waits for
a disk and a missing file is found by `bastion check`. Passwords are the other way round: fetched at the moment
in which the target is about to take one, in a thread, and dropped when it was sent, so that a changed one works
at the next login and none stands in memory while nobody logs in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from bastion.auth.identity import Identity
from bastion.auth.workers import ThreadReactor, Workers
from bastion.ca.agent_threads import AgentThreads
from bastion.ca.secrets import SecretCommand, read_secret_file
from bastion.ca.upstream import CertificateRequest, UpstreamCA
from bastion.clock import Clock
from bastion.errors import ConfigError, Refused, UpstreamReason
from bastion.policy.grant import Grant
from bastion.policy.roads import road_of
from bastion.policy.targets import Target, TargetPassword
from bastion.upstream.leg import UpstreamLogin
from bastion.userauth.client import SHA1, KeyCredential
from bastion.userauth.passing import PassOn
from bastion.userauth.password import PasswordCredential
from bastion.wire.key_options import PERMIT_PORT_FORWARDING
from bastion.wire.keys import PrivateKey

Ask = Callable[[str, str], Deferred[bytes]]
"""`ask(prompt, instruction)`: one hidden answer of the person who logs in, or `Refused`."""

# Threads that fetch passwords, and logins that may wait for one: a command takes seconds at worst.
SECRET_THREADS = 4
SECRET_QUEUE = 64
# Seconds beyond a command's own limit, after which its thread is given up; for a file, all it may take.
SECRET_MARGIN = 2.0
# Times that a person may type a password, as ssh itself asks. A file or a command says the same each time.
ASK_TRIES = 3


class TargetCredentials:
    """Makes what a session logs in to its target with. `keys` maps target names to their configured keys.

    `reactor` is needed for passwords only.
    """

    def __init__(
        self,
        ca: UpstreamCA | None,
        keys: Mapping[str, PrivateKey],
        clock: Clock,
        reactor: ThreadReactor | None = None,
        agents: AgentThreads | None = None,
    ) -> None:
        """`agents` are asked for the CA's signatures, when its key is in one."""
        self._agents = agents
        self._ca = ca
        self._keys = keys
        self._clock = clock
        self.on_certificate: Callable[[], object] = lambda: None  # hears of each that the CA has made
        self._workers = None if reactor is None else Workers(reactor, "secret", SECRET_THREADS, SECRET_QUEUE)

    def login_for(
        self,
        grant: Grant,
        identity: Identity,
        session_id: str,
        ask: Ask | None = None,
        pass_on: PassOn | None = None,
    ) -> UpstreamLogin | Deferred[UpstreamLogin]:
        """The credential for one login, made after the host key was accepted. Raises Refused, now or later.

        `pass_on` asks the engineer what a target with `ask = true` asks.
        """
        request = CertificateRequest(
            login=grant.login,
            identity=identity.name,
            session_id=session_id,
            permits=grant.permits,
            # The intersection of what all factors allow: it ends no later than any of them.
            not_after=identity.restrictions.valid_before,
            force_command=grant.force_command,
            sources=_seen_from(grant, grant.target),
        )
        made = self._make(grant.target, request, ask)
        if pass_on is None or not grant.target.ask:
            return made

        def with_questions(login: UpstreamLogin) -> UpstreamLogin:
            return replace(login, target=grant.target.name, pass_on=pass_on)

        return made.addCallback(with_questions) if isinstance(made, Deferred) else with_questions(made)

    def probe(self, grant: Grant, ask: Ask | None = None) -> UpstreamLogin | Deferred[UpstreamLogin]:
        """A credential for `bastion target test`: no engineer, and a certificate that permits nothing."""
        request = CertificateRequest(
            login=grant.login,
            identity=grant.identity_name,
            session_id=grant.id,
            sources=_seen_from(grant, grant.target),
        )
        return self._make(grant.target, request, ask)

    def hop_login(self, grant: Grant, hop: Target) -> UpstreamLogin | Deferred[UpstreamLogin]:
        """The gateway's own credential for a hop on the way: it permits to go on from there and nothing else, and names
        whose session it is for. Raises Refused, now or later."""
        assert hop.hop_login is not None, "policy.roads lets no other through"
        request = CertificateRequest(
            login=hop.hop_login,
            identity=grant.identity_name,
            session_id=grant.id,
            permits=(PERMIT_PORT_FORWARDING,),
            not_after=grant.restrictions.valid_before,
            sources=_seen_from(grant, hop),
        )
        return self._make(hop, request, None)

    def close(self) -> None:
        """Give up the threads; logins that wait for a password fail."""
        if self._workers is not None:
            self._workers.close()
        if self._agents is not None:
            self._agents.close()

    def _make(
        self, target: Target, request: CertificateRequest, ask: Ask | None
    ) -> UpstreamLogin | Deferred[UpstreamLogin]:
        if target.password is not None:
            return self._password(target.name, request.login, target.password, ask)
        own = self._keys.get(target.name)
        if own is not None:
            # RFC 8332: one RSA key, several ways of signing; SHA-1 only where the target lists it.
            sha1 = (SHA1,) if own.public.type == SHA1 and SHA1 in target.legacy else ()
            return KeyCredential(own, own.public, (*own.public.algorithms, *sha1))
        if self._ca is None:
            text = f"{target.name}: no upstream CA and no key for this target are configured"
            raise Refused(UpstreamReason.LOGIN_REFUSED, text)
        return self._certificate(self._ca, request)

    def _certificate(
        self, ca: UpstreamCA, request: CertificateRequest
    ) -> UpstreamLogin | Deferred[UpstreamLogin]:
        now = self._clock.time()

        def issue() -> UpstreamLogin:
            key, issued = ca.issue(request, now)
            return KeyCredential(key, issued, (issued.type,))

        signer = ca.waits(now)
        if signer is None:
            return self._issued(issue())
        if self._agents is None:
            raise Refused(UpstreamReason.CREDENTIAL_FAILED, "no agent can be asked to sign here")
        return self._agents.run(signer, issue).addCallback(self._issued)

    def _issued(self, login: UpstreamLogin) -> UpstreamLogin:
        self.on_certificate()
        return login

    # -- passwords -----------------------------------------------------------------------------------------

    def _password(self, name: str, login: str, wanted: TargetPassword, ask: Ask | None) -> PasswordCredential:
        if wanted.ask:
            if ask is None:
                text = (
                    f"{name}: the password of {login} must be asked of a person, and nobody can be asked here"
                )
                raise Refused(UpstreamReason.CREDENTIAL_FAILED, text)
            prompt = f"Password of {login} on {name}: "

            def asked(attempt: int) -> Deferred[bytes]:
                return ask(prompt, f"{name} did not accept it." if attempt else "")

            return PasswordCredential(asked, "asked", ASK_TRIES, by_person=True)
        if wanted.file is not None:
            path = wanted.file
            return PasswordCredential(lambda _: self._in_thread(lambda: read_secret_file(path)), "file")
        assert wanted.command is not None
        words = [word.replace("{target}", name).replace("{login}", login) for word in wanted.command]
        return PasswordCredential(lambda _: self._run(words, wanted.timeout), "command")

    def _run(self, words: list[str], timeout: float) -> Deferred[bytes]:
        command = SecretCommand(words, timeout)
        return self._in_thread(command.run, timeout, command.kill)

    def _in_thread(
        self, job: Callable[[], bytes], timeout: float = 0.0, on_deadline: Callable[[], None] | None = None
    ) -> Deferred[bytes]:
        if self._workers is None:
            return fail(Refused(UpstreamReason.CREDENTIAL_FAILED, "passwords cannot be fetched here"))
        return self._workers.run(job, timeout + SECRET_MARGIN, on_deadline).addErrback(_not_fetched)


def _seen_from(grant: Grant, machine: Target) -> tuple[str, ...] | None:
    """Where the connection of this grant to `machine`, its target or a hop to it, comes from; None: from the gateway.
    Raises BadRoad."""
    road = road_of(grant.inventory, grant.target)
    at = road.index(machine) if machine in road else len(road)
    return tuple(map(str, road[at - 1].hop_egress)) if at else None


def _not_fetched(failure: Failure) -> Failure:
    """What the engineer reads when a password could not be fetched: no path, nothing of the secret."""
    error = failure.value
    text = "its password cannot be fetched now"
    if isinstance(error, ConfigError):
        text = error.problem
    elif not isinstance(error, Exception):
        return failure
    raise Refused(UpstreamReason.CREDENTIAL_FAILED, text) from None
