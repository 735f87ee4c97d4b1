"""Logins against a real slapd: what it answers, what it must never be asked, and what happens when it fails."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError

from bastion.auth.budget import Budget, Payer, Work
from bastion.auth.directory import NOT_ADMITTED, OFFLINE, Asker
from bastion.auth.identity import Account
from bastion.auth.ldap import QUEUE, LdapDirectory
from bastion.auth.ldap_attempt import Attempt, Question
from bastion.auth.ldap_config import LdapConfig, ServerAddress, read_bind_password, tls_context
from bastion.auth.ldap_dn import dn_form
from bastion.auth.ldap_entry import Entry
from bastion.auth.ldap_groups import GroupReader
from bastion.auth.ldap_link import MAX_ANSWERS, Link
from bastion.auth.ldap_pool import MAX_AGE, MAX_IDLE, ServicePool
from bastion.clock import Clock, FixedClock, SystemClock
from bastion.errors import AuthReason, Refused
from bastion.observe.families.directory import LDAP_ERRORS, LDAP_OPERATIONS
from bastion.wire.keys import PrivateKey
from tests.support import reactor
from tests.support.faulty_proxy import FaultyProxy, anything, contains
from tests.support.net import LOOPBACK, free_port
from tests.support.pki import Authority, Issued
from tests.support.slapd import (
    GROUPS,
    PASSWORD,
    PEOPLE,
    READER,
    READER_PASSWORD,
    SERVER_NAME,
    SUFFIX,
    Slapd,
    group,
    nested,
    person,
    slapd_missing,
)
from tests.unit.auth.test_ldap_entry import key_line

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(slapd_missing()), reason=slapd_missing() or "slapd is here"),
]

KEYS = [key_line(), key_line()]
# Twenty times what these operations take here, far below any deadline that is not under test.
PROMPT = 4.0
PLAYGROUND = f"ou=playground,{SUFFIX}"
# A domain's account, and its group 513 ("Domain Users"), as Active Directory writes them.
SID = bytes.fromhex("010500000000000515000000010000000200000003000000" + "51040000")
GUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
DOMAIN_USERS = SID[:-4] + (513).to_bytes(4, "little")
ODD_DN = r"cn=Smith\, J \28x*\29\5c"


class Watch:
    """An observer that remembers, and on which a test can wait until the threads are idle."""

    def __init__(self) -> None:
        self.operations: list[str] = []
        self.failures: list[tuple[str, str]] = []
        self.ways: list[str] = []
        self.stuck = self.waiting = self.connections = 0
        self._in_use = 0
        self._changed = threading.Condition()

    def operation(self, name: str, seconds: float) -> None:
        assert seconds >= 0 and name in LDAP_OPERATIONS
        self.operations.append(name)

    def lookup(self, way: str) -> None:
        self.ways.append(way)

    def failure(self, name: str, error: str) -> None:
        assert name in LDAP_OPERATIONS and error in LDAP_ERRORS
        self.failures.append((name, error))

    @property
    def in_use(self) -> int:
        return self._in_use

    @in_use.setter
    def in_use(self, count: int) -> None:
        with self._changed:
            self._in_use = count
            self._changed.notify_all()

    def wait_idle(self, timeout: float = 10.0) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._in_use == 0, timeout), "a thread never came back"


class Trap:
    """A server that nobody may ever connect to."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.setblocking(False)
        self.url = f"ldap://{LOOPBACK}:{self._listener.getsockname()[1]}"

    def was_entered(self) -> bool:
        try:
            self._listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    made = Trap()
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(trap: Trap) -> Iterator[Slapd]:
    keys = [f"sshPublicKey: {line}" for line in (KEYS[0], "nonsense", f"no-such-option {KEYS[1]}", KEYS[1])]
    elsewhere = f"memberOf: cn=admins,ou=playground,{SUFFIX}"
    made = Slapd(
        [
            person("alice", *keys, f"memberOf: cn=sre,{GROUPS}", elsewhere),
            person("bob"),
            person("Carol"),
            person("odd", rdn=ODD_DN, password="´½² пароль"),
            person("keyonly", f"sshPublicKey: {KEYS[0]}", password=None),
            person("twin", rdn="cn=twin1"),
            person("twin", "mail: twin@corp.example", rdn="cn=twin2"),
            *[person("many", rdn=f"cn=many{number}") for number in range(5)],
            person("locked", "pwdAccountLockedTime: 000001010000Z"),
            person("inactive", "nsAccountLock: TRUE"),
            person("expired", "shadowExpire: 10000"),
            person("reset", "pwdReset: TRUE"),
            person("disabled", "userAccountControl: 514"),
            person("ended", "pwdEndTime: 20200101000000Z"),
            person("early", "pwdStartTime: 20990101000000Z"),
            person("aged", "shadowLastChange: 10000", "shadowMax: 90"),
            person("retried", "accountUnlockTime: 20990101000000Z"),
            person("stale389", "passwordExpirationTime: 19700101000000Z"),
            person("left", "krbPrincipalExpiration: 20200101000000Z"),
            person("staleipa", "krbPasswordExpiration: 20200101000000Z"),
            group("db", "alice", "bob"),
            person(
                "una",
                "userPrincipalName: una@corp.example",
                "mail: una.example@corp.example",
                "mail: u.n@other.example",
            ),
            person("ipa", "ipaUniqueID: 7c1d2a54-0001-11ee-b1f1-525400000001", f"ipaSshPubKey: {KEYS[0]}"),
            person("ipa2", f"ipaSshPubKey: {KEYS[1]} her laptop"),
            person(
                "ad",
                "sAMAccountName: DPorter",
                "userPrincipalName: D.Porter@corp.example",
                f"objectGUID:: {b64encode(GUID.bytes_le).decode()}",
            ),
            person("copy1", "mail: both@corp.example"),
            person("copy2", "userPrincipalName: both@corp.example"),
            f"dn: cn=two,{PEOPLE}\nobjectClass: inetOrgPerson\ncn: two\nsn: x\nuid: two1\nuid: two2\n"
            f"mail: two@corp.example\nuserPassword: {PASSWORD}\n",
            f"dn: cn=named,{GROUPS}\nobjectClass: posixGroup\ncn: named\ngidNumber: 8\nmemberUid: una\n",
            person("nina", f"objectSid:: {b64encode(SID).decode()}", "primaryGroupID: 513"),
            nested("inner", f"uid=nina,{PEOPLE}", f"cn=outer,{GROUPS}"),
            nested("middle", f"cn=inner,{GROUPS}"),
            nested("outer", f"cn=middle,{GROUPS}", f"cn=inner,{GROUPS}"),
            *[
                nested(f"level{number}", f"cn={'outer' if number == 1 else f'level{number - 1}'},{GROUPS}")
                for number in range(1, 8)
            ],
            f"dn: {PLAYGROUND}\nobjectClass: organizationalUnit\nou: playground\n",
            nested("sre", f"uid=nina,{PEOPLE}", f"cn=inner,{GROUPS}", base=PLAYGROUND),
            nested("vault", f"cn=sre,{PLAYGROUND}"),
            nested(
                "Domain Users",
                f"cn=nobody,{GROUPS}",
                f"objectSid:: {b64encode(DOMAIN_USERS).decode()}",
            ),
            nested("everyone", f"cn=Domain Users,{GROUPS}"),
            f"dn: cn=odd,{GROUPS}\nobjectClass: groupOfNames\ncn: odd\nmember: {ODD_DN},{PEOPLE}\n",
            f"dn: cn=deploy,{GROUPS}\nobjectClass: posixGroup\ncn: deploy\ngidNumber: 7\nmemberUid: alice\n",
            f"dn: ou=elsewhere,{PEOPLE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\n"
            f"ref: {trap.url}/{PEOPLE}\n",
        ]
    )
    made.start()
    yield made
    made.close()


