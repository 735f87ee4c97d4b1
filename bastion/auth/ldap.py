"""The LDAP directory as the reactor sees it (L2): deadlines, failover, and who may wait.

Invariants: nothing here blocks; a question is answered within `deadline` seconds, whatever the servers do; a
server that hangs costs a thread for `timeout` seconds at most, because the reactor then shuts its socket
down; when all threads and places are taken, the next question is refused at once. Passwords are never kept,
and of an answer only the groups of a group search are remembered, for `group_ttl` seconds and for `lookup`
alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bastion.auth.directory import (
    OPERATOR,
    TIMED_OUT,
    UNAVAILABLE,
    Asker,
    Verdict,
    check_password_shape,
    normal_name,
)
from bastion.auth.identity import Account
from bastion.auth.ldap_attempt import Attempt, Found, Question
from bastion.auth.ldap_config import LdapConfig, read_bind_password, tls_context
from bastion.auth.ldap_link import ServerFailed
from bastion.auth.ldap_servers import ServerOrder, Taken
from bastion.auth.workers import DeadlinePassed, QueueFull, ThreadReactor, Workers, WorkersClosed
from bastion.clock import Clock
from bastion.errors import AuthReason, Refused

# Accounts whose groups are remembered. 4,096 of at most 1,024 names; typically 20 names: about 8 MiB.
MAX_REMEMBERED = 4096

_log = Logger()


class Observer(Protocol):
    """What the meters plug in. Called in the reactor's thread; names and errors are their label values."""

    # Threads that are busy, and those of them that are past their deadline and not back yet.
    in_use: int
    stuck: int

    def operation(self, name: str, seconds: float) -> None:
        """connect, service_bind, search or bind took so long, whatever came of it."""
        ...

    def failure(self, name: str, error: str) -> None:
        """It gave no usable answer: unavailable, timeout, pool_full, tls, service_credentials, ..."""
        ...


class NoObserver:
    """Counts nothing: for the command line and for tests that do not look."""

    in_use = 0
    stuck = 0

    def operation(self, name: str, seconds: float) -> None: ...

    def failure(self, name: str, error: str) -> None: ...


class _ThreadReport:
    """An observer's voice in a thread: carries every word over to the reactor's."""

    def __init__(self, reactor: ThreadReactor, observer: Observer) -> None:
        self._reactor = reactor
        self._observer = observer

    def operation(self, name: str, seconds: float) -> None:
        self._reactor.callFromThread(self._observer.operation, name, seconds)

    def failure(self, name: str, error: str) -> None:
        self._reactor.callFromThread(self._observer.failure, name, error)


