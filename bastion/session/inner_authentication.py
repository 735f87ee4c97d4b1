"""Who is behind an inner connection: the engineer of the outer one, who may have to prove it again.

The user name of an inner connection is the login on the target and nothing else; the identity is the outer one.
A channel that carries the engineer's own `ssh -J` has nobody else behind it and needs no second proof. A channel
that came from a listening socket may be anybody's on the engineer's machine: it must prove the same identity by
key, certificate or keyboard-interactive, unless the rules trust forwards.

Invariants: what is proved here is proved for the outer identity and no other, whatever user name was sent; a
second proof only takes away (restrictions are intersected) and never makes a login younger; the method
`password` is not offered, because its prompt on the client would name the login.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.internet.defer import Deferred, fail, succeed

from bastion.auth.identity import TARGET_LOGIN, Destination, Identity
from bastion.errors import AuthReason, Refused
from bastion.session.authentication import Authentication
from bastion.ssh.userauth import Credential

Success = Callable[[Identity, str], None]


class InnerAuthentication:
    """The `Authenticator` of one inner connection (see `ssh.userauth`).

    `proof` checks credentials as at the front door, and calls back with what was proved. `needs_no_proof(login)`
    says whether the channel may enter on the outer connection's word. `on_success` gets identity and login.
    """

    def __init__(
        self,
        identity: Identity,
        target_name: str,
        proof: Authentication,
        needs_no_proof: Callable[[str], bool],
        on_success: Success,
    ) -> None:
        self._identity = identity
        self._target_name = target_name
        self._proof = proof
        self._needs_no_proof: Callable[[str], bool] | None = needs_no_proof
        self._on_success: Success | None = on_success
        proof.on_proved = self._check_same
        self._proved: Identity | None = None

    def methods(self) -> tuple[str, ...]:
        offered = self._proof.methods()
        kept = ["publickey"] if "publickey" in offered else []
        if "password" in offered or "keyboard-interactive" in offered:
            kept.append("keyboard-interactive")
        return tuple(kept)

    def prompt(self, user: str) -> str:
        """RFC 4256 prompt: whose password is asked, and whose it is not."""
        name = self._identity.name
        login = user if TARGET_LOGIN.match(user) else "the target's account"
        return (
            f"Directory password of {name}: "
            if login == name
            else (f"Directory password of {name} (not of {login}): ")
        )

    # -- the proofs ----------------------------------------------------------------------------------------

    def none(self, user: str) -> Deferred[None]:
        """On the outer connection's word, where nobody else can be behind the channel."""
        if self._needs_no_proof is not None and self._needs_no_proof(user):
            self._proved = self._identity
            return succeed(None)
        return fail(Refused(AuthReason.METHOD_NOT_OFFERED, "proof is needed"))

    def key_known(self, user: str, credential: Credential) -> Deferred[None]:
        return self._proof.key_known(self._identity.name, credential)

    def key_proved(self, user: str, credential: Credential) -> Deferred[None]:
        return self._proof.key_proved(self._identity.name, credential)

    def password(self, user: str, password: str) -> Deferred[None]:
        return self._proof.password(self._identity.name, password)

    def _check_same(self, proved: Identity) -> None:
        """The directory's entry must still be the one that logged in outside. Raises Refused."""
        outer = self._identity
        if (proved.name, proved.uid) != (outer.name, outer.uid):
            raise Refused(AuthReason.UNKNOWN_USER, "the account is another one than at the outer login")
        self._proved = replace(
            outer,
            factors=tuple(dict.fromkeys((*outer.factors, *proved.factors))),
            restrictions=outer.restrictions.intersect(proved.restrictions),
            certificate=outer.certificate or proved.certificate,
            key_fingerprint=outer.key_fingerprint or proved.key_fingerprint,
        )

    # -- outcomes ------------------------------------------------------------------------------------------

    def attempted(self, user: str, method: str, reason: AuthReason) -> None:
        """As at the front door; the audit line names identity, login and target."""
        login = user if TARGET_LOGIN.match(user) else "?"
        name = str(Destination(self._identity.name, login, self._target_name))
        self._proof.attempted(name, method, reason)

    def succeeded(self, user: str, method: str) -> None:
        """Proved. Second factors that the rules ask for would be asked here, before `on_success`, by further
        keyboard-interactive questions (design.md section 2)."""
        identity, on_success = self._proved, self._on_success
        assert identity is not None and on_success is not None
        on_success(identity, user)

    def stop(self) -> None:
        """Break the cycles with the connection."""
        self._needs_no_proof = self._on_success = None
        self._proof.on_proved = None
        self._proof.stop()