class Maker:
    """Makes directories for one test and closes them after it."""

    def __init__(self, server: Slapd, folder: Path) -> None:
        self._server = server
        self._made: list[LdapDirectory] = []
        self._secret = folder / "secret"
        self._secret.write_text(READER_PASSWORD)
        self._secret.chmod(0o600)

    def config(self, *urls: str, **changes: Any) -> LdapConfig:
        values: dict[str, Any] = {
            "servers": tuple(ServerAddress.parse(url) for url in urls or (self._server.url,)),
            "user_base": PEOPLE,
            "group_base": GROUPS,
            "bind_dn": READER,
            "bind_password_file": str(self._secret),
            "ca_file": str(self._server.authority.certificate),
        }
        return LdapConfig(**values | changes)

    def __call__(
        self,
        *urls: str,
        clock: Clock | None = None,
        watch: Watch | None = None,
        queue: int = QUEUE,
        **changes: Any,
    ) -> LdapDirectory:
        made = LdapDirectory(
            self.config(*urls, **changes), reactor.start(), clock or SystemClock(), watch or Watch(), queue
        )
        self._made.append(made)
        return made

    def close(self) -> None:
        for directory in self._made:
            reactor.run(directory.close)


@pytest.fixture
def make(server: Slapd, tmp_path: Path) -> Iterator[Maker]:
    made = Maker(server, tmp_path)
    with reactor.logged_failures() as failures:
        yield made
        made.close()
    assert failures == []
    assert [call for call in reactor.pending_calls() if "bastion.auth" in call or "Workers" in call] == []


@pytest.fixture
def proxy(server: Slapd) -> Iterator[FaultyProxy]:
    with FaultyProxy(server.port) as made:
        yield made


def ask(directory: LdapDirectory, name: str, password: str | None = None) -> Account | Refused:
    """The account, or the refusal."""
    try:
        if password is None:
            return reactor.run(directory.lookup, name)  # type: ignore[no-any-return]
        return reactor.run(directory.check_password, name, password)  # type: ignore[no-any-return]
    except Refused as refused:
        return refused


def reason(directory: LdapDirectory, name: str, password: str | None = None) -> AuthReason:
    """OK, or why not."""
    found = ask(directory, name, password)
    return AuthReason.OK if isinstance(found, Account) else AuthReason(found.reason)


def names(groups: frozenset[str]) -> set[str]:
    """The groups by name; each is there by its DN too."""
    return {group for group in groups if "=" not in group}


def bind_requests(server: Slapd) -> int:
    """How many binds have arrived since `forget`."""
    return sum(" BIND dn=" in line and "method=" in line for line in server.lines)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


# -- answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_right_password_gives_the_account(make: Maker, server: Slapd, scheme: str) -> None:
    account = ask(make(server.tls_url if scheme == "ldaps" else server.url), "alice", PASSWORD)
    assert isinstance(account, Account)
    assert (account.name, account.source) == ("alice", "ldap")
    assert names(account.groups) == {"sre", "db", "deploy"}  # admins stands outside group_base
    assert account.groups - names(account.groups) == {
        f"cn={name},{GROUPS}" for name in ("sre", "db", "deploy")
    }
    assert len(account.uid) == 36
    assert [key.key.blob for key in account.keys] == [
        key.key.blob for key in parsed_keys()
    ]  # the two bad values between them are left out
    assert any("ssf=256" in line and "BIND" in line for line in server.lines)


def parsed_keys() -> list[Any]:
    from bastion.wire.keys import parse_authorized_key

    return [parse_authorized_key(line) for line in KEYS]


def test_lookup_gives_the_same_account_without_a_password(make: Maker) -> None:
    directory = make()
    assert ask(directory, "alice") == ask(directory, "alice", PASSWORD)


@pytest.mark.parametrize("comment", ["", "another comment", "(x)*"])
def test_whose_key_it_is_by_any_value_that_has_it(make: Maker, comment: str) -> None:
    directory = make()
    ids = {name: ask(directory, name).uid for name in ("alice", "keyonly")}  # type: ignore[union-attr]
    first, second = parsed_keys()[:2]
    assert reactor.run(directory.holders_of, first.key, comment) == set(ids.values())
    assert reactor.run(directory.holders_of, second.key, comment) == {ids["alice"]}
    strange = PrivateKey.generate_ed25519().public
    assert reactor.run(directory.holders_of, strange, comment) == frozenset()


def test_whose_key_it_is_nobody_can_tell_without_a_server(make: Maker) -> None:
    directory = make("ldap://127.0.0.1:1")
    with pytest.raises(Refused) as refused:
        reactor.run(directory.holders_of, parsed_keys()[0].key, "")
    assert refused.value.reason is AuthReason.DIRECTORY_UNAVAILABLE


def test_whose_key_it_is_where_the_schema_compares_whole_values_only(make: Maker) -> None:
    """As FreeIPA's and most sites' do: the plain value, and the one with that comment."""
    directory = make(key_attribute="ipaSshPubKey")
    plain, commented = (one.key for one in parsed_keys()[:2])
    ids = [ask(directory, name).uid for name in ("ipa", "ipa2")]  # type: ignore[union-attr]
    assert reactor.run(directory.holders_of, plain, "any") == {ids[0]}
    assert reactor.run(directory.holders_of, commented, "her laptop") == {ids[1]}
    assert reactor.run(directory.holders_of, commented, "another") == frozenset()


def test_the_name_is_the_entrys_own_in_lower_case(make: Maker) -> None:
    directory = make()
    for asked in ("carol", "CAROL", "Carol"):
        account = ask(directory, asked, PASSWORD)
        assert isinstance(account, Account) and account.name == "carol"


def test_an_entry_with_an_awkward_dn_and_password(make: Maker) -> None:
    account = ask(make(), "odd", "´½² пароль")
    assert isinstance(account, Account) and names(account.groups) == {"odd"}


@pytest.mark.parametrize(
    ("name", "password", "expected"),
    [
        ("alice", "wrong", AuthReason.BAD_PASSWORD),
        ("alice", PASSWORD + " ", AuthReason.BAD_PASSWORD),
        ("nobody", PASSWORD, AuthReason.UNKNOWN_USER),
        ("keyonly", PASSWORD, AuthReason.BAD_PASSWORD),
        ("twin", PASSWORD, AuthReason.AMBIGUOUS_USER),
        ("many", PASSWORD, AuthReason.AMBIGUOUS_USER),
        ("locked", "wrong", AuthReason.ACCOUNT_LOCKED),
    ],
)
def test_refusals_read_the_same_and_bind_as_often(
    make: Maker, server: Slapd, name: str, password: str, expected: AuthReason
) -> None:
    server.forget()
    refused = ask(make(), name, password)
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.text) == (expected, NOT_ADMITTED)
    # The service account and one more, the user or the decoy: the work of a wrong password.
    server.wait_for(r"closed")
    assert bind_requests(server) == 2


