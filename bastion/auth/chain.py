"""Two directories as one (L2): embedded accounts before LDAP."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.defer import TimeoutError as TwistedTimeout
from twisted.internet.task import deferLater

from bastion.auth.directory import (
    NOT_ADMITTED,
    OPERATOR,
    Asker,
    Covered,
    Directory,
    Servers,
    Verdict,
    check_password_shape,
    normal_name,
)
from bastion.auth.embedded import EmbeddedDirectory
from bastion.auth.identity import Account
from bastion.clock import Timers
from bastion.errors import AuthReason, Refused
from bastion.wire.keys import PublicKey

# Seconds that "yes, that key would do" waits for the other directory's answer about the same name. As long as it
# takes one that works; a break-glass login waits no longer for one that does not.
COVER_WAIT = 1.0

REFUSAL_STEP = 0.025
"""A key is refused so many seconds after it was asked about, or twice, three times as many: longer than a directory
at the same site takes, so that a clock hears the timer and not which directory knows the name, what groups it has, or
what was remembered of it. A client whose agent has other keys first waits as long for each of them."""


class ChainDirectory:
    """Embedded (break-glass) accounts first, for the names they have; every other name is the other's.

    Nobody in LDAP can take over an embedded name, and it logs in while LDAP is down. A stranger does not learn
    which names these are: the other directory is asked about them as well before anything is said that proves
    nothing (a refusal, or that a key would do), and while it cannot be asked, a refusal says so like every other. Nor
    does a clock tell: a key is refused in steps of time (`REFUSAL_STEP`). A proof is answered at once. Without another
    directory, unknown names are the embedded one's to refuse.
    """

    def __init__(
        self, embedded: EmbeddedDirectory, other: Directory | None = None, timers: Timers | None = None
    ) -> None:
        """`timers` bound the wait for `other`; both or neither."""
        self._embedded = embedded
        self._other = other
        self._timers = timers

    def lookup(self, name: str, asker: Asker = OPERATOR) -> Deferred[Account]:
        try:
            directory = self._of(name)
        except Refused as refused:
            return fail(refused)
        found = directory.lookup(name, asker)
        return found if directory is self._embedded else found.addCallback(self._not_embedded)

    def check_key(
        self, name: str, judge: Callable[[Account], Verdict], asker: Asker = OPERATOR
    ) -> Deferred[Verdict]:
        try:
            directory = self._of(name)
        except Refused as refused:
            return fail(refused)
        if self._other is None:
            return directory.check_key(name, judge, asker)
        return Deferred.fromCoroutine(self._refuse_on_time(self._other, name, judge, asker))

    def check_password(self, name: str, password: str, asker: Asker = OPERATOR) -> Deferred[Account]:
        try:
            directory = self._of(name)
            check_password_shape(password)
        except Refused as refused:
            return fail(refused)
        if directory is not self._embedded:
            return directory.check_password(name, password, asker).addCallback(self._not_embedded)
        if self._other is None:
            return directory.check_password(name, password, asker)
        return Deferred.fromCoroutine(self._check_embedded_password(self._other, name, password, asker))

    def servers(self) -> Servers:
        local = self._embedded.servers()
        if self._other is None:
            return local
        others = self._other.servers()
        return Servers(others.all, others.healthy, local.local or others.local, others.down_since)

    def holders_of(self, key: PublicKey, comment: str, asker: Asker = OPERATOR) -> Deferred[frozenset[str]]:
        here = self._embedded.holders_of(key, comment, asker)
        if self._other is None:
            return here
        there = self._other.holders_of(key, comment, asker)
        return here.addCallback(lambda ours: there.addCallback(lambda theirs: ours | theirs))

    def ask_again(self) -> Deferred[None]:
        return succeed(None) if self._other is None else self._other.ask_again()

    def close(self) -> None:
        self._embedded.close()
        if self._other is not None:
            self._other.close()

    def _of(self, name: str) -> Directory:
        """Whose name it is. Raises Refused."""
        known = normal_name(name) in self._embedded
        return self._embedded if known or self._other is None else self._other

    def _not_embedded(self, account: Account) -> Account:
        """The other directory's account, which an alias may have led to. Raises Refused for a name that is taken."""
        if account.name in self._embedded:
            raise Refused(AuthReason.UNKNOWN_USER, NOT_ADMITTED)
        return account

    async def _refuse_on_time(
        self, other: Directory, name: str, judge: Callable[[Account], Verdict], asker: Asker
    ) -> Verdict:
        """Ask; a refusal comes at the next step of `REFUSAL_STEP`, counted from before anything was looked at."""
        assert self._timers is not None
        begun = self._timers.seconds()
        try:
            if normal_name(name) in self._embedded:
                return await self._check_embedded_key(other, name, judge, asker)
            return await other.check_key(name, lambda account: judge(self._not_embedded(account)), asker)
        except Refused:
            late = (self._timers.seconds() - begun) % REFUSAL_STEP
            await deferLater(self._timers, REFUSAL_STEP - late)  # type: ignore[arg-type]
            raise

    async def _check_embedded_key(
        self, other: Directory, name: str, judge: Callable[[Account], Verdict], asker: Asker
    ) -> Verdict:
        try:
            verdict = await self._embedded.check_key(name, judge, asker)
        except Refused as refused:
            raise await self._as_from(other, name, asker, refused) from None
        if asker.query:
            assert self._timers is not None
            waiting = other.lookup(name, asker)
            with contextlib.suppress(Refused, TwistedTimeout):
                await waiting.addTimeout(COVER_WAIT, self._timers)  # type: ignore[arg-type]
        return verdict

    async def _check_embedded_password(
        self, other: Directory, name: str, password: str, asker: Asker
    ) -> Account:
        try:
            return await self._embedded.check_password(name, password, asker)
        except Refused as refused:
            raise await self._as_from(other, name, asker, refused) from None

    @staticmethod
    async def _as_from(other: Directory, name: str, asker: Asker, refused: Refused) -> Refused:
        """The refusal, when the other directory has had the time for its own, and in its words if it is down."""
        try:
            await other.lookup(name, asker)
        except Refused as theirs:
            if theirs.reason in (AuthReason.DIRECTORY_UNAVAILABLE, AuthReason.DIRECTORY_TIMEOUT):
                return Covered(refused, AuthReason(theirs.reason))
        return refused
