"""An opening that needs somebody else's word: what is looked at again in the turn that dials, and who may answer."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bastion.auth.identity import Account, Identity
from bastion.auth.issued import Carried
from bastion.errors import ApprovalReason, AuthReason, EndReason, PolicyReason, Refused
from bastion.observe.meters import APPROVALS, Meters
from bastion.options import Source
from bastion.policy.approval import as_text
from bastion.policy.rules import parse_policy
from bastion.policy.targets import parse_targets
from bastion.session.approvals import Approvals, Terms
from bastion.session.approving import FACTOR_FRESH, approver, fresh_factor, why_of
from bastion.session.ending import End
from bastion.session.present import Kind
from bastion.state.approvals import Bound, Request, State
from tests.support.state import closed_store
from tests.unit.session.test_opening import NOW, RULES, SESSION, World

APPROVAL = 'approval = "group:leads"\n'
ACCOUNT = Account("alice", "u-1", frozenset({"ops"}))
ALICE = Identity("alice", "u-1", frozenset(), "t", ("publickey",), None, "192.0.2.1", authenticated_at=NOW)
BOUND = Bound("u-1", "web1", "root", "shell", "192.0.2.1", as_text((("group:leads",),)), "10.0.0.1:22")


class Gate(World):
    """The store answers when the test says so, and the directory has `account`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rules(RULES + APPROVAL)
        self.claimed: list[Bound] = []
        self.given: list[str] = []
        self.withdrawn: list[Request] = []
        self.answers: list[Request | None] = [self.request()]
        self.waits: Deferred[Request] = Deferred()
        self.filed = self.request(State.OPEN)
        self.account: Account | Refused = ACCOUNT
        self.asking: list[Deferred[Account]] = []
        self.gateway.approvals = self
        self.gateway.budget = SimpleNamespace(identity=lambda name: None)
        self.gateway.public = ("bastion", 2222)
        self.gateway.services.auth = SimpleNamespace(directory=self)

    def rules(self, text: str) -> None:
        self.gateway.services.policy = parse_policy(tomllib.loads(text), Source("p"))

    @staticmethod
    def request(state: State = State.USED, bound: Bound = BOUND) -> Request:
        return Request(
            "abcdefghij", state, bound.uid, "alice", bound.target, bound.login, bound.verbs, bound.source,
            bound.needed, "INC-42", NOW, NOW + 600, NOW, "bob", "u-bob", "totp", "fine", SESSION, bound.machine,
        )  # fmt: skip

    # session.approvals.Approvals
    async def claim(self, bound: Bound, session: str) -> Request | None:
        self.claimed.append(bound)
        return self.answers.pop(0)

    async def file(self, bound: Bound, identity: str, why: str, state: State) -> tuple[Request, bool]:
        return replace(self.filed, state=state), True

    def wait(self, request: Request, seconds: float) -> Deferred[Request]:
        self.said.append(f"wait {seconds:.0f}")
        return self.waits

    def withdraw(self, request: Request) -> None:
        self.withdrawn.append(request)

    def give_back(self, session: str) -> None:
        self.given.append(session)

    # auth.directory.Directory
    def lookup(self, name: str, asker: object) -> Deferred[Account]:
        asked: Deferred[Account] = Deferred()
        self.asking.append(asked)
        return asked

    def confirm(self) -> None:
        if isinstance(self.account, Refused):
            self.asking.pop().errback(self.account)
        else:
            self.asking.pop().callback(self.account)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path)
    yield made
    made.store.close()


def test_an_approval_opens_and_stands_in_header_and_line(gate: Gate) -> None:
    gate.begin()
    assert gate.claimed == [BOUND] and gate.dialled is None
    assert [one.kind for one in gate.gateway.present] == [Kind.OPENING]
    gate.confirm()
    assert gate.dialled is not None, "in the turn of the directory's answer"
    gate.let_in()
    started = gate.line("session_started")
    assert (started["request"], started["approved_by"]) == ("abcdefghij", "bob")
    (file,) = gate.store.directory.glob("*/*")
    assert b'"approved_by_uid":"u-bob"' in file.read_bytes().replace(b": ", b":")
    assert gate.given == []


def _locked(gate: Gate) -> None:
    gate.locked = "locked by the security team: why"


def _removed(gate: Gate) -> None:
    gate.account = Refused(AuthReason.UNKNOWN_USER, "no")


def _another(gate: Gate) -> None:
    gate.account = replace(ACCOUNT, uid="u-2")


def _moved(gate: Gate) -> None:
    """Another machine has the name."""
    tables = tomllib.loads('[targets.web1]\nhost = "10.0.0.9"\n')
    gate.gateway.services.inventory = parse_targets(tables, Source("t"))


def _silent(gate: Gate) -> None:
    gate.account = Refused(AuthReason.DIRECTORY_TIMEOUT, "the login directory did not answer in time")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_locked, PolicyReason.LOCKED),
        (_removed, PolicyReason.ACCOUNT_GONE),
        (_another, PolicyReason.ACCOUNT_GONE),
        (_silent, PolicyReason.ACCOUNT_UNCONFIRMED),
        (_moved, ApprovalReason.STALE),
        (lambda gate: gate.rules(RULES.replace("web1", "web2") + APPROVAL), PolicyReason.NO_RULE),
        (
            lambda gate: gate.rules(RULES.replace('["shell"]', '["shell", "exec"]') + APPROVAL),
            ApprovalReason.STALE,
        ),
        (lambda gate: gate.rules(RULES + 'approval = "group:security"\n'), ApprovalReason.STALE),
        (lambda gate: gate.rules(RULES), ApprovalReason.STALE),
    ],
)
def test_what_changes_before_the_dial_lets_nobody_in(gate: Gate, change: Any, reason: Any) -> None:
    gate.begin()
    change(gate)
    gate.confirm()
    assert gate.line("refused")["reason"] == reason and gate.dialled is None
    assert gate.given == [SESSION], "it may be used once what is wrong is mended, if it still fits"
    assert not list(gate.gateway.present) and gate.reactor.getDelayedCalls() == []