def test_an_unknown_name_is_unknown_to_a_lookup(make: Maker) -> None:
    directory = make()
    assert reason(directory, "nobody") is AuthReason.UNKNOWN_USER
    assert reason(directory, "twin") is AuthReason.AMBIGUOUS_USER
    assert reason(directory, "keyonly") is AuthReason.OK


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("locked", AuthReason.ACCOUNT_LOCKED),
        ("inactive", AuthReason.ACCOUNT_LOCKED),
        ("disabled", AuthReason.ACCOUNT_LOCKED),
        ("expired", AuthReason.ACCOUNT_EXPIRED),
        ("reset", AuthReason.PASSWORD_MUST_CHANGE),
        ("aged", AuthReason.PASSWORD_MUST_CHANGE),
        # 389 Directory Server's and FreeIPA's attributes, in entries of their shape.
        ("retried", AuthReason.ACCOUNT_LOCKED),
        ("stale389", AuthReason.PASSWORD_MUST_CHANGE),
        ("left", AuthReason.ACCOUNT_EXPIRED),
        ("staleipa", AuthReason.PASSWORD_MUST_CHANGE),
    ],
)
def test_an_account_that_may_not_log_in_may_not_by_key_either(
    make: Maker, name: str, expected: AuthReason
) -> None:
    directory = make()
    told = ask(directory, name, PASSWORD)  # slapd itself lets each of them bind
    assert isinstance(told, Refused) and told.reason is expected and told.text != NOT_ADMITTED
    looked_up = ask(directory, name)
    assert isinstance(looked_up, Refused)
    assert (looked_up.reason, looked_up.text) == (expected, NOT_ADMITTED)


@pytest.mark.parametrize("name", ["ended", "early"])
def test_an_account_outside_its_time_may_not_log_in(make: Maker, name: str) -> None:
    """slapd's own policy refuses the bind (and says no more than of a wrong password); for a key, we do."""
    directory = make()
    assert reason(directory, name, PASSWORD) is AuthReason.ACCOUNT_EXPIRED
    assert reason(directory, name) is AuthReason.ACCOUNT_EXPIRED


def test_a_password_that_is_too_old_lets_nobody_in_by_key(make: Maker, server: Slapd) -> None:
    server.change(person("old").replace("objectClass", "changetype: add\nobjectClass", 1))
    # slapd notes pwdChangedTime itself when the password is changed.
    server.change(
        f"dn: uid=old,{PEOPLE}\nchangetype: modify\nreplace: userPassword\nuserPassword: {PASSWORD}\n"
    )
    clock = FixedClock(SystemClock().time())
    directory = make(clock=clock, lookup_ttl=0.0, password_age=86400.0)
    assert reason(directory, "old") is AuthReason.OK
    clock.advance(86460)
    assert reason(directory, "old") is AuthReason.PASSWORD_MUST_CHANGE
    assert reason(directory, "old", PASSWORD) is AuthReason.PASSWORD_MUST_CHANGE
    assert reason(make(clock=clock), "old") is AuthReason.OK


# -- other directories' words, in entries of their shape ----------------------------------------------------------


def test_keys_and_ids_as_freeipa_has_them(make: Maker) -> None:
    found = ask(make(key_attribute="ipaSshPubKey", id_attribute="ipaUniqueID"), "ipa", PASSWORD)
    assert isinstance(found, Account), found
    assert found.uid == "7c1d2a54-0001-11ee-b1f1-525400000001"
    assert [key.key.blob for key in found.keys] == [key.key.blob for key in parsed_keys()[:1]]


def test_names_and_ids_as_active_directory_has_them(make: Maker) -> None:
    directory = make(
        name_attribute="sAMAccountName", id_attribute="objectGUID", login_attributes=("userPrincipalName",)
    )
    for asked in ("DPorter", "d.porter@corp.example"):
        found = ask(directory, asked, PASSWORD)
        assert isinstance(found, Account), found
        assert (found.name, found.uid) == ("dporter", str(GUID))


# -- other names -----------------------------------------------------------------------------------------------

ALIASES = {"login_attributes": ("userPrincipalName", "mail")}


@pytest.mark.parametrize(
    "asked", ["una", "una@corp.example", "Una.Example@corp.example", "U.N@other.example"]
)
@pytest.mark.parametrize("password", [None, PASSWORD])
def test_principal_name_and_mail_lead_to_one_account(make: Maker, asked: str, password: str | None) -> None:
    directory = make(**ALIASES)
    found = ask(directory, asked, password)
    assert isinstance(found, Account), found
    assert (
        found == ask(directory, "una", password) and found.name == "una" and names(found.groups) == {"named"}
    )


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("nobody@corp.example", AuthReason.UNKNOWN_USER),
        ("both@corp.example", AuthReason.AMBIGUOUS_USER),  # two entries claim it
        ("twin@corp.example", AuthReason.AMBIGUOUS_USER),  # one does, and another has its name
        ("two@corp.example", AuthReason.UNKNOWN_USER),  # its entry has two names to be known by
        ("una", AuthReason.OK),
        ("*@corp.example", AuthReason.BAD_USER_NAME),
        ("una@corp.example)(uid=*", AuthReason.BAD_USER_NAME),
    ],
)
def test_an_alias_leads_to_one_account_or_to_none(make: Maker, asked: str, expected: AuthReason) -> None:
    assert reason(make(**ALIASES), asked) is expected
    if "@" in asked:
        assert reason(make(**ALIASES), asked, PASSWORD) is expected
        assert (
            reason(make(), asked) is AuthReason.BAD_USER_NAME
        )  # where no attribute has aliases, they are no names


def test_a_name_that_is_used_again_is_another_account(make: Maker, server: Slapd) -> None:
    """The id tells them apart: codes, locks and sessions hang on it."""
    entry = person("again", "mail: again@corp.example").replace(
        "objectClass", "changetype: add\nobjectClass", 1
    )
    directory = make(lookup_ttl=0.0, **ALIASES)
    server.change(entry)
    first = ask(directory, "again")
    server.change(f"dn: uid=again,{PEOPLE}\nchangetype: delete\n")
    server.change(entry)
    second = ask(directory, "again@corp.example")
    assert isinstance(first, Account) and isinstance(second, Account)
    assert first.name == second.name == "again" and first.uid != second.uid


# -- nested groups ---------------------------------------------------------------------------------------------


def groups_of(directory: LdapDirectory, name: str) -> set[str]:
    found = ask(directory, name)
    assert isinstance(found, Account), found
    return names(found.groups)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"inner"}),
        ({"nested_groups": "walk", "group_depth": 1}, {"inner", "middle", "outer"}),
        (
            {"nested_groups": "walk", "group_depth": 3},
            {"inner", "middle", "outer", "level1", "level2"},
        ),
        (
            {"nested_groups": "walk", "group_depth": 20},
            {"inner", "middle", "outer", *(f"level{number}" for number in range(1, 8))},
        ),
        # The group of that name elsewhere has nina for a member, and so has one of its own in turn.
        ({"group_base": PLAYGROUND, "nested_groups": "walk"}, {"sre"}),
    ],
)
def test_nested_groups_are_walked_with_a_circle_and_to_a_depth(
    make: Maker, server: Slapd, changes: dict[str, Any], expected: set[str]
) -> None:
    directory = make(**changes)
    assert groups_of(directory, "nina") == expected
    assert groups_of(directory, "bob") == ({"db"} if "group_base" not in changes else set())


def test_a_circle_costs_a_search_for_each_level(make: Maker, server: Slapd) -> None:
    directory = make(nested_groups="walk", watch=(watch := Watch()))
    groups_of(directory, "nina")
    reactor.run(lambda: None)
    assert watch.operations.count("search") == 1 + 1 + 5  # the account, its groups, and group_depth
    before = len(watch.operations)
    assert reason(directory, "nobody") is AuthReason.UNKNOWN_USER  # takes as many
    reactor.run(lambda: None)
    assert watch.operations[before:].count("search") == 1 + 1 + 5


def test_the_primary_group_counts_in_entries_of_active_directorys_shape(make: Maker) -> None:
    """objectSid and primaryGroupID, as there; slapd's schema for them is given the equality that it lacks."""
    assert groups_of(make(primary_group=True), "nina") == {"inner", "domain users"}
    walked = make(primary_group=True, nested_groups="walk", group_depth=1)
    assert groups_of(walked, "nina") == {"inner", "domain users", "middle", "outer", "everyone"}


