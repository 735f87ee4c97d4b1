"""Who is behind an inner connection: the engineer of the outer one, who may have to prove it again.

The user name of an inner connection is the login on the target and nothing else; the identity is the outer one.
A channel that carries the engineer's own `ssh -J` has nobody else behind it and needs no second proof. A channel
that came from a listening socket may be anybody's on the engineer's machine: it must prove the same identity by
key, certificate or keyboard-interactive, unless the rules trust forwards. The proof is a whole chain of factors, as
it is outside.

Invariants: what is proved here is proved for the outer identity and no other, whatever user name was sent; a second
proof only takes away (restrictions are intersected) and never makes a login younger; the method `password` is not
offered, because its prompt on the client would name the login.
"""

from __future__ import annotations

from collections.abc import Callable

from bastion.auth.attempt import Attempt, Before, Succeeded, UserName
from bastion.auth.factors import CODE, Given
from bastion.auth.identity import TARGET_LOGIN, Destination, Identity, joined
from bastion.doors.authentication import Authentication
from bastion.errors import AuthReason, Refused


class InnerAuthentication:
    """The `userauth.authenticator.Authenticator` of one inner connection.

    `proof` is the front door's way of checking credentials. `needs_no_proof(login)` says whether the channel may
    enter on the outer connection's word. `on_success` hears of the destination with the login as it was sent.
    """

    def __init__(
        self,
        identity: Identity,
        target_name: str,
        proof: Authentication,
        needs_no_proof: Callable[[str], bool],
        on_success: Succeeded,
    ) -> None:
        self._identity = identity
        self._target_name = target_name
        self._proof = proof
        self._needs_no_proof: Callable[[str], bool] | None = needs_no_proof
        self._on_success: Succeeded | None = on_success
        chains = proof.context.services.chains_of(identity.is_break_glass)
        self._before = Before(Given(chains))

    def methods(self) -> tuple[str, ...]:
        offered = self._proof.context.services.methods
        kept = ["publickey"] if "publickey" in offered else []
        if "password" in offered or "keyboard-interactive" in offered:
            kept.append("keyboard-interactive")
        return self._before.given.methods(kept)

    def prompt(self, user: str) -> str:
        """RFC 4256 prompt: whose password is asked, and whose it is not."""
        name = self._identity.name
        if CODE in self._before.given.wanted:
            return f"One-time code of {name}: "
        login = user if TARGET_LOGIN.match(user) else "the target's account"
        return (
            f"Directory password of {name}: "
            if login == name
            else (f"Directory password of {name} (not of {login}): ")
        )

    # -- the attempts --------------------------------------------------------------------------------------

    def open(self, user: str, method: str) -> Attempt:
        """An attempt to prove the outer identity again; its audit line names identity, login and target."""
        name, target = self._identity.name, self._target_name
        shown = Destination(name, user if TARGET_LOGIN.match(user) else "?", target)
        return Attempt(
            self._proof.context,
            UserName(name, str(shown), Destination(name, user, target)),
            method,
            self._before,
            on_proved=self._check_same,
            on_succeeded=self._on_success,
            on_refused=self._tell,
            on_kept=self._keep,
            needs_no_proof=lambda: self._on_the_outer_word(user),
        )

    def _on_the_outer_word(self, user: str) -> Identity | None:
        """The outer identity, where nobody else can be behind the channel."""
        if self._needs_no_proof is not None and self._needs_no_proof(user):
            return self._identity
        return None

    def _tell(self, reason: AuthReason) -> None:
        """Once the key was right, as outside: the channel may be anybody's."""
        self._proof.tell_somebody(reason, self._before.identity is not None)

    def _keep(self, before: Before) -> None:
        self._before = before

    def _check_same(self, proved: Identity) -> Identity:
        """The directory's entry must still be the one that logged in outside. Raises Refused."""
        outer = self._identity
        if (proved.name, proved.uid) != (outer.name, outer.uid):
            raise Refused(AuthReason.UNKNOWN_USER, "the account is another one than at the outer login")
        return joined(outer, proved)

    def stop(self) -> None:
        """Break the cycles with the connection."""
        self._needs_no_proof = self._on_success = None
        self._proof.stop()
