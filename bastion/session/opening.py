"""From an authenticated engineer to a running session: authorise, admit, dial, record, start.

The order is the product: policy decides before anything is dialled, the store says that a recording is possible
before anything is dialled, and the recording exists before the engineer hears of success. The same opening
serves every door.

While the target is being reached the engineer is shown signs of life; USERAUTH_SUCCESS goes out only when the session
is ready, so that no message of the engineer has to wait for a target. A failure is one line that is read once, with
the reference that `bastion explain` takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from bastion.auth.factors import Chain
from bastion.auth.identity import Destination, Identity
from bastion.clock import DelayedCall
from bastion.errors import (
    LimitReason,
    PolicyReason,
    RecorderFailed,
    RecorderReason,
    Refused,
    UpstreamReason,
)
from bastion.observe.audit import AuditFailed
from bastion.observe.events import About, AuditEvent
from bastion.observe.events.logins import Authorise
from bastion.observe.events.refusals import SessionRefused
from bastion.observe.exemplars import SessionMeters
from bastion.observe.families.recordings import RECORDER_FAILURES, RECORDER_REFUSALS
from bastion.observe.meters import (
    AUTHORISATIONS,
    UPSTREAM_DIALS,
)
from bastion.observe.spans import INTERRUPTED
from bastion.policy.decide import GrantDecider
from bastion.policy.grant import FactorsNeeded, Grant, authorise
from bastion.policy.locks import party_of
from bastion.policy.roads import road_of
from bastion.recording.bulk import Mode
from bastion.recording.format import REF_LENGTH
from bastion.relay.relay import Relay, RelayLimits
from bastion.session.approving import Approval, check_bound, count, obtain
from bastion.session.clocks import clocks_of
from bastion.session.ending import End
from bastion.session.engineer import Engineer
from bastion.session.gateway import Gateway
from bastion.session.heading import Place, header_of, started_line
from bastion.session.live import right_of
from bastion.session.paying import SessionPayer
from bastion.session.present import Counts, Kind, Present
from bastion.session.reaching import Reached
from bastion.session.session import Session
from bastion.session.tap import AUDIT_TEXT, SessionTap
from bastion.session.timing import OpeningTimes
from bastion.state.rows import session_started
from bastion.transport.packet_conn import PacketConn
from bastion.transport.transport import Transport
from bastion.upstream.leg import UpstreamLogin
from bastion.userauth.server import UserauthService
from bastion.wire.interning import one_of_equal
from bastion.wire.numbers import Disconnect
from bastion.wire.userauth import Prompt

# While the engineer waits for the target an IGNORE goes out this often: a client with ServerAliveInterval
# drops a silent leg.
SIGN_OF_LIFE = 5.0

# Seconds to answer a question when the login grace, which is the limit otherwise, is switched off.
ANSWER_TIME = 60.0


class Opening:
    """One try to open one session, whose id is the connection's: it is also the reference of a refusal."""

    def __init__(
        self,
        gateway: Gateway,
        door: str,
        engineer: Engineer,
        userauth: UserauthService,
        identity: Identity,
        destination: Destination,
        owed: Chain = (),
    ) -> None:
        """`userauth` holds the login of `engineer`, which has proved to be `identity` and waits for its success; what
        is `owed` of it others judge, before anything else."""
        self._gateway = gateway
        self._services = gateway.services
        self._door = door
        self._engineer = engineer
        self._userauth = userauth
        self._session_id = engineer.id
        self._ref = engineer.id[:REF_LENGTH]
        self._identity = identity
        self._destination, self._login = destination, destination.login or ""
        self._owed = owed
        self._running: Deferred[None] | None = None  # until the session runs, or cannot
        self._ended: Refused | None = None  # by somebody, before that
        self._life: DelayedCall | None = None
        self._approval: Approval | None = None
        self._claiming = False  # an approval is asked for, or used up, for this session
        self._reached: Reached | None = None
        self._counts = SessionMeters(gateway.meters, gateway.clock, engineer.id, engineer.trace)
        self._times = OpeningTimes(self._counts, gateway.reactor)

    def begin(self) -> None:
        """It ends in `Engineer.started`, in one line for the engineer, or in `cancel`."""
        self._running = running = Deferred.fromCoroutine(self._open())
        running.addErrback(self._failed)

    def cancel(self) -> None:
        """The engineer is gone: whatever is under way ends."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    def end(self, end: End) -> None:
        """Somebody ends it: whatever is under way ends, and the engineer reads why."""
        running = self._running
        if running is not None and self._ended is None:
            self._ended = end.refusal
            running.cancel()

    async def _open(self) -> None:
        """The whole way. The target's success, ours and the start of the session are one turn of the reactor."""
        engineer = self._engineer
        self._life = self._gateway.reactor.callLater(SIGN_OF_LIFE, self._show_life)
        try:
            grant = await self._authorised()
            if grant.approval:
                grant = await self._with_approval(grant)
            self._admit(grant)
            session = await self._reach(grant)
        except CancelledError:
            if self._ended is None:
                raise  # the engineer has left
            self._note_refusal(self._ended)
            raise self._ended from None
        except RecorderFailed as error:
            raise self._unrecordable(error) from None
        except Refused as refusal:
            self._note_refusal(refusal)
            raise
        finally:
            self._life.cancel()
        self._running, self._claiming = None, False
        self._trace_over()
        engineer.started(session)
        session.start(on_client_closed=engineer.closed)
        news = self._services.inner_host_keys.front.news(engineer.transport.keys)
        if news is not None:
            session.relay.prove_host_keys(news.prove)
        # The last: if writing it ends the engineer's connection, the session hears of it.
        self._userauth.succeed()
        if news is not None and session.running:
            engineer.transport.send([news.message()])

    async def _reach(self, grant: Grant) -> Session:
        """With a place that was taken, which stays the session's."""
        gateway = self._gateway
        self._be_present(Kind.OPENING, grant, self.end)
        try:
            with self._times.dial():
                target = await self._dial(grant)
            self._check_locks(grant, target)
            return self._join(self._engineer.transport, target, grant, self._record(grant, target))
        except BaseException:  # also when the engineer has left
            gateway.present.remove(self._session_id)
            gateway.not_opened(self._session_id)
            raise

    def _show_life(self) -> None:
        self._life = self._gateway.reactor.callLater(SIGN_OF_LIFE, self._show_life)
        self._userauth.show_life()

    def _failed(self, failure: Failure) -> None:
        """One line, which the engineer reads once; none when the engineer has left."""
        running, self._running = self._running, None
        if self._claiming:
            self._gateway.approvals.give_back(self._session_id)
        error = failure.value
        self._trace_over(error.reason if isinstance(error, Refused) else INTERRUPTED)
        if running is None and isinstance(error, CancelledError):
            return
        if not isinstance(error, Refused):
            self._gateway.log_failure("opening a session", failure)
            error = Refused(PolicyReason.NO_RULE, "the gateway failed, the operator's log says how")
        self._userauth.turn_away(f"bastion: {self._engineer.refusal_text(error)} (ref {self._ref})")

    # -- somebody else's word ------------------------------------------------------------------------------

    async def _with_approval(self, grant: Grant) -> Grant:
        """The grant once more, made of what is in force in this turn, in which it is dialled. Nothing is held while
        somebody else decides, and whoever waits can be ended. Raises Refused."""
        gateway = self._gateway

        def tell(line: str) -> None:
            self._userauth.banner(f"bastion: {line}\r\n")

        self._be_present(Kind.OPENING, grant, self.end)
        self._claiming = True
        try:
            self._approval = approval = await obtain(gateway, self._identity, grant, self._session_id, tell)
        finally:
            gateway.present.remove(self._session_id)
        self._services, self._identity = gateway.services, approval.identity
        again = self._authorise()
        check_bound(approval, again)
        self._times.begin()
        return again

    # -- before dialling ---------------------------------------------------------------------------------

    async def _authorised(self) -> Grant:
        """The Grant, after all that the login owes and its rules want proved."""
        if self._owed:
            owed = FactorsNeeded("this connection", self._owed)
            self._identity = await self._engineer.prove(self._identity, self._destination, owed)
        try:
            return self._authorise()
        except FactorsNeeded as needed:
            self._identity = await self._engineer.prove(self._identity, self._destination, needed)
            self._times.begin()
            return self._authorise()

    def _authorise(self) -> Grant:
        identity, destination, services = self._identity, self._destination, self._services
        reason: PolicyReason = PolicyReason.ALLOWED
        grant: Grant | None = None
        try:
            with self._times.step("policy"):
                grant = authorise(
                    services.policy,
                    services.inventory,
                    identity,
                    destination.target or "",
                    destination.login,
                    identity.source_address,
                    self._gateway.clock.time(),
                    self._session_id,
                )
            self._login = grant.login
            self._gateway.check_locks(identity, grant.target)
        except Refused as refusal:
            assert isinstance(refusal.reason, PolicyReason)
            reason, grant = refusal.reason, None
            raise
        finally:
            self._counts.add(AUTHORISATIONS, reason)
            self._emit(
                Authorise(
                    result="refused" if grant is None else "ok",
                    reason=reason,
                    user=identity.name,
                    target=destination.target or "",
                    login=(destination.login or "") if grant is None else grant.login,
                    rules="" if grant is None else ",".join(grant.rules),
                )
            )
        return grant

    def _admit(self, grant: Grant) -> None:
        """No recorder, no session; and no session past the limits or while draining."""
        gateway = self._gateway
        if gateway.draining:
            raise Refused(LimitReason.DRAINING, "the gateway is closing down, try again")
        gateway.check_known()
        try:
            gateway.state.admit()
            gateway.store.admit()
        except RecorderFailed as error:
            raise self._unrecordable(error) from None
        gateway.take_place(self._session_id, self._identity.uid, grant.max_sessions)

    def _unrecordable(self, error: RecorderFailed) -> Refused:
        """What the engineer is told when there can be no recording, or no audit line that must be there."""
        self._counts.add(RECORDER_REFUSALS, error.reason)
        return Refused(error.reason, f"sessions cannot be recorded now: {error.text}")

    # -- dialling ----------------------------------------------------------------------------------------

    async def _dial(self, grant: Grant) -> Transport:
        """The target's leg, logged in. Raises Refused."""
        gateway, services, identity = self._gateway, self._services, self._identity
        show, target_name = self._userauth.banner, grant.target.name
        self._reached = reached = Reached(gateway, self._counts, identity.name, target_name, self._note, show)

        def ask(prompt: str, instruction: str) -> Deferred[bytes]:
            """One hidden answer of the engineer."""
            return self._ask((Prompt(prompt),), instruction).addCallback(lambda answers: answers[0])

        def make_login() -> UpstreamLogin | Deferred[UpstreamLogin]:
            return services.upstream.login_for(grant, identity, self._session_id, ask, self._ask)

        try:
            payer, name = gateway.budget.identity(identity.name), f"{self._session_id} target"
            make_hop_login = partial(services.upstream.hop_login, grant)
            target = await services.dialler.dial(grant, make_login, reached, payer, name, make_hop_login)
        except Refused as refusal:
            reason = refusal.reason
            if reason is UpstreamReason.NO_DESCRIPTOR:
                gateway.out_of_descriptors("dial")
            known = isinstance(reason, UpstreamReason)
            self._counts.add(UPSTREAM_DIALS, reason if known else UpstreamReason.CLOSED)
            gateway.per_target.dialled(grant.target.name, ok=False)
            raise
        self._counts.add(UPSTREAM_DIALS, UpstreamReason.OK)
        gateway.per_target.dialled(grant.target.name, ok=True)
        return target

    def _ask(self, prompts: tuple[Prompt, ...], instruction: str) -> Deferred[tuple[bytes, ...]]:
        """Answers of the engineer, within the time that a login may take."""
        self._times.asked()
        timeout = self._engineer.transport.settings.login_grace or ANSWER_TIME
        return self._userauth.ask(prompts, instruction, timeout)

    # -- after dialling ----------------------------------------------------------------------------------

    def _check_locks(self, grant: Grant, target: Transport) -> None:
        """Again, in the turn in which the session begins: a lock that was made meanwhile has found nothing to end."""
        try:
            self._gateway.check_locks(self._identity, grant.target)
        except Refused:
            target.disconnect(Disconnect.BY_APPLICATION, "the session was refused")
            raise

    def _record(self, grant: Grant, target: Transport) -> SessionTap:
        """The recording, begun. Raises Refused; then the target is told goodbye."""
        gateway = self._gateway
        try:
            with self._times.step("record"):
                return self._start_recording(grant)
        except RecorderFailed as error:
            target.disconnect(Disconnect.BY_APPLICATION, "no session can be recorded")
            if error.reason is RecorderReason.NO_DESCRIPTOR:
                gateway.out_of_descriptors("recording")
            self._counts.add(RECORDER_FAILURES, error.reason)
            raise Refused(error.reason, f"the session cannot be recorded: {error.text}") from None

    def _join(self, client: PacketConn, target: Transport, grant: Grant, tap: SessionTap) -> Session:
        """A session between the two legs, in the live list and not started."""
        gateway, limits = self._gateway, self._services.limits
        relay = Relay(
            GrantDecider(grant, gateway.clock),
            tap,
            one_of_equal(RelayLimits(channels=limits.channels, sftp_hash=limits.sftp_hash)),
            SessionPayer(gateway.budget, self._identity.name, gateway.clock.monotonic),
        )
        target.keys.charge(gateway.pays_key_exchanges(self._identity.name))
        session = Session(
            self._session_id,
            self._door,
            client,
            target,
            relay,
            tap,
            gateway.reactor,
            clocks_of(grant, limits, gateway.clock),
            gateway.session_ended,
            grant.watch,
        )
        self._be_present(Kind.SESSION, grant, session.end, session.counts)
        gateway.opened(session, right_of(grant, self._identity))
        self._times.opened()
        return session

    def _be_present(
        self, kind: Kind, grant: Grant, end: Callable[[End], None], counts: Callable[[], Counts] = Counts
    ) -> None:
        """From now on somebody may see it and end it by `end`; what had this id before it has it no more."""
        self._gateway.present.add(
            Present(
                self._session_id,
                kind,
                party_of(self._identity),
                self._door,
                self._gateway.clock.time(),
                end,
                grant.target.name,
                grant.login,
                self._engineer.outer,
                counts=counts,
                via=tuple(hop.name for hop in road_of(grant.inventory, grant.target)),
            )
        )

    def _start_recording(self, grant: Grant) -> SessionTap:
        gateway, identity, reached = self._gateway, self._identity, self._reached
        assert reached is not None and reached.upstream is not None
        began, hops = gateway.clock.time(), tuple(reached.hops)
        place = Place(self._session_id, self._door, began, reached.host_key_shown, hops)
        by = self._services.policy_digest
        header = header_of(identity, grant, place, by, self._approval)  # in the file before anybody works
        policy, mode = self._services.recording, grant.target.recording
        policy = policy if mode is None else replace(policy, mode=Mode(mode))  # the target's own
        recorder, writer = gateway.store.start(header, policy)
        tap = SessionTap(
            recorder,
            writer,
            gateway.audit,
            gateway.meters,
            self._about(),
            sftp_content=grant.sftp_content,
            detail=self._services.limits.audit_detail,
            allowance=gateway.allowance(identity.name),
        )
        tap.on_first_output = self._times.first_output()
        recorder.event(reached.upstream)  # in the first block that is written, so before anybody works
        for banner in reached.banners:
            recorder.event(banner)
        try:
            self._emit(started_line(header, reached.upstream))
        except RecorderFailed as error:
            tap.broken(error)
            raise
        path = f"{writer.path.parent.name}/{writer.path.name}"
        rows = session_started(header, path, gateway.state.writer, self._engineer.outer)
        gateway.state.note(rows)
        return tap

    # -- words -------------------------------------------------------------------------------------------

    def _note_refusal(self, refusal: Refused) -> None:
        count(self._gateway, refusal)
        self._note(
            SessionRefused(
                user=self._identity.name,
                target=self._destination.target or "",
                reason=refusal.reason,
                text=refusal.text,
            )
        )

    def _emit(self, event: AuditEvent) -> None:
        """One audit line about what is to be allowed. Raises RecorderFailed when it must be there and is not."""
        try:
            self._gateway.audit.emit(event, self._about())
        except AuditFailed:
            raise RecorderFailed(RecorderReason.AUDIT_FAILED, AUDIT_TEXT) from None

    def _note(self, event: AuditEvent) -> None:
        """One audit line about a refusal, which nothing can refuse."""
        self._gateway.audit.note(event, self._about())

    def _trace_over(self, error: str = "") -> None:
        trace, self._counts.trace = self._counts.trace, None
        if trace is not None:
            self._gateway.traces.finish(trace, self._door, self._destination.target or "", error)

    def _about(self) -> About:
        identity, place = self._identity, (self._destination.target or "", self._login)
        return About(self._session_id, self._ref, "", identity.name, identity.source_address, *place)