def test_in_chain_is_the_servers_walk(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """slapd has no such rule, so it is stood in for: the filter is asked as Active Directory would understand it."""
    plain = Link.search

    def search(
        link: Link, base: str, filter: str, attributes: Sequence[str], limit: int, *, whole_tree: bool = True
    ) -> tuple[list[Entry], bool]:
        chained = re.fullmatch(r"(\(&.*\(\|)\(member:1\.2\.840\.113556\.1\.4\.1941:=(.*)\)\)\)", filter)
        if chained is None:
            return plain(link, base, filter, attributes, limit, whole_tree=whole_tree)
        found: dict[str | None, Entry] = {}
        level = [chained[2]]
        while level:
            entries = [
                entry for dn in level
                for entry in plain(link, base, f"{chained[1]}(member={dn})))", attributes, limit)[0]
            ]  # fmt: skip
            fresh = {dn_form(entry.dn): entry for entry in entries if dn_form(entry.dn) not in found}
            found |= fresh
            level = [entry.dn for entry in fresh.values()]
        return list(found.values()), False

    chain = make(nested_groups="in-chain", group_members=("member",), primary_group=True)
    assert groups_of(chain, "nina") == {"domain users"}  # slapd itself knows no entry that matches the rule
    monkeypatch.setattr(Link, "search", search)
    chain = make(nested_groups="in-chain", group_members=("member",), primary_group=True)
    up = {"inner", "middle", "outer", *(f"level{number}" for number in range(1, 8))}
    assert groups_of(chain, "nina") == up | {"domain users", "everyone"}


# -- what it is never asked ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "password", "expected"),
    [
        ("alice", "", AuthReason.EMPTY_PASSWORD),
        ("alice", "   ", AuthReason.EMPTY_PASSWORD),
        ("alice", "\0", AuthReason.EMPTY_PASSWORD),
        ("alice", "\0" + PASSWORD, AuthReason.BAD_PASSWORD),
        ("alice", PASSWORD + "\0", AuthReason.BAD_PASSWORD),
        ("alice", "x" * 1025, AuthReason.PASSWORD_TOO_LONG),
        ("*", PASSWORD, AuthReason.BAD_USER_NAME),
        ("alice)(uid=*", PASSWORD, AuthReason.BAD_USER_NAME),
        ("al*ce", PASSWORD, AuthReason.BAD_USER_NAME),
        ("alice\0", PASSWORD, AuthReason.BAD_USER_NAME),
        ("alice\\2a", PASSWORD, AuthReason.BAD_USER_NAME),
        ("", PASSWORD, AuthReason.BAD_USER_NAME),
    ],
)
def test_the_server_never_hears_of_it(make: Maker, name: str, password: str, expected: AuthReason) -> None:
    trap = Trap()
    try:
        assert reason(make(trap.url), name, password) is expected
        assert not trap.was_entered()
    finally:
        trap.close()


@pytest.mark.parametrize("name", ["*", "alice)(uid=*", "alice)(|(uid=*", "a*", "alice\0", "\\2a"])
def test_even_past_the_grammar_a_name_is_only_a_name(make: Maker, name: str) -> None:
    config = make.config()
    attempt = Attempt(
        config, tls_context(config), config.servers[0], read_bind_password(config), pool := ServicePool(1),
        SystemClock(), Watch(), GroupReader(config),
    )  # fmt: skip
    with pytest.raises(Refused) as caught:
        attempt.ask(Question(name))
    pool.close()
    assert caught.value.reason is AuthReason.UNKNOWN_USER


def test_referrals_are_never_followed(make: Maker, trap: Trap) -> None:
    watch = Watch()
    # Every search above met the reference below ou=people; this one meets it as the result itself.
    below = make(user_base=f"ou=elsewhere,{PEOPLE}", watch=watch)
    assert reason(below, "alice", PASSWORD) is AuthReason.DIRECTORY_UNAVAILABLE
    assert reason(make(), "alice", PASSWORD) is AuthReason.OK
    # slapd refers no bind, so a liar does. (ldap3 2.9.1 cannot read such an answer, and that is a failure too.)
    liar = Liar(lambda request: iter([result(request, 0x61, 10, trap.url.encode())]))
    try:
        referred = make(liar.url, allow_plaintext=True, watch=watch)
        assert reason(referred, "alice", PASSWORD) is AuthReason.DIRECTORY_UNAVAILABLE
    finally:
        liar.close()
    assert not trap.was_entered()
    assert watch.failures == [("search", "referral"), ("service_bind", "malformed")]


def test_a_changed_password_is_wrong_at_once(make: Maker, server: Slapd) -> None:
    directory = make()
    server.change(person("changing").replace("objectClass", "changetype: add\nobjectClass", 1))
    assert reason(directory, "changing", PASSWORD) is AuthReason.OK
    dn = f"dn: uid=changing,{PEOPLE}\nchangetype: modify\n"
    server.change(dn + "replace: userPassword\nuserPassword: other secret\n")
    assert reason(directory, "changing", PASSWORD) is AuthReason.BAD_PASSWORD
    assert reason(directory, "changing", "other secret") is AuthReason.OK


def test_groups_of_a_lookup_are_a_minute_old_at_most(make: Maker, server: Slapd) -> None:
    clock = FixedClock(SystemClock().time())
    directory = make(clock=clock, lookup_ttl=0.0)

    def groups(password: str | None = None) -> set[str]:
        found = ask(directory, "bob", password)
        assert isinstance(found, Account)
        return names(found.groups)

    assert groups() == {"db"}
    added = group("late", "bob").replace("objectClass", "changetype: add\nobjectClass", 1)
    server.change(added)
    clock.advance(30)
    assert groups() == {"db"}
    assert groups(PASSWORD) == {"db", "late"}  # a password login asks, and what it hears is remembered
    server.change(f"dn: cn=late,{GROUPS}\nchangetype: delete\n")
    clock.advance(59)
    assert groups() == {"db", "late"}
    clock.advance(1)
    assert groups() == {"db"}
    assert reason(make(clock=clock, group_ttl=0.0), "bob") is AuthReason.OK


@pytest.mark.parametrize("ttl", [0.0, 5.0])
def test_what_a_lookup_said_counts_as_long_as_it_is_stated(make: Maker, server: Slapd, ttl: float) -> None:
    """A "no" like a "yes": for 5 s what was said, then what is."""
    clock, name = FixedClock(SystemClock().time()), f"newcomer{ttl:.0f}"
    directory = make(clock=clock, lookup_ttl=ttl)
    dn = f"dn: uid={name},{PEOPLE}\nchangetype: modify\n"
    steps = [
        (person(name).replace("objectClass", "changetype: add\nobjectClass", 1), AuthReason.OK),
        (dn + "add: nsAccountLock\nnsAccountLock: TRUE\n", AuthReason.ACCOUNT_LOCKED),
        (dn + "delete: nsAccountLock\n", AuthReason.OK),
        (f"dn: uid={name},{PEOPLE}\nchangetype: delete\n", AuthReason.UNKNOWN_USER),
    ]
    said = reason(directory, name)
    assert said is AuthReason.UNKNOWN_USER
    for change, expected in steps:
        server.change(change)
        if ttl:
            clock.advance(ttl - 0.1)
            assert reason(directory, name) is said
            clock.advance(0.1)
        said = reason(directory, name)
        assert said is expected


