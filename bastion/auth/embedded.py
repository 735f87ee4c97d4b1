"""The embedded directory: a TOML file of users (L2), for break-glass accounts, small sites and `make run`.

    [users.alice]
    password = "$argon2id$v=19$..."        # bastion hash-password
    keys = ["ssh-ed25519 AAAA... alice"]
    groups = ["sre"]

Invariants: every fault of the file is found when it is read, with file, line and key; the file cannot be read
by others or changed by anybody but its owner; an unknown name costs the same hash as a wrong password.
"""

from __future__ import annotations

import base64
import os
import re
import stat
import tomllib
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

import argon2
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError
from twisted.internet.defer import Deferred, fail, succeed

from bastion.auth.directory import (
    NOT_ADMITTED,
    OPERATOR,
    UNAVAILABLE,
    Asker,
    Servers,
    Verdict,
    check_password_shape,
    normal_name,
    refuse_unless_active,
)
from bastion.auth.identity import LOGIN_NAME, Account, AccountState, Identity, Service, group_form
from bastion.auth.password_hashes import fault_of
from bastion.auth.restrictions import AddressList
from bastion.auth.workers import DeadlinePassed, QueueFull, ThreadReactor, Workers, WorkersClosed
from bastion.errors import AuthReason, BastionError, ConfigError, ProtocolError, Refused
from bastion.options import At, Kind, Problems, Source, Unreadable, did_you_mean, option, read, shown
from bastion.options.kinds import BOOLEAN, NETWORK, Network, choice, list_of, optional, quoted, text
from bastion.options.positions import key_lines
from bastion.wire.keys import AuthorizedKey, PublicKey, parse_authorized_key

# 4 MiB is about 10,000 users with two keys each; read at start and reload, never per login.
MAX_FILE = 4 << 20
# Hashes computed at the same time: 64 MiB each by default.
HASH_THREADS = 2
# Logins that may wait for one: the default of limits.startups. At 50 ms a hash two threads serve 40 a second.
HASH_QUEUE = 1000
# Seconds for waiting and hashing; a login is never left waiting longer.
HASH_DEADLINE = 10.0

_GROUP = re.compile(r"\A[^\x00-\x1f\x7f]{1,255}\Z")
_TARGET = re.compile(r"\A[a-z0-9._@*?-]{1,253}\Z")
_ID = re.compile(r"\A[\x21-\x7e]{1,128}\Z")


def _read_hash(value: object, at: At) -> str:
    if not isinstance(value, str):
        raise at.wrong("is not an argon2id hash", HASH.allowed)
    fault = fault_of(value)
    if fault:
        raise at.wrong(fault, HASH.allowed)
    return value


# Written as hidden: a dump of the configuration is pasted into tickets.
HASH: Kind[str] = Kind(
    "argon2id hash", "the output of `bastion hash-password`", _read_hash, lambda _: '"(hidden)"'
)


def _read_key(value: object, at: At) -> AuthorizedKey:
    try:
        return parse_authorized_key(value if isinstance(value, str) else "")
    except ProtocolError as error:
        raise at.wrong(error.text, KEY.allowed) from None


KEY: Kind[AuthorizedKey] = Kind(
    "authorised key",
    'a line as in authorized_keys: "[options] ssh-ed25519 AAAA... [comment]"',
    _read_key,
    lambda value: quoted(f"{value.key.type} {base64.b64encode(value.key.blob).decode()}"),
)


def _read_expiry(value: object, at: At) -> int:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return int(value.timestamp())
    if isinstance(value, date) and not isinstance(value, datetime):
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())
    raise at.wrong(f"{shown(value)} is no date", EXPIRY.allowed)


EXPIRY: Kind[int] = Kind("date", "2027-01-31, or 2027-01-31T12:00:00+01:00", _read_expiry, str)
_BY_NAME = "embedded:"  # begins the id of an account that was given none


def has_own_id(account: Account | Identity) -> bool:
    """False for an account of the file whose id is made of its name, which another may have tomorrow."""
    return not account.uid.startswith(_BY_NAME)


