"""From a proof to a session: the order of the steps, what each refusal says and leaves, and who may leave when."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from bastion.auth.budget import Budget
from bastion.auth.identity import Destination, Identity
from bastion.auth.restrictions import Restrictions
from bastion.clock import FixedClock
from bastion.errors import (
    EndReason,
    LimitReason,
    PolicyReason,
    RecorderFailed,
    RecorderReason,
    Refused,
    UpstreamReason,
)
from bastion.observe.audit import AuditFailed
from bastion.observe.events import About, AuditEvent
from bastion.observe.families.opening import OPENING_SECONDS, OPENING_STEP_SECONDS
from bastion.observe.families.recordings import RECORDER_FAILURES, RECORDER_REFUSALS
from bastion.observe.meters import (
    AUTHORISATIONS,
    SESSIONS_LIVE,
    SESSIONS_STARTED,
    UPSTREAM_DIALS,
    UPSTREAM_LEGACY,
    Meters,
)
from bastion.observe.per_target import PerTarget
from bastion.options import Source
from bastion.policy.rules import parse_policy
from bastion.policy.targets import parse_targets
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.store import Store
from bastion.session.ending import End
from bastion.session.gateway import Gateway, Limits
from bastion.session.live import LiveSessions
from bastion.session.opening import ANSWER_TIME, SIGN_OF_LIFE, Opening
from bastion.session.personal import PersonalSessions
from bastion.session.present import Kind, Presence
from bastion.sharing.rows import ALONE
from bastion.transport.settings import ClosedBy, CloseReason
from bastion.upstream.facts import UpstreamConnected
from bastion.wire.userauth import Prompt
from tests.support.conns import MemoryConn
from tests.support.state import closed_store

NOW = 1_800_000_000.0
SESSION = "k3v2m5q7p2r4t6wa"
RULES = '[[rule]]\nname = "ops"\ngroups = ["ops"]\ntargets = ["web1"]\nlogins = ["root"]\nverbs = ["shell"]\n'
TARGETS = '[targets.web1]\nhost = "10.0.0.1"\n'
FACTS = UpstreamConnected(
    "SSH-2.0-target", "curve25519-sha256", "ssh-rsa", "aes256-gcm", "aes256-gcm", "", "", True, "publickey",
    "certificate", ("ssh-rsa",),
)  # fmt: skip


class World:
    """One engineer at one door. `said` is what happened, in order; the target answers when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.audit_is_full = False
        self.given_back: list[str] = []  # places of sessions that were not opened
        self.reactor, self.meters = Clock(), Meters()
        self.faults: list[Any] = []
        clock = FixedClock(NOW)
        self.store = Store(folder / "recordings", disk_floor_bytes=0, clock=clock)
        self.gateway: Any = SimpleNamespace(
            reactor=self.reactor,
            clock=clock,
            meters=self.meters,
            audit=self,
            store=self.store,
            budget=Budget(clock),
            state=closed_store(),
            live=LiveSessions(),
            present=Presence(),
            others=ALONE,
            per_target=PerTarget(self.meters, ["web1"]),
            opening=0,
            take_place=lambda *of: Gateway.take_place(self.gateway, *of),
            allowance=lambda user: Gateway.allowance(self.gateway, user),
            opened=lambda session, right: Gateway.opened(self.gateway, session, right),
            not_opened=lambda session: Gateway.not_opened(self.gateway, session),
            personal=PersonalSessions(),
            _give_place=self.given_back.append,
            draining=False,
            check_locks=self._check_locks,
            check_known=lambda: Gateway.check_known(self.gateway),
            locks_until=None,
            services=SimpleNamespace(
                policy_digest="d1",
                policy=parse_policy(tomllib.loads(RULES), Source("p")),
                inventory=parse_targets(tomllib.loads(TARGETS), Source("t")),
                limits=Limits(),
                recording=RecordingPolicy(),
                dialler=self,
                upstream=self,
                inner_host_keys=SimpleNamespace(front=SimpleNamespace(news=lambda exchanged: None)),
            ),
            pays_key_exchanges=lambda name: lambda microseconds: None,
            session_ended=lambda session, end: self.said.append(f"ended {end.reason}"),
            out_of_descriptors=lambda what: self.said.append(f"no descriptor for {what}"),
            log_failure=lambda doing, failure: self.faults.append(failure.value),
        )
        self.id, self.outer = SESSION, ""
        self.locked, self.uid = "", "u-1"
        self.transport, self.target = MemoryConn(), MemoryConn()
        self.asked: tuple[Any, ...] = ()
        self.answer: Deferred[tuple[bytes, ...]] = Deferred()
        self.dialled: Deferred[Any] | None = None
        self.session: Any = None
        self.observer: Any = None
        self.make_login: Callable[[], Any] = lambda: None
        self.make_hop_login: Callable[[Any], Any] = lambda hop: None

    def _check_locks(self, identity: Identity, target: Any) -> None:
        if self.locked:
            raise Refused(PolicyReason.LOCKED, self.locked)

    def begin(self, target: str = "web1", login: str | None = None) -> Opening:
        identity = Identity(
            "alice", self.uid, frozenset({"ops"}), "t", ("publickey",), None, "192.0.2.1", Restrictions(), NOW
        )
        userauth: Any = self
        opening = Opening(
            self.gateway, "direct", self, userauth, identity, Destination("alice", login, target)
        )
        opening.begin()
        return opening

    def let_in(self) -> None:
        """The target's success: the session begins before this returns."""
        assert self.dialled is not None
        self.observer.host_key("pinned_ok", "SHA256:host")
        self.observer.connected(FACTS)
        self.dialled.callback(self.target)

    def line(self, event: str) -> dict[str, Any]:
        (fields,) = [fields for name, fields in self.lines if name == event]
        return fields

    # upstream.dial.Dialler
    async def dial(
        self, grant: Any, login: Callable[[], Any], observer: Any, payer: Any, name: str, hop_login: Any
    ) -> Any:
        self.said.append(f"dial {grant.target.name} as {grant.login}")
        self.observer, self.make_login, self.make_hop_login = observer, login, hop_login
        self.dialled = Deferred(lambda _: self.said.append("dial cancelled"))
        return await self.dialled

    # upstream.credentials.TargetCredentials
    def login_for(self, grant: Any, identity: Any, session_id: str, ask: Any, pass_on: Any) -> Any:
        return ask

    def hop_login(self, grant: Any, hop: Any) -> Any:
        return f"certificate of {grant.id} for {hop.name}"

    # userauth.server.UserauthService
    def ask(
        self, prompts: tuple[Prompt, ...], instruction: str, timeout: float
    ) -> Deferred[tuple[bytes, ...]]:
        self.asked = (prompts, instruction, timeout)
        return self.answer

    def banner(self, text: str) -> None:
        self.said.append(f"banner {text!r}")

    def show_life(self) -> None:
        self.said.append("life")

    def succeed(self) -> None:
        self.said.append("success")

    def turn_away(self, line: str) -> None:
        self.said.append(line)

    # session.opening.Engineer
    trace = None

    def refusal_text(self, refusal: Refused) -> str:
        return refusal.text.upper()

    def started(self, session: Any) -> None:
        self.session = session
        self.said.append("started")

    def closed(self, reason: object) -> None:
        self.said.append("closed")

    # observe.audit.AuditLog
    def note(self, event: AuditEvent, about: About) -> None:
        assert about == About(SESSION, SESSION[:6], "", "alice", "192.0.2.1", about.target, about.login)
        assert about.target and (about.login or event.event in ("authorise", "refused"))
        self.lines.append((event.event, event.fields()))
        self.said.append(f"line {event.event}")

    def emit(self, event: AuditEvent, about: About) -> None:
        if self.audit_is_full:
            raise AuditFailed
        self.note(event, about)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