def test_a_password_is_asked_every_time(make: Maker, server: Slapd) -> None:
    watch = Watch()
    directory = make(watch=watch)
    assert reason(directory, "alice") is AuthReason.OK
    server.forget()
    for password in (PASSWORD, "wrong", PASSWORD):
        assert (reason(directory, "alice", password) is AuthReason.OK) == (password == PASSWORD)
    assert server.binds(f"uid=alice,{PEOPLE}") == 3
    assert watch.ways == ["asked"]


def test_a_dead_directory_is_not_remembered(make: Maker, server: Slapd) -> None:
    directory = make(clock=FixedClock(SystemClock().time()), rest=0.0)
    server.stop()
    try:
        assert reason(directory, "alice") is AuthReason.DIRECTORY_UNAVAILABLE
    finally:
        server.start()
    assert reason(directory, "alice") is AuthReason.OK


CERTIFIED = Asker(None, certified=True)


def certified_reason(directory: LdapDirectory, name: str) -> AuthReason:
    """OK, or why not, of whoever has shown a certificate for that name."""
    try:
        found: Account = reactor.run(directory.lookup, name, CERTIFIED)
    except Refused as refused:
        return AuthReason(refused.reason)
    assert found.source in ("ldap", OFFLINE)
    return AuthReason.OK


@pytest.mark.parametrize("way", ["lookup", "password"])
def test_a_certificate_may_be_judged_by_what_a_dead_directory_said_last(
    make: Maker, server: Slapd, way: str
) -> None:
    clock, watch = FixedClock(SystemClock().time()), Watch()
    directory = make(
        clock=clock, watch=watch, rest=0.0, lookup_ttl=0.0, group_ttl=0.0, certificates_offline=3600.0
    )
    said = ask(directory, "alice", None if way == "lookup" else PASSWORD)
    assert reason(directory, "locked") is AuthReason.ACCOUNT_LOCKED
    server.stop()
    try:
        clock.advance(3599)
        known = reactor.run(directory.lookup, "Alice", CERTIFIED)
        assert isinstance(said, Account) and (known.uid, known.groups, known.keys) == (
            said.uid,
            said.groups,
            (),
        )
        assert known.source == OFFLINE and watch.ways[-1] == "offline"
        # Nobody else is, and nobody who was not seen; a "no" stays one.
        assert reason(directory, "alice") is AuthReason.DIRECTORY_UNAVAILABLE
        assert reason(directory, "alice", PASSWORD) is AuthReason.DIRECTORY_UNAVAILABLE
        assert certified_reason(directory, "bob") is AuthReason.DIRECTORY_UNAVAILABLE
        assert certified_reason(directory, "locked") is AuthReason.ACCOUNT_LOCKED
        clock.advance(1)
        assert certified_reason(directory, "alice") is AuthReason.DIRECTORY_UNAVAILABLE
    finally:
        server.start()
    assert certified_reason(directory, "alice") is AuthReason.OK


def test_a_directory_that_answers_is_believed_and_not_what_it_said_before(make: Maker, server: Slapd) -> None:
    directory = make(rest=0.0, lookup_ttl=0.0, certificates_offline=3600.0)
    server.change(person("leaver").replace("objectClass", "changetype: add\nobjectClass", 1))
    dn = f"dn: uid=leaver,{PEOPLE}\nchangetype: modify\n"
    assert certified_reason(directory, "leaver") is AuthReason.OK
    server.change(dn + "add: nsAccountLock\nnsAccountLock: TRUE\n")
    assert certified_reason(directory, "leaver") is AuthReason.ACCOUNT_LOCKED
    server.stop()
    try:
        assert certified_reason(directory, "leaver") is AuthReason.ACCOUNT_LOCKED
    finally:
        server.start()
    server.change(f"dn: uid=leaver,{PEOPLE}\nchangetype: delete\n")
    assert certified_reason(directory, "leaver") is AuthReason.UNKNOWN_USER


def test_what_was_said_of_an_account_counts_under_its_other_names_too(make: Maker, server: Slapd) -> None:
    directory = make(rest=0.0, lookup_ttl=0.0, certificates_offline=3600.0, **ALIASES)
    entry = person("goer", "mail: goer@corp.example")
    server.change(entry.replace("objectClass", "changetype: add\nobjectClass", 1))
    assert certified_reason(directory, "goer@corp.example") is AuthReason.OK
    dn = f"dn: uid=goer,{PEOPLE}\nchangetype: modify\n"
    server.change(dn + "add: nsAccountLock\nnsAccountLock: TRUE\n")
    assert certified_reason(directory, "goer") is AuthReason.ACCOUNT_LOCKED
    server.stop()
    try:
        assert certified_reason(directory, "goer@corp.example") is AuthReason.ACCOUNT_LOCKED
    finally:
        server.start()
    server.change(f"dn: uid=goer,{PEOPLE}\nchangetype: delete\n")


def test_without_being_told_to_nobody_logs_in_on_what_was(make: Maker, server: Slapd) -> None:
    directory = make(rest=0.0, lookup_ttl=0.0)
    assert certified_reason(directory, "alice") is AuthReason.OK
    server.stop()
    try:
        assert certified_reason(directory, "alice") is AuthReason.DIRECTORY_UNAVAILABLE
    finally:
        server.start()


# -- many at once ----------------------------------------------------------------------------------------------


def outcomes(calls: list[Any]) -> list[AuthReason]:
    """How submitted questions ended, in order."""
    found = []
    for call in calls:
        try:
            call.result(60.0)
            found.append(AuthReason.OK)
        except Refused as refused:
            found.append(AuthReason(refused.reason))
    return found


def test_an_honest_burst_of_logins_is_let_in(make: Maker, server: Slapd) -> None:
    """Sixty at once, from one office, with a healthy directory."""
    directory = make(server.tls_url, timeout=60.0, deadline=60.0)
    office = Asker(Budget(SystemClock()).source("192.0.2.1"))
    logins = [reactor.submit(directory.check_password, "alice", PASSWORD, office) for _ in range(60)]
    assert outcomes(logins) == [AuthReason.OK] * 60


def test_key_queries_keep_no_password_out(make: Maker, server: Slapd, proxy: FaultyProxy) -> None:
    """One source keeps sixty free questions open; twelve right passwords come behind them and go before them."""
    budget = Budget(SystemClock())
    stranger, office = Asker(budget.source("198.51.100.1"), query=True), Asker(budget.source("192.0.2.1"))
    proxy.stall()
    directory = make(
        proxy.url, allow_plaintext=True, threads=1, timeout=60.0, deadline=60.0, connect_timeout=60.0
    )
    order: list[str] = []

    def noted(question: Any, who: str) -> Any:
        return question.addBoth(lambda result: order.append(who) or result)

    def both() -> None:
        for number in range(60):
            flood.append(noted(directory.lookup(f"guess{number}", stranger), "query"))
        for _ in range(12):
            honest.append(noted(directory.check_password("alice", PASSWORD, office), "password"))

    flood: list[Any] = []
    honest: list[Any] = []
    reactor.run(both)
    assert (directory.in_use, directory.waiting) == (1, 71)
    assert budget.held(Payer.SOURCE, Work.DIRECTORY) == 72
    proxy.heal()
    assert outcomes([reactor.submit(lambda d=d: d) for d in honest]) == [AuthReason.OK] * 12
    assert outcomes([reactor.submit(lambda d=d: d) for d in flood]) == [AuthReason.UNKNOWN_USER] * 60
    # One query had the thread before the first password came.
    assert order[:13] == ["query"] + ["password"] * 12
    assert budget.held(Payer.SOURCE, Work.DIRECTORY) == 0


