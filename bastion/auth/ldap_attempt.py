"""One login asked of one LDAP server: what happens in the thread, in order (L2).

1. take a connection of the service account that waits, or connect with TLS and bind as it; search for exactly one
   entry;
2. for a password: bind as that entry on a connection of its own, then read the entry again, because only the
   state after the bind is the state (a server removes an old lock when the bind succeeds);
3. state, groups and keys.

An unknown or ambiguous name binds too, as the decoy, and searches its groups, so that it takes as long as one that
exists. A user's password goes over a connection of its own, which never waits for anybody else.
Raises `Refused` when the directory has answered and the answer is no, `ServerFailed` when it has not.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from ldap3.utils.conv import escape_filter_chars

from bastion.auth import ldap_link as codes
from bastion.auth.directory import (
    NOT_ADMITTED,
    STATE_REASONS,
    STATE_TEXTS,
)
from bastion.auth.identity import Account, AccountState
from bastion.auth.ldap_config import LdapConfig, ServerAddress
from bastion.auth.ldap_dn import is_within
from bastion.auth.ldap_entry import (
    Entry,
    account_name,
    authorised_keys,
    immutable_id,
)
from bastion.auth.ldap_groups import GroupReader, Search, TooMany
from bastion.auth.ldap_link import Answer, Link, ServerFailed
from bastion.auth.ldap_observer import ThreadReport
from bastion.auth.ldap_pool import ServicePool
from bastion.auth.ldap_state import STATE_ATTRIBUTES, StateLimits, account_state
from bastion.clock import Clock
from bastion.errors import AuthReason, Refused

T = TypeVar("T")

NO_ACCOUNT: Final = "no-such-account"
"""Who is searched for and bound as where somebody is asked for who does not exist."""

HOLDERS: Final = 8
"""Accounts with one key that are told of: two are one too many."""

# Active Directory tells why a bind failed by "data XXX" in the diagnostic text of invalidCredentials.
_AD_STATES = {
    "data 533": AccountState.LOCKED,
    "data 775": AccountState.LOCKED,
    "data 701": AccountState.EXPIRED,
    "data 532": AccountState.PASSWORD_MUST_CHANGE,
    "data 773": AccountState.PASSWORD_MUST_CHANGE,
}


@dataclass(frozen=True, slots=True)
class Question:
    """Who is asked about. `password` None = lookup; `known_groups` = (id, groups) of a recent search, where no id
    means that there was no such account."""

    name: str
    password: str | None = field(default=None, repr=False)
    known_groups: tuple[str, frozenset[str]] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The account in whatever state it is, the groups that a group search gave now or earlier, and how many keys
    could not be used."""

    account: Account
    searched_groups: frozenset[str]
    unusable_keys: int


class _Stale(Exception):
    """A connection that had waited turned out to be at its end."""