def test_everything_in_its_order_and_the_last_four_steps_in_one_turn(world: World) -> None:
    world.begin()
    assert world.said == ["line authorise", "dial web1 as root"]
    world.let_in()
    assert world.said[2:] == ["line session_started", "started", "success"]
    assert list(world.gateway.live) == [world.session]
    assert world.given_back == [] and world.gateway.opening == 0  # the place is the session's
    assert world.transport.receiver is not None and world.target.receiver is not None  # it runs
    assert world.transport.other is world.target and len(world.target.payers) == 1
    assert world.meters.value(AUTHORISATIONS, PolicyReason.ALLOWED) == 1
    assert world.meters.value(UPSTREAM_DIALS, UpstreamReason.OK) == 1
    assert world.meters.value(UPSTREAM_LEGACY, "ssh-rsa") == 1
    assert world.meters.value(SESSIONS_STARTED, "direct") == world.meters.value(SESSIONS_LIVE, "direct") == 1
    own = {name: cells for name, cells in world.meters.snapshot().items() if name.startswith("target_")}
    assert own == {
        "target_dials_total": {"web1,ok": [1], "web1,failed": [0]},
        "target_sessions_started_total": {"web1": [1]},
        "target_sessions_live": {"web1": [1]},
    }
    assert world.meters.value(OPENING_STEP_SECONDS, "policy") == 1
    assert world.meters.value(OPENING_STEP_SECONDS, "record") == world.meters.value(OPENING_SECONDS) == 1
    started = world.line("session_started")
    assert (started["host_key"], started["login_method"], started["legacy"]) == (
        "SHA256:host",
        "publickey",
        "ssh-rsa",
    )
    (file,) = world.store.directory.glob("*/*")
    assert started["policy_digest"] == "d1"
    assert b'"policy_digest":"d1"' in file.read_bytes().replace(b": ", b":")


