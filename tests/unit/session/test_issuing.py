"""Who gets a certificate, for which key, and with which restrictions; and what refuses it on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from bastion.auth.budget import Budget
from bastion.auth.embedded import EmbeddedDirectory, parse_users
from bastion.auth.identity import Identity
from bastion.auth.issued import EXTENSION, Carried
from bastion.auth.restrictions import AddressList, PermitOpen, Restrictions
from bastion.auth.revocation import NOTHING_REVOKED, Revocation
from bastion.auth.security_keys import TOUCH_ONLY
from bastion.auth.startups import StartupLimiter
from bastion.ca.issuing import IssuingCA
from bastion.ca.slots import Staged
from bastion.clock import FixedClock
from bastion.errors import AuthReason, IssueReason, Refused, UpstreamReason
from bastion.observe.meters import Meters
from bastion.policy.locks import Lock, LockKind, LockSet
from bastion.session.gateway import Gateway, Limits
from bastion.session.issuing import GivenKey, Made, certify, read_key
from bastion.state.certificates import Issued
from bastion.state.database import StateDown
from bastion.wire.keys import PrivateKey, PublicKey
from bastion.wire.krl import of_keys

CA, KEY, LAPTOP, BOBS = (PrivateKey.generate_ed25519() for _ in range(4))
STRANGE = PrivateKey.generate_ed25519()
NOW = 1_800_000_000.0
CHAINS = (("publickey", "totp"),)

ALICE = Identity(
    name="alice",
    uid="u-1",
    groups=frozenset({"ops"}),
    source="embedded",
    factors=("publickey", "totp"),
    certificate=None,
    source_address="192.0.2.7",
    authenticated_at=NOW - 60.5,
    key_fingerprint=KEY.public.fingerprint(),
    key_blob=KEY.public.blob,
)


class Store:
    """Keeps what it is told, or is away. `meanwhile` happens while it writes."""

    def __init__(self) -> None:
        self.kept: list[Issued] = []
        self.away = False
        self.meanwhile: Callable[[], None] = lambda: None
        self.writer = SimpleNamespace(node="gw")

    def decide(self, decision: Any, asker: Any) -> Deferred[Any]:
        if self.away:
            return fail(StateDown("gone"))
        self.kept.append(decision.keywords["issued"])
        return maybeDeferred(self.meanwhile)


class Bench:
    """A gateway that issues; alice has two keys there, the laptop's with options, and bob one."""

    def __init__(self, options: str = "") -> None:
        laptop = f"{options} {LAPTOP.public.line()}".strip().replace('"', '\\"')
        users = parse_users(
            f'[users.alice]\nid = "u-1"\nkeys = ["{KEY.public.line()}", "{laptop}"]\n'
            f'[users.bob]\nid = "u-2"\nkeys = ["{BOBS.public.line()}"]\n',
            "users.toml",
        )
        self.clock = FixedClock(NOW)
        self.store: Any = Store()
        self.auth = SimpleNamespace(
            directory=EmbeddedDirectory(users), demands=TOUCH_ONLY, revocation=NOTHING_REVOKED
        )
        services: Any = SimpleNamespace(
            auth=self.auth, limits=Limits(), issuing=IssuingCA(Staged(CA), CHAINS, 36000), agents=None
        )
        nobody: Any = None
        self.gateway = Gateway(
            Clock(), self.clock, Meters(), nobody, nobody, StartupLimiter(lambda: 0.0), Budget(self.clock),
            services, self.store, typed=("gw.example.com", 22),
        )  # fmt: skip

    def issues(self, **changes: Any) -> None:
        services: Any = self.gateway.services
        services.issuing = replace(services.issuing, **changes)

    def ask(self, identity: Identity = ALICE, given: PrivateKey | None = None) -> Made:
        public = None if given is None else given.public
        found: list[Any] = []
        Deferred.fromCoroutine(
            certify(self.gateway, identity, None if public is None else GivenKey(public))
        ).addBoth(found.append)
        (answer,) = found
        if not isinstance(answer, Made):
            answer.raiseException()
        return answer

    def refused(self, identity: Identity = ALICE, given: PrivateKey | None = None) -> IssueReason:
        with pytest.raises(Refused) as refusal:
            self.ask(identity, given)
        assert isinstance(refusal.value.reason, IssueReason)
        return refusal.value.reason


def test_the_key_that_logged_in_is_certified_and_kept() -> None:
    bench = Bench()
    made = bench.ask()
    certificate = made.certificate
    assert certificate.key == KEY.public and certificate.key_id == "alice@gw.example.com"
    assert certificate.principals == ("alice",) and len(certificate.extensions) == 6
    assert certificate.valid_before == int(NOW - 60.5) + 36000, "it counts from the login on, not from now"
    assert Carried.read(certificate.extensions[EXTENSION]) == Carried(ALICE.factors, int(NOW - 60.5), "u-1")
    assert (
        bench.store.kept == [made.issued]
        and made.issued.lock == f"{certificate.serial}@{CA.public.fingerprint()}"
    )
    assert made.issued.factors == "publickey,totp" and made.issued.source == "192.0.2.7"


