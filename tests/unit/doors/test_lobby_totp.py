"""`totp` in the lobby: what has to be proved before, and what is kept only then."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from bastion.auth.budget import Budget
from bastion.auth.identity import Account, Identity
from bastion.auth.totp import TotpKey
from bastion.clock import FixedClock
from bastion.doors import lobby_totp
from bastion.doors.lobby_totp import SCAN_TIME, TotpTalk
from bastion.errors import AuthReason, Refused
from bastion.observe.events import AuditEvent
from bastion.policy.grant import FactorsNeeded
from bastion.session.approving import FACTOR_FRESH
from bastion.state import codes
from bastion.state.database import StateDown

NOW = 1_800_000_000.0


class World:
    """A talk over a store that is asked at once; whoever must prove more `gives` it, or does not."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        factors: tuple[str, ...] = ("publickey",),
        has_one: bool = False,
        age: float = 1.0,
    ) -> None:
        self.clock, self.said, self.ended = Clock(), "", list[int]()
        self.kept: list[dict[str, Any]] = []
        self.proved: list[FactorsNeeded] = []
        self.gives: Refused | None = None
        self.away = False
        self.has_one = has_one
        self.lines: list[AuditEvent] = []
        self.failures: list[Any] = []
        self.account = Account("alice", "u-1", frozenset())
        key: Any = TotpKey(b"k" * 32)
        clock = FixedClock(NOW)
        gateway = SimpleNamespace(
            reactor=self.clock, clock=clock, budget=Budget(clock), state=SimpleNamespace(decide=self._decide),
            log_failure=lambda *of: self.failures.append(of),
        )  # fmt: skip
        directory = SimpleNamespace(lookup=lambda name, asker: succeed(self.account))
        services = SimpleNamespace(
            totp_key=key, issuer="gw", auth=SimpleNamespace(directory=directory),
            front_settings=SimpleNamespace(login_grace=60.0),
        )  # fmt: skip
        identity = Identity(
            "alice", "u-1", frozenset(), "t", factors, None, "192.0.2.1", authenticated_at=NOW - age
        )
        outer: Any = SimpleNamespace(
            gateway=gateway, identity=identity, services=services, note=self.lines.append, id="c"
        )
        self.outer = outer
        world = self

        class Proving:
            def __init__(self, *of: object) -> None: ...

            async def prove(self, identity: Any, destination: Any, needed: FactorsNeeded) -> Any:
                world.proved.append(needed)
                if world.gives is not None:
                    raise world.gives
                return identity

        monkeypatch.setattr(lobby_totp, "StepUp", Proving)
        monkeypatch.setattr(lobby_totp, "context_of", lambda outer, connection: None)
        self.talk = TotpTalk(outer, True, self._write, self.ended.append)

    def _write(self, text: str) -> None:
        self.said += text

    def _decide(self, decision: Any, asker: Any) -> Deferred[Any]:
        if self.away:
            return fail(StateDown("gone"))
        if decision.func is codes.is_enrolled:
            return succeed(self.has_one)
        self.kept.append(decision.keywords)
        return maybeDeferred(lambda: True)

    def code(self, at: float = NOW) -> str:
        (uri,) = re.findall(r"otpauth://\S+", self.said)
        (secret,) = parse_qs(urlsplit(uri).query)["secret"]
        return pyotp.TOTP(secret).at(int(at))

    def type(self, text: str) -> None:
        self.talk.data(text.encode() + b"\r")


@pytest.mark.parametrize("factor", ["publickey", "certificate", "sk-publickey", "totp"])
def test_a_key_or_a_code_is_enough_for_the_first_one(monkeypatch: pytest.MonkeyPatch, factor: str) -> None:
    world = World(monkeypatch, ("password", factor))
    world.talk.begin()
    assert world.proved == [] and world.kept == []
    world.type(f"{world.code()[:3]} {world.code()[3:]}")
    (kept,) = world.kept
    assert kept["who"].uid == "u-1" and kept["replace"] is False and kept["step"] == int(NOW) // 30
    assert world.ended == [0] and world.said.count("-") >= 30 and "Recovery codes" in world.said
    assert [line.fields() for line in world.lines] == [{"uid": "u-1", "replaced": False}]


def test_a_code_of_a_second_factor_that_was_taken_away_since_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the stolen telephone and an open connection would make himself another one."""
    world = World(monkeypatch, ("password", "totp"), age=FACTOR_FRESH + 1)
    world.gives = Refused(AuthReason.NOT_ENROLLED, "no invitation")
    world.talk.begin()
    assert [needed.missing for needed in world.proved] == [("totp",)] and world.ended == [1]


def test_a_password_alone_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, ("password",))
    world.gives = Refused(AuthReason.NOT_ENROLLED, "no invitation")
    world.talk.begin()
    assert [needed.missing for needed in world.proved] == [("totp",)]
    assert world.ended == [1] and "otpauth" not in world.said and "no invitation" in world.said
    invited = World(monkeypatch, ("password",))
    invited.talk.begin()
    invited.type(invited.code())
    assert invited.ended == [0] and len(invited.kept) == 1


def test_another_one_takes_its_place_by_a_code_of_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the login gave: somebody sits at an open connection."""
    world = World(monkeypatch, ("publickey", "totp"), has_one=True)
    world.gives = Refused(AuthReason.BAD_CODE, "not right")
    world.talk.begin()
    assert world.ended == [1] and world.kept == []
    world = World(monkeypatch, ("publickey", "totp"), has_one=True)
    world.talk.begin()
    assert len(world.proved) == 1
    world.type(world.code())
    assert world.kept[0]["replace"] is True and world.lines[0].fields()["replaced"] is True


def test_nothing_is_kept_before_the_app_shows_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.talk.begin()
    for _ in range(3):
        world.type("nonsense")
    assert world.ended == [1] and world.kept == [] and "nothing was changed" in world.said
    late = World(monkeypatch)
    late.talk.begin()
    late.clock.advance(SCAN_TIME)
    assert late.ended == [1] and late.kept == [] and late.clock.getDelayedCalls() == []
    left = World(monkeypatch)
    left.talk.begin()
    left.talk.stop()
    assert left.kept == [] and left.clock.getDelayedCalls() == [] and left.failures == []


def test_what_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for change, words in (
        ({"away": True}, "cannot be kept now"),
        ({"account": Account("alice", "u-2", frozenset())}, "another one than at the login"),
        ({"account": Account("alice", "embedded:alice", frozenset())}, "another one than at the login"),
    ):
        world = World(monkeypatch)
        for name, value in change.items():
            setattr(world, name, value)
        world.talk.begin()
        assert world.ended == [1] and words in world.said, world.said
    nameless = World(monkeypatch)
    nameless.account = Account("alice", "embedded:alice", frozenset())
    nameless.outer.identity = replace(nameless.outer.identity, uid="embedded:alice")
    nameless.talk.begin()
    assert nameless.ended == [1] and "no id of its own" in nameless.said
    off = World(monkeypatch)
    off.outer.services.totp_key = None
    off.talk.begin()
    assert off.ended == [1] and "no second factors" in off.said