def test_one_name_is_asked_once_however_many_ask(make: Maker, server: Slapd, proxy: FaultyProxy) -> None:
    watch = Watch()
    proxy.stall()
    directory = make(proxy.url, allow_plaintext=True, watch=watch)
    server.forget()
    asked = [reactor.submit(directory.lookup, "alice") for _ in range(20)]
    assert proxy.held.wait(10)
    asked[0].cancel()
    proxy.heal()
    assert {call.result(10.0).name for call in asked[1:]} == {"alice"}
    assert reason(directory, "alice") is AuthReason.OK
    assert watch.ways == ["asked"] + ["joined"] * 19 + ["remembered"]
    assert sum("SRCH base" in line and "uid=alice" in line and PEOPLE in line for line in server.lines) <= 2


def test_who_leaves_frees_the_directory_and_pays_until_the_thread_is_back(
    make: Maker, proxy: FaultyProxy
) -> None:
    budget = Budget(SystemClock())
    asker = Asker(budget.source("192.0.2.1"))
    proxy.hold(anything)
    directory = make(proxy.url, allow_plaintext=True, threads=1, watch=(watch := Watch()))
    running = reactor.submit(directory.check_password, "alice", PASSWORD, asker)
    assert proxy.held.wait(10)
    waiting = [reactor.submit(directory.lookup, name, asker) for name in ("bob", "carol")]
    reactor.run(lambda: None)
    assert budget.held(Payer.SOURCE, Work.DIRECTORY) == 3
    for call in waiting:
        call.cancel()
    reactor.run(lambda: None)
    assert (directory.waiting, budget.held(Payer.SOURCE, Work.DIRECTORY)) == (0, 1)
    running.cancel()
    assert proxy.client_gone.wait(20), "cancelling did not free the socket"
    watch.wait_idle()
    assert budget.held(Payer.SOURCE, Work.DIRECTORY) == 0


# -- connections that are used again ---------------------------------------------------------------------------


def connects(watch: Watch) -> int:
    """Connections opened so far, after what the threads have handed over is through."""
    reactor.run(lambda: None)
    return watch.operations.count("connect")


def test_the_service_account_connects_once(make: Maker, server: Slapd) -> None:
    watch = Watch()
    directory = make(server.tls_url, watch=watch, lookup_ttl=0.0)
    for name in ("alice", "bob", "nobody", "locked", "twin"):
        reason(directory, name)
    assert connects(watch) == 1 and watch.connections == 1
    assert watch.operations.count("service_bind") == 1


def test_a_users_password_is_bound_on_a_connection_that_nobody_else_gets(make: Maker, server: Slapd) -> None:
    """After a login as alice the next search is the reader's: alice may not read, and would find nobody."""
    watch = Watch()
    directory = make(watch=watch, lookup_ttl=0.0)
    for _ in range(3):
        assert reason(directory, "alice", PASSWORD) is AuthReason.OK
        assert reason(directory, "bob") is AuthReason.OK
        assert reason(directory, "alice", "wrong") is AuthReason.BAD_PASSWORD
        assert reason(directory, "bob") is AuthReason.OK
    assert connects(watch) == 1 + 6  # the reader's, and one for each password
    assert watch.operations.count("service_bind") == 1 and watch.connections == 1


def test_a_connection_that_the_server_has_ended_is_replaced_unseen(make: Maker, server: Slapd) -> None:
    watch = Watch()
    directory = make(watch=watch, lookup_ttl=0.0)
    for end in (server.stop, server.kill):
        assert reason(directory, "alice") is AuthReason.OK
        end()
        server.start()
    assert reason(directory, "alice") is AuthReason.OK
    assert watch.failures == [] and connects(watch) == 3


def test_a_connection_that_ends_at_the_next_question_is_replaced_once(
    make: Maker, server: Slapd, proxy: FaultyProxy
) -> None:
    """It looked well when it was taken: the end comes in answer to the search."""
    watch = Watch()
    directory = make(proxy.url, allow_plaintext=True, watch=watch, lookup_ttl=0.0)
    assert reason(directory, "alice") is AuthReason.OK
    proxy.cut(contains("uid"))
    assert reason(directory, "alice") is AuthReason.DIRECTORY_UNAVAILABLE
    assert connects(watch) == 2  # the fresh one failed too, and was the last
    proxy.heal()
    assert reason(directory, "alice") is AuthReason.OK


