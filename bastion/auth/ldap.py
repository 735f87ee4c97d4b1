"""The LDAP directory as the reactor sees it (L2): deadlines, failover, and who may wait.

Invariants: nothing here blocks; a question is answered within `deadline` seconds, whatever the servers do; a
server that hangs costs a thread for `timeout` seconds at most, because the reactor then shuts its socket
down. Who waits for a thread is served in fair turns of the payers (`auth.workers`), what proves nothing last.

Passwords are never kept and always asked. What a look-up said is used again for `lookup_ttl` seconds, and those
who ask for a name that is being looked up get the same answer; of a group search the groups are remembered for
`group_ttl` seconds. Neither is ever used for a password. Where no server answers, and only there, whoever has shown a
certificate may be judged by what was said last, if that is not older than `certificates_offline`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.auth.answers import KEPT, Answers
from bastion.auth.directory import (
    NOT_ADMITTED,
    OFFLINE,
    OPERATOR,
    SILENT,
    TIMED_OUT,
    UNAVAILABLE,
    Asker,
    Servers,
    Verdict,
    check_password_shape,
    normal_name,
    refuse_unless_active,
)
from bastion.auth.identity import Account
from bastion.auth.ldap_attempt import Attempt, Question
from bastion.auth.ldap_config import LdapConfig, read_bind_password, tls_context
from bastion.auth.ldap_groups import GroupReader
from bastion.auth.ldap_link import ServerFailed
from bastion.auth.ldap_observer import NoObserver, Observer, ThreadReport
from bastion.auth.ldap_pool import MAX_IDLE, ServicePool
from bastion.auth.ldap_servers import ServerOrder, Taken
from bastion.auth.workers import Call, DeadlinePassed, Job, QueueFull, ThreadReactor, Workers, WorkersClosed
from bastion.clock import Clock, DelayedCall
from bastion.errors import AuthReason, BastionError, Refused
from bastion.wire.keys import PublicKey

T = TypeVar("T")

# Accounts whose groups are remembered. 4,096 of at most 1,024 names and DNs; typically 20 of each: about 16 MiB.
MAX_REMEMBERED = 4096

# Questions that may wait for a thread where nobody says how many logins there may be: the default of
# limits.startups. One is 2 KiB.
QUEUE = 1000

# Who is looked up to see whether servers that failed answer again. That nobody is called so is an answer too.
PROBE_NAME = "bastion-health-probe"

NOBODY: Final = ""
"""Whose name a question about a key is for."""

_log = Logger()


class _Work:
    """One question, those who pay for it, and those who wait for its answer."""

    def __init__(self, question: Question, asker: Asker) -> None:
        self.question = question
        self.askers = [asker]
        self.call: Call[Any] | None = None  # what waits for a thread, or is in one
        self.asked: Deferred[Account] | None = None
        self.waiters: list[Deferred[Account]] = []


class _NoServer(BastionError):
    """Every server was tried, or is being left alone."""


class LdapDirectory:
    """A `Directory` over one or more LDAP servers. `reactor` needs callLater and callFromThread.

    `queue` questions may wait for a thread: as many as there may be connections that have not logged in, so that
    nobody who may ask is sent away while the servers answer. Raises ConfigError when the CA file or the password
    file cannot be used; it asks no server yet.
    """

    def __init__(
        self,
        config: LdapConfig,
        reactor: ThreadReactor,
        clock: Clock,
        observer: Observer | None = None,
        queue: int = QUEUE,
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._clock = clock
        self._observer: Observer = NoObserver() if observer is None else observer
        self._report = ThreadReport(reactor, self._observer)
        self._groups = GroupReader(config)
        self._context = tls_context(config)
        self._service_password = read_bind_password(config)
        self._order = ServerOrder(len(config.servers), config.rest)
        self._down_since = clock.monotonic()  # when the last server failed, while none works
        self._pools = [ServicePool(config.threads) for _ in config.servers]
        self._sweep: DelayedCall | None = None
        self._workers = Workers(reactor, "ldap", config.threads, queue)
        self._workers.on_change = self._count
        self._answers = Answers(clock, config.lookup_ttl)
        self._last = Answers(clock, config.certificates_offline)
        self._under_way: dict[str, _Work] = {}
        # name -> (until, id, groups); the oldest goes first.
        self._remembered: OrderedDict[str, tuple[float, str, frozenset[str]]] = OrderedDict()

    @property
    def in_use(self) -> int:
        """Threads that are busy now."""
        return self._workers.in_use

    @property
    def stuck(self) -> int:
        """Threads past their deadline that have not come back yet."""
        return self._workers.stuck

    @property
    def stuck_total(self) -> int:
        """How often a thread was past its deadline."""
        return self._workers.stuck_total

    @property
    def waiting(self) -> int:
        """Questions that wait for a thread."""
        return self._workers.waiting

    def servers(self) -> Servers:
        healthy = self._order.healthy()
        return Servers(len(self._config.servers), healthy, False, None if healthy else self._down_since)

    def holders_of(self, key: PublicKey, comment: str, asker: Asker = OPERATOR) -> Deferred[frozenset[str]]:
        """By the whole value, plain and with that comment, and by any value that has the key in it where the schema
        compares parts of values: openssh-lpk and ipaSshPubKey do not, unless they are told to (`docs/directory.md`)."""
        line, work = key.line(), _Work(Question(NOBODY), asker)
        values = (line, f"{line} {comment}") if comment else (line,)
        asked = self._ask_servers(work, lambda attempt: attempt.holders(values))
        return Deferred.fromCoroutine(asked)

    def ask_again(self) -> Deferred[None]:
        return self.lookup(PROBE_NAME).addBoth(lambda _: None)

    def lookup(self, name: str, asker: Asker = OPERATOR) -> Deferred[Account]:
        found = self._lookup(name, asker)
        return found.addErrback(self._known_last, name.lower()) if asker.certified else found

    def _known_last(self, failure: Failure, name: str) -> Account:
        """What the directory said before it fell silent, for a certificate. Raises Refused."""
        refused = failure.value
        known = self._last.get(name) if isinstance(refused, Refused) and refused.reason in SILENT else None
        if known is None:
            failure.raiseException()
        self._observer.lookup("offline")
        if isinstance(known, Account) and known.name != name:  # an alias: a "no" to its own name is one
            own = self._last.get(known.name)
            known = own if isinstance(own, Refused) else known
        if isinstance(known, Refused):
            raise known
        return replace(known, source=OFFLINE)

    def _lookup(self, name: str, asker: Asker) -> Deferred[Account]:
        try:
            name = self._asked_for(name)
            known = self._answers.get(name)
            if known is None:
                return self._look_up(name, asker)
        except Refused as refused:
            return fail(refused)
        self._observer.lookup("remembered")
        return fail(known) if isinstance(known, Refused) else succeed(known)

    def check_key(
        self, name: str, judge: Callable[[Account], Verdict], asker: Asker = OPERATOR
    ) -> Deferred[Verdict]:
        return self.lookup(name, asker).addCallback(judge)

    def check_password(self, name: str, password: str, asker: Asker = OPERATOR) -> Deferred[Account]:
        try:
            name = self._asked_for(name)
            check_password_shape(password)
        except Refused as refused:
            return fail(refused)
        return Deferred.fromCoroutine(self._ask(_Work(Question(name, password), asker)))

    def close(self) -> None:
        self._workers.close()
        for pool in self._pools:
            pool.close()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._remembered.clear()
        self._answers.clear()
        self._last.clear()
        self._observer.waiting = self._observer.connections = 0

    def _asked_for(self, name: str) -> str:
        """The name in its one form. Raises Refused for what leads to no account here."""
        name = normal_name(name)
        if "@" in name and not self._config.login_attributes:
            raise Refused(AuthReason.BAD_USER_NAME, "the user name is not a valid identity")
        return name

    # -- one name, asked for once --------------------------------------------------------------------------

    def _look_up(self, name: str, asker: Asker) -> Deferred[Account]:
        """Ask, or wait with those who have asked. Raises Refused."""
        waiter: Deferred[Account]
        work = self._under_way.get(name)
        if work is None:
            self._observer.lookup("asked")
            work = _Work(Question(name, known_groups=self._known_groups(name)), asker)
            self._under_way[name] = work
        else:
            self._observer.lookup("joined")
            work.askers.append(asker)
            if work.call is not None:
                self._workers.join(work.call, asker)
        waiter = Deferred(lambda waiter: self._leave(work, waiter))
        work.waiters.append(waiter)
        if work.asked is None:
            work.asked = Deferred.fromCoroutine(self._ask(work))
            work.asked.addBoth(self._looked_up, work)
        return waiter

    def _leave(self, work: _Work, waiter: Deferred[Account]) -> None:
        """One waits no more. When nobody does, the question is given up."""
        if waiter in work.waiters:
            work.waiters.remove(waiter)
            if not work.waiters and work.asked is not None:
                self._forget(work)
                work.asked.cancel()

    def _looked_up(self, result: Account | Failure, work: _Work) -> None:
        self._forget(work)
        answer = result.value if isinstance(result, Failure) else result
        if isinstance(answer, (Account, Refused)):
            self._answers.keep(work.question.name, answer)
        waiters, work.waiters = work.waiters, []
        for waiter in waiters:
            if isinstance(answer, Refused):
                waiter.errback(Refused(answer.reason, answer.text))
            else:
                waiter.callback(result)  # a Failure is its errback

    def _forget(self, work: _Work) -> None:
        if self._under_way.get(work.question.name) is work:
            del self._under_way[work.question.name]

    # -- one question, server after server -----------------------------------------------------------------

    async def _ask(self, work: _Work) -> Account:
        """Ask until one server answers. Raises Refused."""
        question = work.question
        try:
            found = await self._ask_servers(work, lambda attempt: attempt.ask(question))
        except Refused as refused:
            if refused.reason in (AuthReason.UNKNOWN_USER, AuthReason.AMBIGUOUS_USER):
                self._remember_groups(question, "", frozenset())
            if refused.reason in KEPT:
                self._last.keep(question.name, Refused(refused.reason, NOT_ADMITTED))
            raise
        if found.unusable_keys:
            _log.warn("directory: {count} keys of {name} cannot be used", count=found.unusable_keys,
                      name=question.name)  # fmt: skip
        self._remember_groups(question, found.account.uid, found.searched_groups)
        return self._judged(question, found.account)

    async def _ask_servers(self, work: _Work, ask: Callable[[Attempt], T]) -> T:
        """The same of any question. Raises Refused."""
        give_up_at = self._clock.monotonic() + self._config.deadline
        tried: list[int] = []
        refusal = Refused(AuthReason.DIRECTORY_UNAVAILABLE, UNAVAILABLE)
        while (left := give_up_at - self._clock.monotonic()) > 0:
            try:
                return await self._ask_server(work, ask, tried, left)
            except _NoServer:
                break
            except ServerFailed as failed:
                late = failed.error == "timeout"
                reason = AuthReason.DIRECTORY_TIMEOUT if late else AuthReason.DIRECTORY_UNAVAILABLE
                refusal = Refused(reason, TIMED_OUT if late else UNAVAILABLE)
        raise refusal

    def _judged(self, question: Question, account: Account) -> Account:
        """The account, if it may log in. Raises Refused."""
        try:
            refuse_unless_active(account.state, proved=question.password is not None)
        except Refused as refused:
            self._last.keep(question.name, Refused(refused.reason, NOT_ADMITTED))
            raise
        self._last.keep(question.name, replace(account, keys=()))
        return account

    async def _ask_server(self, work: _Work, ask: Callable[[Attempt], T], tried: list[int], left: float) -> T:
        """Ask the best server that is left when the turn comes, in a thread.

        Raises Refused for a "no", ServerFailed when the next may be asked, _NoServer when there is none.
        """
        taken: Taken | None = None

        def begin() -> Job[T]:
            nonlocal taken
            taken = self._order.take(self._clock.monotonic(), tried)
            if taken is None:
                raise _NoServer("none is left to ask")
            tried.append(taken.index)
            attempt = self._attempt(taken.index)
            return Job(lambda: ask(attempt), attempt.cut, self._config.timeout)

        try:
            call = work.call = self._workers.start(begin, left, work.askers)
            found: T = await call.deferred
        except ServerFailed as failed:
            assert taken is not None
            self._failed(taken, f"{failed.operation}: {failed.text}")
            raise
        except DeadlinePassed:
            if taken is not None:
                self._failed(taken, f"no answer within {min(self._config.timeout, left):g} s")
            else:
                self._observer.failure("connect", "timeout")  # our queue was too slow, not the server
            raise ServerFailed("connect", "timeout", "no answer in time") from None
        except QueueFull:
            self._observer.failure("connect", "pool_full")
            raise Refused(AuthReason.DIRECTORY_UNAVAILABLE, UNAVAILABLE) from None
        except WorkersClosed:
            raise Refused(AuthReason.DIRECTORY_UNAVAILABLE, UNAVAILABLE) from None
        except Refused:
            assert taken is not None
            self._worked(taken)
            raise
        except _NoServer:
            raise
        except BaseException:
            if taken is not None:
                self._order.released(taken)  # cancelled, or a fault of ours
            raise
        assert taken is not None
        self._worked(taken)
        return found

    def _attempt(self, index: int) -> Attempt:
        return Attempt(
            self._config,
            self._context,
            self._config.servers[index],
            self._service_password,
            self._pools[index],
            self._clock,
            self._report,
            self._groups,
        )

    def _worked(self, taken: Taken) -> None:
        if self._order.worked(taken):
            _log.info("directory server {server} answers again", server=self._config.servers[taken.index])

    def _failed(self, taken: Taken, why: str) -> None:
        worked = self._order.healthy() > 0
        fresh = self._order.failed(taken, self._clock.monotonic())
        if worked and not self._order.healthy():
            self._down_since = self._clock.monotonic()
        if fresh:
            _log.warn("directory server {server} fails: {why}", server=self._config.servers[taken.index],
                      why=why)  # fmt: skip

    def _count(self) -> None:
        self._observer.in_use, self._observer.stuck = self._workers.in_use, self._workers.stuck
        self._observer.waiting = self._workers.waiting
        connections = self._observer.connections = sum(map(len, self._pools))
        if connections and self._sweep is None:
            self._sweep = self._reactor.callLater(MAX_IDLE, self._close_idle)

    def _close_idle(self) -> None:
        self._sweep = None
        for pool in self._pools:
            pool.sweep(self._clock.monotonic())
        self._count()

    # -- groups of a moment ago ------------------------------------------------------------------------------

    def _known_groups(self, name: str) -> tuple[str, frozenset[str]] | None:
        remembered = self._remembered.get(name)
        if remembered is None or self._clock.monotonic() >= remembered[0]:
            self._remembered.pop(name, None)
            return None
        return remembered[1], remembered[2]

    def _remember_groups(self, question: Question, uid: str, groups: frozenset[str]) -> None:
        """Keep what a group search said, without an id when there was no account.

        An answer that used remembered groups does not make them younger.
        """
        known = question.known_groups
        if self._config.group_base is None or not self._config.group_ttl or (known and known[0] == uid):
            return
        self._remembered.pop(question.name, None)
        self._remembered[question.name] = (self._clock.monotonic() + self._config.group_ttl, uid, groups)
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