def test_a_clock_that_was_set_back_since_the_login_makes_none_longer() -> None:
    made = Bench().ask(replace(ALICE, authenticated_at=NOW + 30 * 86400))
    assert made.certificate.valid_before == int(NOW) + 36000 and made.issued.proved_at == NOW


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"factors": ("publickey",)}, IssueReason.CHAIN_MISSING),
        ({"factors": ("certificate", "totp")}, IssueReason.CHAIN_MISSING),
        ({"key_blob": b""}, IssueReason.NO_KEY),
        ({"uid": "u-9"}, IssueReason.NO_ACCOUNT),
        ({"name": "nobody"}, IssueReason.NO_ACCOUNT),
        ({"authenticated_at": NOW - 36000}, IssueReason.LOGIN_TOO_OLD),
        ({"restrictions": Restrictions(valid_before=int(NOW) + 30)}, IssueReason.LOGIN_TOO_OLD),
        ({"service": True}, IssueReason.RESTRICTED),
        ({"only_targets": ("db1",)}, IssueReason.RESTRICTED),
        ({"restrictions": Restrictions(force_command="id")}, IssueReason.RESTRICTED),
        ({"restrictions": Restrictions(permit_open=(PermitOpen((("db", 1),)),))}, IssueReason.RESTRICTED),
    ],
)
def test_a_login_that_gets_none(changes: dict[str, Any], reason: IssueReason) -> None:
    bench = Bench()
    assert bench.refused(replace(ALICE, **changes)) is reason
    assert bench.store.kept == []


def test_a_login_with_an_issued_certificate_gets_none_whatever_it_gave_besides() -> None:
    assert Bench().refused(replace(ALICE, carried=Carried())) is IssueReason.ISSUED_BEFORE


def test_a_gateway_that_issues_none() -> None:
    bench = Bench()
    bench.gateway.services.issuing = None  # type: ignore[misc]
    assert bench.refused() is IssueReason.NOT_HERE


@pytest.mark.parametrize(
    ("certified", "key", "reason"),
    [
        ("own", LAPTOP, None),
        ("own", STRANGE, IssueReason.KEY_NOT_OWN),
        ("own", BOBS, IssueReason.KEY_OF_ANOTHER),
        ("login", LAPTOP, IssueReason.KEY_NOT_OWN),
        ("login", KEY, None),
        ("any", STRANGE, None),
        ("any", BOBS, IssueReason.KEY_OF_ANOTHER),
    ],
    ids=["own", "no own", "of bob", "not of the login", "of the login", "any", "any but bob's"],
)
def test_whose_key_it_is(certified: str, key: PrivateKey, reason: IssueReason | None) -> None:
    bench = Bench()
    bench.issues(certified=certified)
    if reason is not None:
        assert bench.refused(given=key) is reason
        return
    carried = Carried.read(bench.ask(given=key).certificate.extensions[EXTENSION])
    assert carried.factors == (("publickey", "totp") if key is KEY else ("totp",))


def test_what_restricts_the_login_restricts_the_certificate() -> None:
    sources = AddressList.from_cidr_list("192.0.2.0/24,2001:db8::/64")
    limits = Restrictions(
        source_addresses=(sources,), extensions=frozenset({"permit-pty"}), valid_before=int(NOW) + 500
    )
    made = Bench().ask(replace(ALICE, restrictions=limits)).certificate
    assert made.critical_options["source-address"].endswith(b"192.0.2.0/24,2001:db8::/64")
    assert set(made.extensions) == {"permit-pty", EXTENSION} and made.valid_before == int(NOW) + 500


@pytest.mark.parametrize(
    "lists",
    [
        (AddressList.from_patterns(("192.0.2.*",)),),
        (AddressList.from_patterns(("!192.0.2.1", "192.0.2.0/24")),),
        (AddressList.from_cidr_list(""),),
        (AddressList.from_cidr_list("192.0.2.0/24"), AddressList.from_cidr_list("192.0.2.7")),
    ],
    ids=["pattern", "negated", "empty", "two lists"],
)
def test_addresses_that_no_certificate_can_name(lists: tuple[AddressList, ...]) -> None:
    limited = replace(ALICE, restrictions=Restrictions(source_addresses=lists))
    assert Bench().refused(limited) is IssueReason.RESTRICTED