class Attempt:
    """One `Question` to one server. `ask` blocks; the reactor may `cut` it at any time."""

    def __init__(
        self,
        config: LdapConfig,
        context: ssl.SSLContext,
        server: ServerAddress,
        service_password: str,
        pool: ServicePool,
        clock: Clock,
        report: ThreadReport,
        groups: GroupReader,
    ) -> None:
        self._config = config
        self._context = context
        self._server = server
        self._service_password = service_password
        self._pool = pool
        self._clock = clock
        self._report = report
        self._groups = groups
        self._lock = threading.Lock()
        self._links: list[Link] = []
        self._was_cut = False
        self._untried = False  # the service's connection had waited, and has not answered yet

    def cut(self) -> None:
        """Shut down what the thread hangs on. In any thread."""
        with self._lock:
            self._was_cut = True
            for link in self._links:
                link.line.cut()

    def ask(self, question: Question) -> Found:
        """The account with its state, or `Refused`, or `ServerFailed`."""
        return self._served(lambda service: self._answer(service, question))

    def holders(self, values: Sequence[str]) -> frozenset[str]:
        """The ids of accounts that have one of these values as a key, or any value with the first in it. Raises
        ServerFailed. What a schema has no rule for is no match (RFC 4511 section 4.5.1.7), and hides no other."""
        config, kind = self._config, self._config.key_attribute
        wanted = [f"({kind}={escape_filter_chars(value)})" for value in values]
        wanted.append(f"({kind}=*{escape_filter_chars(values[0].split(' ')[1])}*)")
        whole = f"(&{config.user_filter}(|{''.join(wanted)}))"

        def find(service: Link) -> frozenset[str]:
            asked = config.user_base, whole, [config.id_attribute], HOLDERS
            found, _ = self._timed("search", lambda: service.search(*asked))
            return frozenset(map(self._id, found))

        return self._served(find)

    def _served(self, answer: Callable[[Link], T]) -> T:
        """What `answer` finds on a connection of the service account, one that waits if there is one."""
        waiting = self._pool.take(self._clock.monotonic())
        if waiting is not None:
            self._untried = True
            self._use(waiting.link)
            try:
                return self._ask(answer, waiting.link, waiting.opened)
            except _Stale:
                # The server ended it meanwhile: it was restarted, or it is tired of idle connections.
                self._untried = False
        opened = self._clock.monotonic()
        return self._ask(answer, self._open(), opened)

    def _ask(self, answer: Callable[[Link], T], service: Link, opened: float) -> T:
        answered = False
        try:
            found = answer(service)
            answered = True
            return found
        except Refused:
            answered = True
            raise
        finally:
            if self._let_go(service) and answered:
                self._pool.give(service, opened, self._clock.monotonic())
            else:
                service.close()

    def _answer(self, service: Link, question: Question) -> Found:
        entry, reason = self._find(service, question.name)
        if question.password is not None:
            entry = self._prove(service, question, entry, reason)
        elif entry is None:
            self._search_as_if(service, question)
            raise Refused(reason, NOT_ADMITTED)
        return self._read(service, question, entry)

    # -- connections -----------------------------------------------------------------------------------------

    def _use(self, link: Link) -> Link:
        """From now on `cut` shuts this one down too."""
        with self._lock:
            self._links.append(link)
            if self._was_cut:
                link.line.cut()
        return link

    def _let_go(self, link: Link) -> bool:
        """From now on it does not. False: it has been cut."""
        with self._lock:
            self._links.remove(link)
            return not self._was_cut

    def _open(self) -> Link:
        """A connection of the service account."""
        link = self._use(Link(self._config, self._context, self._server))
        try:
            self._timed("connect", link.open)
            self._bind_service(link)
        except BaseException:
            self._let_go(link)
            link.close()
            raise
        return link

    # -- steps -----------------------------------------------------------------------------------------------

    def _bind_service(self, service: Link) -> None:
        answer = self._timed("service_bind", lambda: service.bind_service(self._service_password))
        if answer.code != codes.SUCCESS:
            text = f"it does not accept the service account (result code {answer.code})"
            self._report.failure("service_bind", "service_credentials")
            raise ServerFailed("service_bind", "service_credentials", text)

    def _find(self, service: Link, name: str) -> tuple[Entry | None, AuthReason]:
        """The one entry of that name, or None and why not. An alias leads to an account that its own name leads to."""
        entry, reason = self._named(service, name)
        if "@" not in name:
            return entry, reason
        own = None if entry is None else self._name_of(entry, name)
        same, of_name = self._named(service, own or NO_ACCOUNT)  # as many searches, whoever is asked for
        if entry is None:
            return None, reason
        if same is None:
            return None, of_name  # another entry has that name too, for one
        return (entry, reason) if self._id(same) == self._id(entry) else (None, AuthReason.AMBIGUOUS_USER)

    def _named(self, service: Link, name: str) -> tuple[Entry | None, AuthReason]:
        """The one entry that has that name or alias. It has passed its grammar; escaped anyway."""
        config = self._config
        kinds = config.login_attributes if "@" in name else (config.name_attribute,)
        names = "".join(f"({kind}={escape_filter_chars(name)})" for kind in kinds)
        wanted = f"(&{config.user_filter}(|{names}))"
        found, more = self._timed(
            "search", lambda: service.search(config.user_base, wanted, self._attributes(), 2)
        )
        if more or len(found) > 1:
            self._report.failure("search", "ambiguous")
            return None, AuthReason.AMBIGUOUS_USER
        if not found or self._name_of(found[0], name) is None:
            return None, AuthReason.UNKNOWN_USER
        # An empty DN would make the bind below an anonymous one, which succeeds.
        if not is_within(found[0].dn, config.user_base):
            return None, AuthReason.UNKNOWN_USER
        return found[0], AuthReason.OK

    def _prove(self, service: Link, question: Question, entry: Entry | None, reason: AuthReason) -> Entry:
        """Bind as the entry; return the entry as it is after the bind."""
        assert question.password is not None
        config = self._config
        answer = self._bind_user(entry.dn if entry else self._decoy, question.password)
        if entry is None:
            raise Refused(reason, NOT_ADMITTED)
        if answer.code != codes.SUCCESS:
            raise self._refusal(entry, answer)
        dn = entry.dn
        again, _ = self._timed(
            "search",
            lambda: service.search(dn, config.user_filter, self._attributes(), 1, whole_tree=False),
        )
        if not again or self._id(again[0]) != self._id(entry):
            raise Refused(AuthReason.UNKNOWN_USER, NOT_ADMITTED)
        if self._name_of(again[0], question.name) is None:
            raise Refused(AuthReason.UNKNOWN_USER, NOT_ADMITTED)
        return again[0]

    def _bind_user(self, dn: str, password: str) -> Answer:
        """Bind on a connection of its own, so that the service's keeps its own rights."""
        link = self._use(Link(self._config, self._context, self._server))
        try:
            self._timed("connect", link.open)
            return self._timed("bind", lambda: link.bind("bind", dn, password.encode("utf-8")))
        finally:
            self._let_go(link)
            link.close()

    def _refusal(self, entry: Entry, answer: Answer) -> Refused:
        """Why the bind failed, for the audit log; the text is the same unless something was proved."""
        if answer.code in (codes.UNWILLING, codes.CONSTRAINT_VIOLATION):
            # 389 Directory Server: inactivated, or too many wrong passwords.
            return Refused(AuthReason.ACCOUNT_LOCKED, NOT_ADMITTED)
        told = next((state for words, state in _AD_STATES.items() if words in answer.message), None)
        if answer.code == codes.INVALID_CREDENTIALS and told is AccountState.PASSWORD_MUST_CHANGE:
            # Active Directory says so only when the old password was right.
            return Refused(STATE_REASONS[told], STATE_TEXTS[told])
        state = told or self._state(entry)
        if state in (AccountState.LOCKED, AccountState.EXPIRED):
            return Refused(STATE_REASONS[state], NOT_ADMITTED)
        return Refused(AuthReason.BAD_PASSWORD, NOT_ADMITTED)

    def _read(self, service: Link, question: Question, entry: Entry) -> Found:
        config = self._config
        uid = self._id(entry)
        name = self._name_of(entry, question.name)
        assert name is not None
        try:
            known = question.known_groups
            recent = known[1] if known is not None and known[0] == uid else None
            groups, searched = self._groups.of(self._search(service), entry, name, recent)
        except TooMany as many:
            raise Refused(AuthReason.DIRECTORY_UNAVAILABLE, str(many)) from None
        keys, unusable = authorised_keys(entry, config.key_attribute)
        # Read to the end whatever the state is, so that it does not show in the time.
        state = self._state(entry)
        return Found(Account(name, uid, groups, keys, "ldap", state), searched, unusable)

    def _state(self, entry: Entry) -> AccountState:
        limits = StateLimits(self._config.lockout, self._config.password_age)
        return account_state(entry, self._clock.time(), limits)

    def _search_as_if(self, service: Link, question: Question) -> None:
        """The search for groups of a name that does not exist, unless an account would not need it now either."""
        if question.known_groups is None:
            with contextlib.suppress(TooMany):
                self._groups.as_if(self._search(service), self._decoy, question.name)

    def _search(self, service: Link) -> Search:
        """A search below a base, timed; it raises ServerFailed."""
        return lambda *asked: self._timed("search", lambda: service.search(*asked))

    @property
    def _decoy(self) -> str:
        config = self._config
        return config.decoy_dn or f"{config.name_attribute}={NO_ACCOUNT},{config.user_base}"

    # -- small things ----------------------------------------------------------------------------------------

    def _attributes(self) -> list[str]:
        config = self._config
        wanted = (
            config.name_attribute,
            *config.login_attributes,
            config.id_attribute,
            config.key_attribute,
            *STATE_ATTRIBUTES,
        )
        return [*wanted, *self._groups.attributes()]

    def _name_of(self, entry: Entry, asked: str) -> str | None:
        return account_name(entry, self._config.name_attribute, self._config.login_attributes, asked)

    def _id(self, entry: Entry) -> str:
        uid = immutable_id(entry, self._config.id_attribute)
        if uid is None:
            text = f"its entries show no usable {self._config.id_attribute} to the service account"
            self._report.failure("search", "malformed")
            raise ServerFailed("search", "malformed", text)
        return uid

    def _timed(self, operation: str, call: Callable[[], T]) -> T:
        begun = self._clock.monotonic()
        try:
            result = call()
            self._untried = False
            return result
        except ServerFailed as failed:
            if self._untried and failed.error == "unavailable":
                raise _Stale from None
            self._report.failure(operation, failed.error)
            raise
        finally:
            self._report.operation(operation, self._clock.monotonic() - begun)