@dataclass(frozen=True, slots=True)
class UserEntry:
    """One `[users.NAME]`."""

    name: str
    password: str | None = option(
        optional(HASH), "The password's hash. Not set: no login by password.", default=None
    )
    keys: tuple[AuthorizedKey, ...] = option(list_of(KEY), "Public keys that may log in.", default=())
    groups: tuple[str, ...] = option(
        list_of(text("group name", _GROUP, "1 to 255 characters")),
        "Groups. Case does not count, here and in the policy.",
        default=(),
    )
    id: str | None = option(
        optional(text("id", _ID, "1 to 128 visible ASCII characters")),
        "An id that stays when the user is renamed. Not set: embedded:NAME.",
        default=None,
    )
    disabled: bool = option(BOOLEAN, "Refuse this user, and keep the name taken.", default=False)
    kind: str = option(
        choice("person", "service"),
        "A service is a program: key or certificate only, from its networks, until it expires, and only for rules that"
        " name it.",
        default="person",
    )
    owner: str | None = option(
        optional(text("owner", _GROUP, "1 to 255 characters")), "Who answers for a service.", default=None
    )
    expires: int | None = option(
        optional(EXPIRY),
        "When a service ends: a date (its first second, UTC) or a date and time.",
        default=None,
    )
    sources: tuple[Network, ...] = option(
        list_of(NETWORK), "Networks that a service comes from.", default=(), example='["10.0.0.5"]'
    )
    break_glass: bool = option(
        BOOLEAN,
        "An account for emergencies: closed while the directory works, without a password, always with a one-time code"
        " and a reason (`docs/directory.md`).",
        default=False,
    )
    targets: tuple[str, ...] = option(
        list_of(text("pattern", _TARGET, "letters, digits and . _ - @, * and ?")),
        "All that a break-glass account reaches, of what rules give it: names of targets, * and ? stand for others.",
        default=(),
    )

    def validate(self, at: At) -> None:
        self._check_service(at)
        self._check_break_glass(at)

    def _check_service(self, at: At) -> None:
        """A service has all that binds it, and a person has nothing of it."""
        needed = {"owner": self.owner, "expires": self.expires, "sources": self.sources}
        if self.kind == "person":
            for key in (key for key, value in needed.items() if value):
                at.child(key).wrong("has no effect on a person", 'kind = "service"')
            return
        for key in (key for key, value in needed.items() if not value):
            at.wrong(f"is a service and needs {key}", f"{key} = ...")
        if self.password is not None:
            at.child("password").wrong("a service has none", "a key or a certificate")
        if self.groups:
            at.child("groups").wrong("a service has none: rules name it in `users`", "without groups")

    def _check_break_glass(self, at: At) -> None:
        """Nobody breaks the glass by a password, or to everything at once without saying so."""
        if not self.break_glass:
            if self.targets:
                at.child("targets").wrong(
                    "is for break-glass accounts: rules say what others reach", "break_glass"
                )
            return
        if self.kind != "person":
            at.child("kind").wrong("is none for a break-glass account", 'kind = "person"')
        if self.password is not None:
            at.child("password").wrong("is none for a break-glass account", "keys, or certificates")
        if not self.targets:
            at.child("targets").wrong("is needed by a break-glass account", '["db1", "web*"]')
        if self.id is None:
            at.child("id").wrong(
                "is needed by a break-glass account: its one-time codes hang on it", '"emergency-1"'
            )

    def account(self) -> Account:
        """The account, with its state."""
        state = AccountState.LOCKED if self.disabled else AccountState.ACTIVE
        uid = self.id or _BY_NAME + self.name
        groups = frozenset(map(group_form, self.groups))
        return Account(self.name, uid, groups, self.keys, "embedded", state, self._service(), self.targets)

    def _service(self) -> Service | None:
        if self.kind != "service":
            return None
        assert self.owner is not None and self.expires is not None
        networks = tuple((False, network) for network in self.sources)
        return Service(self.owner, self.expires, AddressList(",".join(map(str, self.sources)), networks))


Users = Mapping[str, UserEntry]