def test_a_success_that_cannot_be_written_ends_the_session(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off() -> None:
        assert world.transport.on_closed is not None
        world.transport.on_closed(CloseReason(ClosedBy.NETWORK, 0, "", None))

    monkeypatch.setattr(world, "succeed", break_off)
    world.begin()
    world.let_in()
    assert world.said[-2:] == ["ended client_closed", "closed"] and world.target.goodbyes
    assert world.line("session_ended")["reason"] == "client_closed"


def test_the_connection_s_end_is_heard_through_the_session(world: World) -> None:
    world.begin()
    world.let_in()
    on_closed: Any = world.transport.on_closed
    on_closed(SimpleNamespace(text="", by=None))
    assert world.said[-2:] == ["ended client_closed", "closed"]


# -- refused before anything is dialled -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "login", "reason"),
    [
        ("web9", None, PolicyReason.UNKNOWN_TARGET),
        ("web1", "admin", PolicyReason.LOGIN_NOT_ALLOWED),
    ],
)
def test_what_policy_refuses(world: World, target: str, login: str | None, reason: PolicyReason) -> None:
    world.begin(target, login)
    assert world.said[:2] == ["line authorise", "line refused"]
    assert world.line("authorise")["result"] == "refused"
    refused = world.line("refused")
    assert (refused["what"], refused["reason"], refused["target"]) == ("session", reason, target)
    assert world.said[2:] == [
        f"bastion: {refused['text'].upper()} (ref {SESSION[:6]})"
    ]  # in the door's words
    assert world.meters.value(AUTHORISATIONS, reason) == 1
    assert world.dialled is None and world.reactor.getDelayedCalls() == []


def test_what_is_locked_is_refused_and_written_down(world: World) -> None:
    world.locked = "locked by the security team: why"
    world.begin()
    assert world.line("authorise")["reason"] == world.line("refused")["reason"] == PolicyReason.LOCKED
    assert world.said[-1] == f"bastion: LOCKED BY THE SECURITY TEAM: WHY (ref {SESSION[:6]})"
    assert world.meters.value(AUTHORISATIONS, PolicyReason.LOCKED) == 1 and world.dialled is None


def test_a_lock_that_was_made_while_dialling_refuses_in_the_turn_that_opens(world: World) -> None:
    world.begin()
    world.locked = "locked by the security team: why"
    world.let_in()
    assert world.line("refused")["reason"] == PolicyReason.LOCKED and world.target.goodbyes
    assert len(world.gateway.live) == len(world.gateway.present) == 0
    assert list(world.store.directory.glob("*/*")) == []