def test_idle_and_old_connections_are_closed(make: Maker, server: Slapd) -> None:
    clock, watch = FixedClock(SystemClock().time()), Watch()
    directory = make(clock=clock, watch=watch, lookup_ttl=0.0)
    for wait, expected in ((0, 1), (MAX_IDLE - 1, 1), (MAX_IDLE, 2), (MAX_IDLE - 1, 2)):
        clock.advance(wait)
        assert reason(directory, "alice") is AuthReason.OK
        assert connects(watch) == expected
    for _ in range(int(MAX_AGE // (MAX_IDLE - 1)) + 1):
        clock.advance(MAX_IDLE - 1)
        assert reason(directory, "alice") is AuthReason.OK
    assert connects(watch) == 3
    server.forget()
    clock.advance(MAX_IDLE)
    reactor.run(directory._close_idle)
    server.wait_for(r"closed")
    assert watch.connections == 0


def test_an_unknown_or_locked_name_costs_the_searches_of_one_that_exists(make: Maker, server: Slapd) -> None:
    watch = Watch()
    directory = make(watch=watch, lookup_ttl=0.0)
    for _ in range(2):  # the second time with the groups remembered
        counts = set()
        for name in ("alice", "bob", "nobody", "locked", "twin"):
            before = len(watch.operations)
            reason(directory, name)
            reactor.run(lambda: None)
            counts.add(watch.operations[before:].count("search"))
        assert len(counts) == 1


def test_a_wrong_service_password_is_the_operators_fault(make: Maker, tmp_path: Path) -> None:
    watch = Watch()
    secret = tmp_path / "wrong"
    secret.write_text("not it")
    secret.chmod(0o600)
    directory = make(bind_password_file=str(secret), watch=watch)
    assert reason(directory, "alice", PASSWORD) is AuthReason.DIRECTORY_UNAVAILABLE
    assert watch.failures == [("service_bind", "service_credentials")]


# -- TLS -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
@pytest.mark.parametrize("fault", ["other authority", "other name"])
def test_a_server_that_cannot_prove_itself_gets_no_password(
    make: Maker, server: Slapd, tmp_path: Path, scheme: str, fault: str
) -> None:
    watch = Watch()
    changes: dict[str, Any] = {"certificate_name": "ldap.example.net"}
    if fault == "other authority":
        changes = {"ca_file": str(Authority(tmp_path / "other").certificate)}
    server.forget()
    directory = make(server.tls_url if scheme == "ldaps" else server.url, watch=watch, **changes)
    assert reason(directory, "alice", PASSWORD) is AuthReason.DIRECTORY_UNAVAILABLE
    assert watch.failures == [("connect", "tls")]
    server.wait_for("closed")
    assert bind_requests(server) == 0


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_a_name_in_the_subject_alone_is_none(make: Maker, scheme: str) -> None:
    """RFC 6125 section 6.4.4: the CN of the certificate is the server's name, its subjectAltName another one."""
    named = Slapd([person("alice")], subject_only=True)
    try:
        named.start()
        watch = Watch()
        url = named.tls_url if scheme == "ldaps" else named.url
        directory = make(
            url, watch=watch, certificate_name=SERVER_NAME, ca_file=str(named.authority.certificate)
        )
        assert reason(directory, "alice", PASSWORD) is AuthReason.DIRECTORY_UNAVAILABLE
        reactor.run(lambda: None)
        assert watch.failures == [("connect", "tls")]
        assert bind_requests(named) == 0
    finally:
        named.close()


def test_the_certificate_may_show_a_configured_name(make: Maker, server: Slapd) -> None:
    directory = make(server.tls_url, certificate_name=SERVER_NAME)
    assert reason(directory, "alice", PASSWORD) is AuthReason.OK


def test_an_expired_certificate_is_refused(make: Maker) -> None:
    expired = Slapd([person("alice")], days=-1)
    try:
        expired.start()
        directory = make(expired.tls_url, ca_file=str(expired.authority.certificate))
        assert reason(directory, "alice", PASSWORD) is AuthReason.DIRECTORY_UNAVAILABLE
    finally:
        expired.close()


def test_without_starttls_nothing_is_said(make: Maker) -> None:
    plain = Slapd([person("alice")], tls=False)
    try:
        plain.start()
        assert reason(make(plain.url), "alice", PASSWORD) is AuthReason.DIRECTORY_UNAVAILABLE
        assert bind_requests(plain) == 0
        allowed = make(plain.url, allow_plaintext=True)
        assert reason(allowed, "alice", PASSWORD) is AuthReason.OK
    finally:
        plain.close()


@pytest.fixture(scope="module")
def certified() -> Iterator[Slapd]:
    """A server that asks for certificates, and knows the reader by one."""
    made = Slapd(
        [person("alice")],
        server_config=f'TLSVerifyClient try\nauthz-regexp "^cn=bastion$" "{READER}"\n',
    )
    made.start()
    yield made
    made.close()


def shown(issued: Issued) -> dict[str, Any]:
    return {
        "client_certificate": str(issued.certificate), "client_key": str(issued.key),
        "bind_dn": None, "bind_password_file": None,
    }  # fmt: skip


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_the_service_may_be_known_by_its_certificate(make: Maker, certified: Slapd, scheme: str) -> None:
    certified.forget()
    ours = shown(certified.authority.issue("bastion")) | {"ca_file": str(certified.authority.certificate)}
    directory = make(certified.tls_url if scheme == "ldaps" else certified.url, **ours)
    assert reason(directory, "alice") is AuthReason.OK
    assert reason(directory, "alice", PASSWORD) is AuthReason.OK
    assert reason(directory, "alice", "wrong") is AuthReason.BAD_PASSWORD
    certified.wait_for(rf'BIND dn="{READER}" mech=EXTERNAL')
    assert certified.binds(f"uid=alice,{PEOPLE}") == 2 and certified.binds(READER) == 0


@pytest.mark.parametrize("fault", ["another authority", "another name"])
def test_a_certificate_that_the_server_does_not_know_reads_nothing(
    make: Maker, certified: Slapd, tmp_path: Path, fault: str
) -> None:
    authority = Authority(tmp_path / "pki") if fault == "another authority" else certified.authority
    ours = shown(authority.issue("somebody")) | {"ca_file": str(certified.authority.certificate)}
    certified.forget()
    directory = make(certified.tls_url, watch=(watch := Watch()), **ours)
    assert reason(directory, "alice", PASSWORD) is AuthReason.DIRECTORY_UNAVAILABLE
    assert certified.binds(f"uid=alice,{PEOPLE}") == 0
    reactor.run(lambda: None)
    assert watch.failures


class Liar:
    """A server that answers the first request of every connection with `answer(request)`, then says no more."""

    def __init__(self, answer: Callable[[bytes], Iterator[bytes]]) -> None:
        self._answer = answer
        self._listener = socket.create_server((LOOPBACK, 0))
        self.url = f"ldap://{LOOPBACK}:{self._listener.getsockname()[1]}"
        self.sent = 0
        self.heard: list[bytes] = []
        self.gone = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            with client:
                self.heard.append(client.recv(65536))
                for piece in self._answer(self.heard[0]):
                    client.sendall(piece)
                    self.sent += len(piece)
                while piece := client.recv(65536):
                    self.heard.append(piece)
        self.gone.set()

    def close(self) -> None:
        self._listener.close()


def result(request: bytes, kind: int, code: int = 0, referral: bytes = b"") -> bytes:
    """An LDAPResult (RFC 4511 section 4.1.9) to the request's own message id."""
    message_id = request[2 : 4 + request[3]]
    content = bytes([0x0A, 1, code]) + b"\x04\x00\x04\x00"
    if referral:
        content += bytes([0xA3, len(referral) + 2, 0x04, len(referral)]) + referral
    operation = bytes([kind, len(content)]) + content
    return bytes([0x30, len(message_id) + len(operation)]) + message_id + operation


@pytest.mark.parametrize(
    ("answer", "plaintext"),
    [
        # STARTTLS accepted, and a bind answer injected behind it before TLS begins.
        (lambda request: iter([result(request, 0x78) + result(request, 0x61)]), False),
        (lambda request: iter([b"\x30\x05\x02\x01"]), True),
        (lambda request: iter([b"\x30\x02\xff\xff"]), True),
        (lambda request: iter([b"HTTP/1.1 400 Bad Request\r\n\r\n"]), True),
        (lambda request: iter([result(request, 0x65)]), True),
        (
            lambda request: iter([b"\x30\x84\x7f\xff\xff\xff", *[b"\0" * 65536] * (MAX_ANSWERS // 32768)]),
            True,
        ),
        (lambda request: iter([]), True),
    ],
    ids=["injected", "cut short", "no message", "http", "wrong kind", "endless", "silent"],
)
def test_a_lying_server_is_given_up(
    make: Maker, answer: Callable[[bytes], Iterator[bytes]], plaintext: bool
) -> None:
    watch = Watch()
    liar = Liar(answer)
    try:
        directory = make(liar.url, allow_plaintext=plaintext, watch=watch, timeout=0.4, deadline=0.4)
        with within(0.4 + PROMPT):
            assert reason(directory, "alice", PASSWORD) in (
                AuthReason.DIRECTORY_UNAVAILABLE,
                AuthReason.DIRECTORY_TIMEOUT,
            )
        watch.wait_idle()
        assert liar.gone.wait(20)
        assert not any(PASSWORD.encode() in piece for piece in liar.heard)
        assert liar.sent <= MAX_ANSWERS + (8 << 20)  # and what the two sockets' buffers hold
    finally:
        liar.close()


# -- when it fails ---------------------------------------------------------------------------------------------


def test_stopped_means_refused_at_once_and_back_means_back_at_once(make: Maker, server: Slapd) -> None:
    directory = make(watch=(watch := Watch()))
    assert reason(directory, "alice", PASSWORD) is AuthReason.OK
    before = SystemClock().monotonic()
    server.stop()
    try:
        for _ in range(3):
            with within(PROMPT):
                refused = ask(directory, "alice", PASSWORD)
            assert isinstance(refused, Refused)
            assert refused.reason is AuthReason.DIRECTORY_UNAVAILABLE
            assert "not available" in refused.text and server.url not in refused.text
        down = directory.servers()
        assert down.healthy == 0 and down.down_since is not None
        assert before <= down.down_since <= SystemClock().monotonic()
        assert reason(directory, "alice") is AuthReason.DIRECTORY_UNAVAILABLE
        assert directory.servers() == down  # since the first failure, whoever tries meanwhile
    finally:
        server.start()
    assert reason(directory, "alice", PASSWORD) is AuthReason.OK
    assert directory.servers().healthy == 1 and directory.servers().down_since is None
    assert watch.failures == [("connect", "unavailable")] * 4


def test_slow_by_20_s_is_given_up_at_the_deadline(make: Maker, proxy: FaultyProxy) -> None:
    proxy.delay_answers(20.0)
    watch = Watch()
    directory = make(proxy.url, timeout=0.5, deadline=0.8, watch=watch)
    with within(0.8 + PROMPT):
        refused = ask(directory, "alice", PASSWORD)
    assert isinstance(refused, Refused)
    assert refused.reason is AuthReason.DIRECTORY_TIMEOUT and "in time" in refused.text
    watch.wait_idle()
    assert (directory.stuck, directory.stuck_total, watch.stuck) == (0, 1, 0)
    reactor.run(lambda: None)  # what the thread has handed over is through
    assert watch.failures == [("connect", "timeout")]


def test_a_bind_that_hangs_is_shut_down_and_its_thread_serves_again(make: Maker, proxy: FaultyProxy) -> None:
    proxy.hold(contains(f"uid=alice,{PEOPLE}"))
    watch = Watch()
    directory = make(
        proxy.url, allow_plaintext=True, threads=1, timeout=0.5, deadline=0.5, rest=0.0, watch=watch
    )
    with within(0.5 + PROMPT):
        assert reason(directory, "alice", PASSWORD) is AuthReason.DIRECTORY_TIMEOUT
    assert proxy.held.is_set()
    assert proxy.client_gone.wait(20), "the socket was not shut down"
    watch.wait_idle()
    assert (directory.stuck, directory.stuck_total) == (0, 1)
    proxy.heal()
    assert reason(directory, "alice", PASSWORD) is AuthReason.OK
    assert ("bind", "timeout") in watch.failures


def test_slapd_killed_in_the_middle_of_a_bind(make: Maker, server: Slapd, proxy: FaultyProxy) -> None:
    proxy.hold(contains(f"uid=alice,{PEOPLE}"))
    directory = make(proxy.url, allow_plaintext=True, timeout=60.0, deadline=60.0, watch=(watch := Watch()))
    login = reactor.submit(directory.check_password, "alice", PASSWORD)
    assert proxy.held.wait(10)
    server.kill()
    try:
        with within(PROMPT), pytest.raises(Refused) as caught:
            login.result(10.0)  # long before the 60 s of its own deadline
        assert caught.value.reason is AuthReason.DIRECTORY_UNAVAILABLE
        watch.wait_idle()
    finally:
        proxy.heal()
        server.start()
    assert reason(directory, "alice", PASSWORD) is AuthReason.OK


def test_other_logins_go_on_while_one_hangs(make: Maker, proxy: FaultyProxy) -> None:
    proxy.hold(contains(f"uid=alice,{PEOPLE}"))
    directory = make(
        proxy.url, allow_plaintext=True, threads=2, timeout=30.0, deadline=30.0, watch=(watch := Watch())
    )
    hanging = reactor.submit(directory.check_password, "alice", PASSWORD)
    assert proxy.held.wait(10)
    with within(5 * PROMPT):
        for _ in range(5):
            assert reason(directory, "bob", PASSWORD) is AuthReason.OK
            assert reason(directory, "bob", "wrong") is AuthReason.BAD_PASSWORD
    assert directory.in_use == 1 and not hanging.done
    hanging.cancel()
    with pytest.raises(CancelledError):
        hanging.result(5.0)
    assert proxy.client_gone.wait(20), "cancelling did not free the socket"
    watch.wait_idle()


def test_when_all_threads_hang_the_next_login_is_refused_at_once(make: Maker, proxy: FaultyProxy) -> None:
    proxy.hold(contains(f"uid=alice,{PEOPLE}"))
    watch = Watch()
    directory = make(
        proxy.url, allow_plaintext=True, threads=1, timeout=30.0, deadline=30.0, watch=watch, queue=1
    )
    hanging = reactor.submit(directory.check_password, "alice", PASSWORD)
    assert proxy.held.wait(10)
    waiting = reactor.submit(directory.check_password, "bob", PASSWORD)
    reactor.run(lambda: None)
    with within(PROMPT):
        assert reason(directory, "bob", PASSWORD) is AuthReason.DIRECTORY_UNAVAILABLE
    assert watch.failures == [("connect", "pool_full")]
    proxy.heal()
    hanging.cancel()
    assert waiting.result(10.0).name == "bob"
    watch.wait_idle()


def test_waiting_too_long_for_a_thread_is_not_the_servers_fault(make: Maker, proxy: FaultyProxy) -> None:
    proxy.hold(contains(f"uid=alice,{PEOPLE}"))
    directory = make(proxy.url, allow_plaintext=True, threads=1, timeout=0.6, deadline=0.6)
    clock = time.monotonic()
    hanging = reactor.submit(directory.check_password, "alice", PASSWORD)
    assert proxy.held.wait(10)
    assert reason(directory, "bob", PASSWORD) in (AuthReason.OK, AuthReason.DIRECTORY_TIMEOUT)
    with pytest.raises(Refused):
        hanging.result(10.0)
    assert time.monotonic() - clock < 0.6 * 2 + PROMPT


def test_the_next_server_is_asked_and_the_dead_one_left_alone(make: Maker, server: Slapd) -> None:
    watch = Watch()
    directory = make(f"ldap://{LOOPBACK}:{free_port()}", server.url, watch=watch)
    for _ in range(3):
        with within(PROMPT):
            assert reason(directory, "alice", PASSWORD) is AuthReason.OK
    assert watch.failures == [("connect", "unavailable")]  # asked once
    assert directory.servers().healthy == 1


def test_a_hanging_server_costs_one_login_its_timeout(make: Maker, server: Slapd, proxy: FaultyProxy) -> None:
    proxy.hold(anything)
    directory = make(proxy.url, server.url, timeout=0.5, watch=(watch := Watch()))
    with within(0.5 + PROMPT):
        assert reason(directory, "alice", PASSWORD) is AuthReason.OK
    for _ in range(3):
        assert reason(directory, "alice", PASSWORD) is AuthReason.OK
    assert proxy.connections == 1
    watch.wait_idle()


def test_a_server_that_accepts_no_connection_is_shut_down_too(make: Maker) -> None:
    """A SYN that nobody answers: a listener whose queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        directory = make(
            f"ldap://{LOOPBACK}:{port}",
            timeout=0.5,
            deadline=0.5,
            connect_timeout=30.0,
            watch=(watch := Watch()),
        )
        with within(0.5 + PROMPT):
            assert reason(directory, "alice", PASSWORD) is AuthReason.DIRECTORY_TIMEOUT
        watch.wait_idle(timeout=PROMPT)


def test_a_tls_handshake_that_hangs_is_shut_down_too(make: Maker) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        url = f"ldaps://{LOOPBACK}:{listener.getsockname()[1]}"
        directory = make(url, timeout=0.5, deadline=0.5, watch=(watch := Watch()))
        with within(0.5 + PROMPT):
            assert reason(directory, "alice", PASSWORD) is AuthReason.DIRECTORY_TIMEOUT
        watch.wait_idle(timeout=PROMPT)
        assert directory.stuck_total == 1


def test_closing_gives_up_what_hangs(make: Maker, proxy: FaultyProxy) -> None:
    proxy.hold(contains(f"uid=alice,{PEOPLE}"))
    directory = make(proxy.url, allow_plaintext=True, watch=(watch := Watch()))
    login = reactor.submit(directory.check_password, "alice", PASSWORD)
    assert proxy.held.wait(10)
    reactor.run(directory.close)
    with pytest.raises(Refused) as caught:
        login.result(5.0)
    assert caught.value.reason is AuthReason.DIRECTORY_UNAVAILABLE
    assert proxy.client_gone.wait(20)
    watch.wait_idle()
    assert reason(directory, "alice", PASSWORD) is AuthReason.DIRECTORY_UNAVAILABLE


def test_no_socket_is_left_behind(make: Maker) -> None:
    directory = make()
    assert reason(directory, "alice", PASSWORD) is AuthReason.OK
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        reason(directory, "alice", PASSWORD)
        reason(directory, "nobody", PASSWORD)
        reason(directory, "alice")
    assert len(os.listdir("/proc/self/fd")) <= before