class LdapDirectory:
    """A `Directory` over one or more LDAP servers. `reactor` needs callLater and callFromThread.

    Raises ConfigError when the CA file or the password file cannot be used; it asks no server yet.
    """

    def __init__(
        self, config: LdapConfig, reactor: ThreadReactor, clock: Clock, observer: Observer | None = None
    ) -> None:
        self._config = config
        self._clock = clock
        self._observer: Observer = NoObserver() if observer is None else observer
        self._report = _ThreadReport(reactor, self._observer)
        self._context = tls_context(config)
        self._service_password = read_bind_password(config)
        self._order = ServerOrder(len(config.servers), config.rest)
        self._workers = Workers(reactor, "ldap", config.threads, config.queue)
        self._workers.on_change = self._count
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

    @property
    def healthy_servers(self) -> int:
        """Servers that are not known to fail."""
        return self._order.healthy()

    def lookup(self, name: str, asker: Asker = OPERATOR) -> Deferred[Account]:
        return Deferred.fromCoroutine(self._lookup(name))

    def check_key(
        self, name: str, judge: Callable[[Account], Verdict], asker: Asker = OPERATOR
    ) -> Deferred[Verdict]:
        return self.lookup(name, asker).addCallback(judge)

    def check_password(self, name: str, password: str, asker: Asker = OPERATOR) -> Deferred[Account]:
        return Deferred.fromCoroutine(self._check_password(name, password))

    def close(self) -> None:
        self._workers.close()
        self._remembered.clear()

    async def _lookup(self, name: str) -> Account:
        name = normal_name(name)
        return await self._ask(Question(name, known_groups=self._known_groups(name)))

    async def _check_password(self, name: str, password: str) -> Account:
        name = normal_name(name)
        check_password_shape(password)
        return await self._ask(Question(name, password))

    # -- one question, server after server -----------------------------------------------------------------

    async def _ask(self, question: Question) -> Account:
        """Ask until one server answers. Raises Refused."""
        give_up_at = self._clock.monotonic() + self._config.deadline
        tried: list[int] = []
        refusal = Refused(AuthReason.DIRECTORY_UNAVAILABLE, UNAVAILABLE)
        while True:
            now = self._clock.monotonic()
            taken = self._order.take(now, tried) if now < give_up_at else None
            if taken is None:
                raise refusal
            tried.append(taken.index)
            try:
                found = await self._ask_server(taken, question, min(self._config.timeout, give_up_at - now))
            except ServerFailed as failed:
                reason = AuthReason.DIRECTORY_UNAVAILABLE
                if failed.error == "timeout":
                    reason = AuthReason.DIRECTORY_TIMEOUT
                refusal = Refused(reason, TIMED_OUT if failed.error == "timeout" else UNAVAILABLE)
                continue
            self._remember(question.name, found)
            return found.account

    async def _ask_server(self, taken: Taken, question: Question, seconds: float) -> Found:
        """Ask one server, in a thread. Raises Refused for a "no", ServerFailed when the next may be asked."""
        server = self._config.servers[taken.index]
        attempt = Attempt(
            self._config, self._context, server, self._service_password, self._clock, self._report
        )
        try:
            found = await self._workers.run(lambda: attempt.ask(question), seconds, attempt.line.cut)
        except Refused:
            self._worked(taken)
            raise
        except ServerFailed as failed:
            self._failed(taken, f"{failed.operation}: {failed.text}")
            raise
        except DeadlinePassed as passed:
            if passed.started:
                self._failed(taken, f"no answer within {seconds:g} s")
            else:
                self._order.released(taken)  # our queue was too slow, not the server
                self._observer.failure("connect", "timeout")
            raise ServerFailed("connect", "timeout", "no answer in time") from None
        except QueueFull:
            self._order.released(taken)
            self._observer.failure("connect", "pool_full")
            raise Refused(AuthReason.DIRECTORY_UNAVAILABLE, UNAVAILABLE) from None
        except WorkersClosed:
            raise Refused(AuthReason.DIRECTORY_UNAVAILABLE, UNAVAILABLE) from None
        except BaseException:
            self._order.released(taken)  # cancelled, or a fault of ours
            raise
        self._worked(taken)
        if found.unusable_keys:
            _log.warn("directory: {count} keys of {name} cannot be used", count=found.unusable_keys,
                      name=question.name)  # fmt: skip
        return found

    def _worked(self, taken: Taken) -> None:
        if self._order.worked(taken):
            _log.info("directory server {server} answers again", server=self._config.servers[taken.index])

    def _failed(self, taken: Taken, why: str) -> None:
        if self._order.failed(taken, self._clock.monotonic()):
            _log.warn("directory server {server} fails: {why}", server=self._config.servers[taken.index],
                      why=why)  # fmt: skip

    def _count(self) -> None:
        self._observer.in_use, self._observer.stuck = self._workers.in_use, self._workers.stuck

    # -- groups of a moment ago ------------------------------------------------------------------------------

    def _known_groups(self, name: str) -> tuple[str, frozenset[str]] | None:
        remembered = self._remembered.get(name)
        if remembered is None or self._clock.monotonic() >= remembered[0]:
            self._remembered.pop(name, None)
            return None
        return remembered[1], remembered[2]

    def _remember(self, name: str, found: Found) -> None:
        """Keep what a group search said. An answer that used remembered groups does not make them younger."""
        if self._config.group_base is None or not self._config.group_ttl or found.from_memory:
            return
        self._remembered.pop(name, None)
        until = self._clock.monotonic() + self._config.group_ttl
        self._remembered[name] = (until, found.account.uid, found.searched_groups)
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