def test_without_one_it_is_refused_at_once(gate: Gate) -> None:
    gate.answers = [None]
    gate.begin()
    assert gate.line("refused")["reason"] == ApprovalReason.NEEDED and gate.dialled is None
    assert "ASK WITH SSH -P 2222 ALICE@BASTION REQUEST WEB1 ROOT FOR REASON" in gate.said[-1]
    assert gate.meters.value(APPROVALS, ApprovalReason.NEEDED) == 1


def test_whoever_waits_is_told_shown_life_and_let_in(gate: Gate) -> None:
    gate.rules(RULES + APPROVAL + 'wait = "5m"\n')
    gate.answers = [None, gate.request()]
    gate.begin()
    assert any("group leads can approve request abcdefghij within 5 min" in line for line in gate.said)
    gate.reactor.pump([5.0] * 3)
    assert gate.said.count("life") == 3 and gate.dialled is None
    gate.waits.callback(gate.request(State.APPROVED))
    gate.confirm()
    assert gate.dialled is not None


def test_a_denial_is_read_with_its_reason(gate: Gate) -> None:
    gate.rules(RULES + APPROVAL + 'wait = "5m"\n')
    gate.answers = [None]
    gate.begin()
    gate.waits.callback(gate.request(State.DENIED))
    assert gate.line("refused")["reason"] == ApprovalReason.DENIED and "DENIED BY BOB: FINE" in gate.said[-1]


@pytest.mark.parametrize("how", ["left", "ended"])
def test_whoever_leaves_while_waiting_asks_no_more(gate: Gate, how: str) -> None:
    gate.rules(RULES + APPROVAL + 'wait = "5m"\n')
    gate.answers = [None]
    opening = gate.begin()
    if how == "left":
        opening.cancel()
    else:
        (present,) = gate.gateway.present
        present.end(End(EndReason.KILLED, "ended by the security team: no"))
    assert gate.withdrawn == [replace(gate.filed, state=State.OPEN)] and gate.dialled is None
    assert not list(gate.gateway.present) and gate.reactor.getDelayedCalls() == []


def test_a_store_that_is_away_refuses_with_words(gate: Gate) -> None:
    audit: Any = gate
    gate.gateway.approvals = Approvals(
        closed_store(), Clock(), gate.gateway.clock, Meters(), audit, Terms, lambda: False
    )
    gate.begin()
    assert gate.line("refused")["reason"] == ApprovalReason.UNAVAILABLE and gate.dialled is None
    assert "THE GATEWAY'S STORE DOES NOT ANSWER" in gate.said[-1]


def test_an_id_made_of_a_name_is_none(gate: Gate) -> None:
    gate.uid = "embedded:alice"
    gate.begin()
    assert gate.line("refused")["reason"] == ApprovalReason.NO_ID and gate.claimed == []


def test_a_break_glass_account_approves_nothing() -> None:
    asked = Deferred.fromCoroutine(approver(SimpleNamespace(), replace(ALICE, only_targets=("db1",))))  # type: ignore[arg-type]
    refused: list[Any] = []
    asked.addErrback(lambda failure: refused.append(failure.value))
    assert refused[0].reason is ApprovalReason.NOT_APPROVER and "break-glass" in refused[0].text


def carrying(at: float) -> Carried:
    """Of a certificate issued here, to a login that had given a code then."""
    return Carried(("publickey", "totp"), int(at), "u-1")


@pytest.mark.parametrize(
    ("identity", "age", "factor"),
    [
        (ALICE, 0.0, ""),
        (replace(ALICE, factors=("publickey", "totp")), FACTOR_FRESH, "totp"),
        (replace(ALICE, factors=("publickey", "totp")), FACTOR_FRESH + 1, ""),
        (replace(ALICE, factors=("sk-publickey",)), 1.0, "sk-publickey"),
        (replace(ALICE, factors=("publickey", "totp")), -86400.0, ""),  # the clock was set back since
        (replace(ALICE, factors=("publickey",), user_verified=True), -86400.0, ""),
        (replace(ALICE, factors=("certificate", "totp"), carried=carrying(NOW - 3600)), 1.0, ""),
        (replace(ALICE, factors=("certificate", "totp"), carried=carrying(NOW - 60)), 1.0, "totp"),
        (replace(ALICE, factors=("certificate",), user_verified=True), 1.0, "sk-publickey"),
    ],
)
def test_a_second_factor_counts_while_it_is_fresh(identity: Identity, age: float, factor: str) -> None:
    assert fresh_factor(identity, NOW + age) == factor


def test_a_reason_is_one_line_that_shows_as_itself() -> None:
    assert why_of(" INC-42\n\x1b[2J  now ") == "INC-42 \\x1b[2J now" and len(why_of("x" * 500)) < 210