def test_the_options_of_another_key_of_the_account_hold_too() -> None:
    made = Bench('from="192.0.2.0/24",no-pty').ask(given=LAPTOP).certificate
    assert made.critical_options["source-address"].endswith(b"192.0.2.0/24")
    assert "permit-pty" not in made.extensions and "permit-port-forwarding" in made.extensions
    assert Bench('command="id"').refused(given=LAPTOP) is IssueReason.RESTRICTED


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (LockKind.USER, "alice"),
        (LockKind.CERTIFICATE, LAPTOP.public.fingerprint()),
        (LockKind.SOURCE, "192.0.2.7"),
    ],
    ids=["user", "key", "source"],
)
def test_what_is_locked_gets_none(kind: LockKind, value: str) -> None:
    bench = Bench()
    bench.gateway.locks = LockSet([Lock(kind, value, "lost", "root", NOW)])
    assert bench.refused(given=LAPTOP) is IssueReason.ISSUE_LOCKED


def test_a_lock_that_was_made_while_it_was_signed_keeps_it_back() -> None:
    bench = Bench()

    def lock() -> None:
        bench.gateway.locks = LockSet([Lock(LockKind.USER, "alice", "lost", "root", NOW)])

    bench.store.meanwhile = lock
    assert bench.refused() is IssueReason.ISSUE_LOCKED


def test_a_revoked_key_gets_none_nor_anybody_while_that_is_unknown() -> None:
    bench = Bench()
    bench.auth.revocation = Revocation(of_keys([LAPTOP.public.blob]))
    assert bench.refused(given=LAPTOP) is IssueReason.ISSUE_LOCKED
    bench.ask()
    bench.auth.revocation = Revocation(None)
    assert bench.refused() is IssueReason.ISSUE_LOCKED


def test_without_the_store_there_is_none() -> None:
    bench = Bench()
    bench.store.away = True
    assert bench.refused() is IssueReason.STORE_AWAY


def test_what_the_store_says_is_told_as_it_is() -> None:
    bench = Bench()

    def others() -> None:
        raise Refused(IssueReason.TOO_MANY_VALID, "a hundred")

    bench.store.meanwhile = others
    assert bench.refused() is IssueReason.TOO_MANY_VALID


def test_an_agent_that_does_not_sign() -> None:
    bench = Bench()
    services: Any = bench.gateway.services
    services.issuing = SimpleNamespace(
        **{name: getattr(services.issuing, name) for name in ("chains", "lifetime", "certified", "issue")},
        waits=lambda now: "a key in an agent",
    )
    refused = Refused(UpstreamReason.CREDENTIAL_FAILED, "the gateway's signing key cannot be used now (gone)")
    services.agents = SimpleNamespace(run=lambda signer, job: fail(refused))
    assert bench.refused() is IssueReason.SIGNING_FAILED and bench.store.kept == []
    services.agents = SimpleNamespace(run=lambda signer, job: succeed(job()))
    assert bench.ask().certificate.key == KEY.public


@pytest.mark.parametrize(
    ("holders", "reason"),
    [
        (frozenset(), None),
        (frozenset({"u-1"}), None),
        (frozenset({"u-1", "u-9"}), IssueReason.KEY_OF_ANOTHER),
        (frozenset({"u-9"}), IssueReason.KEY_OF_ANOTHER),
        (Refused(AuthReason.DIRECTORY_UNAVAILABLE, "away"), IssueReason.NO_ACCOUNT),
    ],
)
def test_a_key_that_the_directory_has_for_somebody_is_his(holders: Any, reason: IssueReason | None) -> None:
    bench, asked = Bench(), []

    def holders_of(key: PublicKey, comment: str, asker: Any) -> Deferred[Any]:
        asked.append((key, comment))
        return fail(holders) if isinstance(holders, Exception) else succeed(holders)

    bench.auth.directory.holders_of = holders_of
    bench.issues(certified="any")
    if reason is None:
        assert bench.ask(given=STRANGE).certificate.key == STRANGE.public
    else:
        assert bench.refused(given=STRANGE) is reason and bench.store.kept == []
    assert asked == [(STRANGE.public, "")]


def test_who_asks_without_end_is_told_to_wait() -> None:
    bench = Bench()
    for _ in range(1000):
        try:
            bench.ask()
        except Refused as refusal:
            assert refusal.reason is IssueReason.ISSUE_BUDGET
            break
    else:
        pytest.fail("nothing ended it")
    assert 100 <= len(bench.store.kept) <= 400
    bench.clock.advance(60)
    bench.ask()


@pytest.mark.parametrize(
    "line", ["", "ssh-ed25519", "ssh-dss AAAA", "-----BEGIN OPENSSH PRIVATE KEY-----", "a b c"]
)
def test_what_is_no_key(line: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_key(line)
    assert refusal.value.reason is IssueReason.KEY_UNREADABLE
    assert read_key(KEY.public.line("a comment")) == GivenKey(KEY.public, "a comment")