def test_nothing_opens_while_nobody_knows_what_is_locked(world: World) -> None:
    world.gateway.locks_until = world.reactor.seconds()
    world.begin()
    assert world.line("refused")["reason"] is LimitReason.LOCKS_UNCONFIRMED and world.dialled is None


@pytest.mark.parametrize("why", ["draining", "sessions"])
def test_what_the_gateway_has_no_room_for(world: World, why: str) -> None:
    world.gateway.draining = why == "draining"
    if why == "sessions":
        world.gateway.services.limits = Limits(sessions=0)
    world.begin()
    assert world.line("refused")["reason"] is LimitReason(why)
    assert world.dialled is None


def test_no_recorder_no_session(world: World) -> None:
    def full() -> None:
        raise RecorderFailed(RecorderReason.DISK_FLOOR, "the recordings' disk is nearly full")

    world.gateway.store = SimpleNamespace(admit=full)
    world.begin()
    assert world.line("refused")["reason"] is RecorderReason.DISK_FLOOR
    assert world.said[-1].startswith("bastion: SESSIONS CANNOT BE RECORDED NOW: ")
    assert world.meters.value(RECORDER_REFUSALS, RecorderReason.DISK_FLOOR) == 1
    assert world.dialled is None


def test_no_line_that_must_be_there_no_session(world: World) -> None:
    world.audit_is_full = True
    world.begin()
    assert [line for line in world.said if line.startswith("bastion: ")] == world.said
    assert world.meters.value(RECORDER_REFUSALS, RecorderReason.AUDIT_FAILED) == 1
    assert world.dialled is None


# -- refused while dialling and after ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "counted"),
    [
        (UpstreamReason.CONNECTION_REFUSED, UpstreamReason.CONNECTION_REFUSED),
        (LimitReason.BUDGET_NAME_LOOKUP, UpstreamReason.CLOSED),
        (UpstreamReason.NO_DESCRIPTOR, UpstreamReason.NO_DESCRIPTOR),
    ],
)
def test_a_target_that_cannot_be_had(world: World, reason: Any, counted: UpstreamReason) -> None:
    world.begin()
    assert world.dialled is not None
    world.dialled.errback(Refused(reason, "web1: no"))
    assert ("no descriptor for dial" in world.said) is (reason is UpstreamReason.NO_DESCRIPTOR)
    assert world.said[-2:] == ["line refused", f"bastion: WEB1: NO (ref {SESSION[:6]})"]
    assert world.meters.value(UPSTREAM_DIALS, counted) == 1
    assert world.reactor.getDelayedCalls() == [] and world.session is None
    assert world.given_back == [SESSION] and world.gateway.opening == 0


@pytest.mark.parametrize("reason", [RecorderReason.OPEN_FAILED, RecorderReason.NO_DESCRIPTOR])
def test_a_recording_that_cannot_begin_lets_the_target_go(
    world: World, monkeypatch: pytest.MonkeyPatch, reason: RecorderReason
) -> None:
    def broken(*_: object) -> None:
        raise RecorderFailed(reason, "no file")

    world.begin()
    monkeypatch.setattr(Store, "start", broken)
    world.let_in()
    assert world.target.disconnected == (11, "no session can be recorded")
    assert ("no descriptor for recording" in world.said) is (reason is RecorderReason.NO_DESCRIPTOR)
    assert world.said[-2:] == [
        "line refused",
        f"bastion: THE SESSION CANNOT BE RECORDED: NO FILE (ref {SESSION[:6]})",
    ]
    assert world.meters.value(RECORDER_FAILURES, reason) == 1
    assert world.meters.value(SESSIONS_STARTED, "direct") == 0 and "success" not in world.said


def test_a_line_that_must_be_there_when_the_session_starts(world: World) -> None:
    world.begin()
    world.audit_is_full = True
    world.let_in()
    assert world.target.goodbyes and "success" not in world.said
    assert world.line("refused")["reason"] is RecorderReason.AUDIT_FAILED