def services_of(users: Users | None) -> frozenset[str]:
    """The names of programs' accounts."""
    return frozenset(name for name, user in (users or {}).items() if user.kind == "service")


def load_users(path: str | os.PathLike[str]) -> Users:
    """Read and check the file. Raises ConfigError (`ConfigErrors` with every fault of its contents)."""
    name = os.fspath(path)
    try:
        with open(name, "rb", opener=_open_at_once) as opened:
            _check_owner(name, os.fstat(opened.fileno()))
            content = opened.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            raise ConfigError(name, 0, "", f"is longer than {MAX_FILE} bytes")
        if content.startswith(BOM_UTF8):
            raise ConfigError(name, 1, "", "begins with a byte order mark", "UTF-8 without one")
        return parse_users(content.decode("utf-8"), name)
    except OSError as error:
        raise ConfigError(name, 0, "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(name, 0, "", "is not UTF-8") from None


def _open_at_once(path: str, flags: int) -> int:
    """A FIFO in the file's place must not hold the gateway up."""
    return os.open(path, flags | os.O_NONBLOCK)


def _check_owner(path: str, status: os.stat_result) -> None:
    """Hashes invite guessing, and a line added is an account; so others may do neither."""
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(path, 0, "", "is not a regular file")
    mode = stat.S_IMODE(status.st_mode)
    if mode & (stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH):
        raise ConfigError(path, 0, "", f"mode {mode:04o} lets others read or change it", "0600 or 0640")
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(path, 0, "", f"belongs to uid {status.st_uid}", "root or the gateway's own user")


def parse_users(content: str, file: str) -> Users:
    """Read the TOML text; `file` is for error texts. Raises ConfigErrors, ConfigError."""
    content = content.replace("\r\n", "\n")
    try:
        document = tomllib.loads(content)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # Python 3.11 tells the line only in words: "(at line 3, column 7)".
        found = re.search(r"\(at line ([0-9]+)", str(error))
        raise ConfigError(file, int(found[1]) if found else 0, "", f"is not TOML: {error}") from None
    problems = Problems()
    lines = key_lines(content)
    for path, line in list(lines.items()):
        lines.setdefault(path[:1], line)  # a table that has no header of its own begins with its first child
    at = At(Source(file, lines=lines), problems)
    for key in document:
        if key != "users":
            at.child(key).wrong(f"unknown table{did_you_mean(key, ['users'])}", "[users.NAME]")
    tables = document.get("users", {})
    if not isinstance(tables, dict):
        at.child("users").wrong("must be a table", "[users.NAME]")
        tables = {}
    users: dict[str, UserEntry] = {}
    for name, table in tables.items():
        user = _read_user(name, table, at.child("users").child(name))
        if user is not None:
            users[name] = user
    _check_ids(users, at.child("users"))
    problems.raise_any()
    return users


def _read_user(name: str, table: object, at: At) -> UserEntry | None:
    if not LOGIN_NAME.match(name):
        at.wrong(f"{shown(name)} is no login name", "a-z or _, then a-z 0-9 _ . -; at most 32 characters")
        return None
    try:
        return read(UserEntry, table, at, name=name)
    except Unreadable:
        return None


def _check_ids(users: Users, at: At) -> None:
    seen: dict[str, str] = {}
    for name, user in users.items():
        other = seen.setdefault(user.account().uid, name)
        if other != name:
            at.child(name).child("id").wrong(f"is the id of {other} as well", "an id of its own")


class EmbeddedDirectory:
    """A `Directory` over users that were read before. Passwords are verified in threads of its own.

    Without a reactor it can be asked for names and accounts, but refuses every password.
    """

    def __init__(self, users: Users, reactor: ThreadReactor | None = None, queue: int = HASH_QUEUE) -> None:
        self._users = dict(users)
        self._workers = None if reactor is None else Workers(reactor, "argon2", HASH_THREADS, queue)
        self._decoy = _decoy_hash(self._users)

    @classmethod
    def load(cls, path: str | os.PathLike[str], reactor: ThreadReactor | None = None) -> EmbeddedDirectory:
        """The directory in a file. Raises ConfigError as `load_users` does."""
        return cls(load_users(path), reactor)

    def __contains__(self, name: object) -> bool:
        return name in self._users

    def servers(self) -> Servers:
        return Servers(0, 0, local=bool(self._users))

    def holders_of(self, key: PublicKey, comment: str, asker: Asker = OPERATOR) -> Deferred[frozenset[str]]:
        having = (user for user in self._users.values() if any(one.key.blob == key.blob for one in user.keys))
        return succeed(frozenset(user.account().uid for user in having))

    def ask_again(self) -> Deferred[None]:
        return succeed(None)

    def lookup(self, name: str, asker: Asker = OPERATOR) -> Deferred[Account]:
        try:
            user = self._users.get(normal_name(name))
            if user is None:
                raise Refused(AuthReason.UNKNOWN_USER, NOT_ADMITTED)
            account = user.account()
            refuse_unless_active(account.state, proved=False)
        except Refused as refused:
            return fail(refused)
        return succeed(account)

    def check_key(
        self, name: str, judge: Callable[[Account], Verdict], asker: Asker = OPERATOR
    ) -> Deferred[Verdict]:
        return self.lookup(name, asker).addCallback(judge)

    def check_password(self, name: str, password: str, asker: Asker = OPERATOR) -> Deferred[Account]:
        return Deferred.fromCoroutine(self._check_password(name, password, asker))

    def close(self) -> None:
        if self._workers is not None:
            self._workers.close()

    async def _check_password(self, name: str, password: str, asker: Asker) -> Account:
        name = normal_name(name)
        check_password_shape(password)
        user = self._users.get(name)
        stored = self._decoy if user is None or user.password is None else user.password
        right = await self._is_right(stored, password, asker)
        if user is None:
            raise Refused(AuthReason.UNKNOWN_USER, NOT_ADMITTED)
        account = user.account()
        if not right or user.password is None:
            refuse_unless_active(account.state, proved=False)
            raise Refused(AuthReason.BAD_PASSWORD, NOT_ADMITTED)
        refuse_unless_active(account.state, proved=True)
        return account

    async def _is_right(self, stored: str, password: str, asker: Asker) -> bool:
        if self._workers is None:
            raise Refused(AuthReason.DIRECTORY_UNAVAILABLE, UNAVAILABLE)
        try:
            return await self._workers.run(lambda: _verify(stored, password), HASH_DEADLINE, asker=asker)
        except DeadlinePassed:
            raise Refused(AuthReason.DIRECTORY_TIMEOUT, UNAVAILABLE) from None
        except (QueueFull, WorkersClosed):
            raise Refused(AuthReason.DIRECTORY_UNAVAILABLE, UNAVAILABLE) from None
        except _HashFailed:
            raise Refused(AuthReason.INTERNAL_ERROR, UNAVAILABLE) from None


class _HashFailed(BastionError):
    """argon2 could not compute at all: no memory, for example."""


def _verify(stored: str, password: str) -> bool:
    """Whether the hash is the password's. Takes 50 ms and 64 MiB by default: that is why there are threads."""
    try:
        return argon2.PasswordHasher().verify(stored, password)
    except VerifyMismatchError:
        return False
    except (Argon2Error, InvalidHashError, MemoryError):
        raise _HashFailed("argon2 could not verify") from None


def _decoy_hash(users: Users) -> str:
    """A hash that no password has (its digest is random), as costly as the costliest of the file."""
    defaults = argon2.PasswordHasher()
    costs = [(defaults.memory_cost, defaults.time_cost, defaults.parallelism)]
    stored = [argon2.extract_parameters(user.password) for user in users.values() if user.password]
    if stored:
        costs = [(found.memory_cost, found.time_cost, found.parallelism) for found in stored]
    memory, time, lanes = max(costs, key=lambda cost: cost[0] * cost[1])
    salt, digest = (base64.b64encode(os.urandom(size)).decode().rstrip("=") for size in (16, 32))
    return f"$argon2id$v=19$m={memory},t={time},p={lanes}${salt}${digest}"