def test_a_fault_of_ours_is_the_operators_to_read(world: World) -> None:
    world.begin()
    assert world.dialled is not None
    world.dialled.errback(KeyError("a fault"))
    assert [type(fault) for fault in world.faults] == [KeyError]
    assert world.said[-1].startswith("bastion: THE GATEWAY FAILED")
    assert world.reactor.getDelayedCalls() == []


# -- while the target is being reached ----------------------------------------------------------------------------


def test_who_waits_sees_signs_of_life(world: World) -> None:
    world.begin()
    world.reactor.advance(SIGN_OF_LIFE - 0.1)
    assert "life" not in world.said
    for _ in range(3):
        world.reactor.advance(SIGN_OF_LIFE)
    assert world.said.count("life") == 3
    world.let_in()
    world.reactor.advance(SIGN_OF_LIFE)
    assert world.said.count("life") == 3


def test_who_leaves_leaves_nothing_behind(world: World) -> None:
    opening = world.begin()
    opening.cancel()
    assert world.said == ["line authorise", "dial web1 as root", "dial cancelled"]
    assert world.reactor.getDelayedCalls() == [] and world.faults == []
    assert world.meters.value(UPSTREAM_DIALS, UpstreamReason.CLOSED) == 0
    opening.cancel()


@pytest.mark.parametrize("reason", [EndReason.KILLED, EndReason.LOCKED])
def test_who_is_ended_while_the_target_is_dialled_reads_why(world: World, reason: EndReason) -> None:
    opening = world.begin()
    (present,) = world.gateway.present
    assert (present.kind, present.target, present.login) == (Kind.OPENING, "web1", "root")
    for _ in range(2):
        present.end(End(reason, "ended by the security team: why"))
    assert world.said[2:] == [
        "dial cancelled",
        "line refused",
        f"bastion: ENDED BY THE SECURITY TEAM: WHY (ref {SESSION[:6]})",
    ]
    assert world.line("refused")["reason"] == str(reason)
    assert len(world.gateway.present) == 0 and world.given_back == [SESSION]
    assert world.reactor.getDelayedCalls() == [] and world.faults == []
    opening.cancel()


def test_what_has_begun_is_ended_as_a_session(world: World) -> None:
    world.begin()
    world.let_in()
    (present,) = world.gateway.present
    assert present.kind is Kind.SESSION
    present.end(End(EndReason.KILLED, "x"))
    assert world.said[-1] == "ended killed"


def test_a_cancel_after_the_start_changes_nothing(world: World) -> None:
    opening = world.begin()
    world.let_in()
    opening.cancel()
    assert len(world.gateway.live) == 1 and world.said[-1] == "success"


def test_a_cancel_that_nobody_asked_for_is_a_fault(world: World) -> None:
    world.begin()
    assert world.dialled is not None
    world.dialled.cancel()
    assert len(world.faults) == 1 and world.said[-1].startswith("bastion: THE GATEWAY FAILED")


def test_the_target_s_banner_is_written_down_first_and_marked(world: World) -> None:
    world.begin()
    world.observer.banner("keep out\n", 3)
    assert world.said[2] == "line target_banner"
    assert world.said[3].startswith("banner ") and "web1" in world.said[3] and "keep out" in world.said[3]
    assert (world.line("target_banner")["missing"], world.line("target_banner")["text"]) == (3, "keep out\n")


@pytest.mark.parametrize(("grace", "timeout"), [(30.0, 30.0), (0.0, ANSWER_TIME)])
def test_the_engineer_is_asked_for_the_target_s_password(world: World, grace: float, timeout: float) -> None:
    world.transport.settings.login_grace = grace
    world.begin()
    got: list[bytes] = []
    world.make_login()("Password of root on web1: ", "once more").addCallback(got.append)
    assert world.asked == ((Prompt("Password of root on web1: "),), "once more", timeout)
    world.answer.callback((b"secret",))
    assert got == [b"secret"]
