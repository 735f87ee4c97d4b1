"""One session: one engineer leg, one target leg, a pure relay between them, a recording beside it.

The invariant of the product stands in `_burst`: what one read brought is judged, written to the recording with
one write(2), and only then sealed for the other leg, all in the same reactor turn. A recorder that fails ends
the session with nothing of that burst forwarded. Back-pressure is TCP's: a leg whose peer takes nothing pauses
the other leg's reading.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bastion.clock import DelayedCall, Timers
from bastion.errors import EndReason, ProtocolError, RecorderFailed
from bastion.net.read_size import KEYSTROKE, pace
from bastion.observe.events import About
from bastion.policy.rules import TOLD
from bastion.relay.relay import Actions, Relay
from bastion.session.ending import End
from bastion.session.present import Counts
from bastion.session.tap import SessionTap
from bastion.session.watch import Watch, WatchLimits
from bastion.session.watching import Watcher
from bastion.sides import Side
from bastion.state.rows import Moved
from bastion.transport.packet_conn import PacketConn
from bastion.transport.settings import CloseReason
from bastion.wire.numbers import MSG_CHANNEL_DATA, Disconnect

# Seconds after a burst that left a gap open, until its tail is written (recording.bulk.SETTLE_SECONDS is 0.2).
SETTLE = 0.25
# Seconds between an engineer's last bytes and the DISCONNECT.
PARTING = 0.25


def _nobody(payloads: list[bytes]) -> None:
    """Hears an engineer's leg between the end of its session and its DISCONNECT: nothing of it is forwarded, so nothing
    of it is recorded."""


class Session:
    """Joins two legs until one of them ends. `on_ended` is called once with the `End`.

    `heard` counts reads with connection messages, by Side: what idle and keepalive timers look at. An idle
    session is this object and what it names; nothing of its opening stays.
    """

    __slots__ = (
        "_client",
        "_clock",
        "_on_client_closed",
        "_on_ended",
        "_settling",
        "_tap",
        "_target",
        "_watch",
        "door",
        "heard",
        "relay",
        "session_id",
        "watched",
    )

    def __init__(
        self,
        session_id: str,
        door: str,
        client: PacketConn,
        target: PacketConn,
        relay: Relay,
        tap: SessionTap,
        clock: Timers,
        limits: WatchLimits,
        on_ended: Callable[[Session, End], None],
        watched: str = TOLD,
    ) -> None:
        """`watched` is what the rules say of watching it (`policy.rules.WATCH`)."""
        self.session_id = session_id
        self.door = door
        self.relay = relay
        self.watched = watched
        self._client: PacketConn | None = client
        self._target: PacketConn | None = target
        self._tap = tap
        self._clock = clock
        self._settling: DelayedCall | None = None
        self._on_ended: Callable[[Session, End], None] | None = on_ended
        self._on_client_closed: Callable[[CloseReason], None] | None = None
        self._watch: Watch | None = Watch(self, clock, limits)
        self.heard = [0, 0]

    @property
    def about(self) -> About:
        """Whose it is, for lines of the audit log about it."""
        return self._tap.about

    def start(self, on_client_closed: Callable[[CloseReason], None]) -> None:
        """Take over both legs. From here on every connection message passes `receive_burst`.

        `on_client_closed` still hears of the engineer's connection, after the session has ended.
        """
        self._on_client_closed = on_client_closed
        client, target = self._client, self._target
        assert client is not None and target is not None
        client.other, target.other = target, client
        client.on_closed = self._client_closed
        target.on_closed = self._target_closed
        client.receiver = partial(self.receive_burst, Side.CLIENT)
        target.receiver = partial(self.receive_burst, Side.TARGET)
        if self._watch is not None:
            self._watch.start()

    def _client_closed(self, why: CloseReason) -> None:
        told, self._on_client_closed = self._on_client_closed, None
        self.end(End.of_close(EndReason.CLIENT_CLOSED, why))
        if told is not None:
            told(why)

    def _target_closed(self, why: CloseReason) -> None:
        self.end(End.of_close(EndReason.TARGET_CLOSED, why))

    @property
    def running(self) -> bool:
        """It has both its legs."""
        return self._client is not None

    # -- the hot path ------------------------------------------------------------------------------------

    def receive_burst(self, side: Side, payloads: list[bytes]) -> None:
        """Judge, record, forward: the messages of one read from `side`, in order."""
        if self._client is None:
            return
        self.heard[side] += 1
        if len(payloads) == 1 and len(payloads[0]) <= KEYSTROKE and payloads[0][0] == MSG_CHANNEL_DATA:
            pace.typed()
        out = Actions()
        receive = self.relay.receive
        broken: ProtocolError | None = None
        try:
            for payload in payloads:
                receive(side, payload, out)
        except ProtocolError as error:
            broken = error
        except RecorderFailed as error:
            self._recorder_failed(error)
            return
        if not self._commit_and_forward(out):
            return
        if broken is not None:
            if side is Side.CLIENT:
                self.end(End(EndReason.CLIENT_ERROR, broken.text, code=broken.code))
            else:
                self.end(End(EndReason.TARGET_ERROR, f"the target broke the protocol: {broken.text}"), broken)

    def _commit_and_forward(self, out: Actions) -> bool:
        """Write the block of this turn, then forward it. False when the recorder failed and all is over."""
        try:
            due = self._tap.commit()
        except RecorderFailed as error:
            self._recorder_failed(error)
            return False
        if out.to_target and self._target is not None:
            self._target.send(out.to_target)
        if out.to_client and self._client is not None:
            self._client.send(out.to_client)
        if due and self._client is not None:  # sending may have ended it
            self._heed_the_rate()
        return True

    def _heed_the_rate(self) -> None:
        """Bulk leaves gaps, whose ends are written soon; terminals are kept in full, and read no faster than that.

        Whoever has recorded as much as he may is told so, and it is over.
        """
        if spent := self._tap.spent:
            self.end(End(EndReason.RECORDING_LIMIT, spent))
            return
        for side, seconds in self._tap.owed().items():
            leg = self._client if side == Side.CLIENT else self._target
            if leg is not None:
                leg.rest(seconds)
        if self._tap.unsettled and self._settling is None:
            self._settling = self._clock.callLater(SETTLE, self._settle)

    def _settle(self) -> None:
        """The end of a bulk transfer reaches the disk even when nothing follows it."""
        self._settling = None
        if self._client is not None:
            self._commit_and_forward(Actions())

    def sign(self) -> bool:
        """Sign what was recorded, if it has waited for long enough; True when that was done."""
        if self._client is None or not self._tap.is_due():
            return False
        self._commit_and_forward(Actions())
        return True

    # -- what the clocks look at -------------------------------------------------------------------------

    @property
    def moved(self) -> int:
        """Channel bytes so far, both ways."""
        return self._tap.moved

    def counts(self) -> Counts:
        """Channels so far, and their bytes each way."""
        return self._tap.counts()

    def moved_in_all(self) -> tuple[Moved, int]:
        """What has passed, and the size of the recording: for the session's row at its end."""
        return self._tap.moved_in_all()

    def watch(self, watcher: Watcher) -> bool:
        """From now on `watcher` is shown what is written; False: it is over."""
        return self._client is not None and self._tap.watch(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """And now no more."""
        self._tap.unwatch(watcher)

    def recording(self) -> tuple[Path, int, bytes, dict[int, tuple[int, int]]]:
        """The file and its size, what each of its blocks begins with, and the size of each terminal by its channel."""
        return self._tap.recording()

    def is_read(self, side: Side) -> bool:
        """False while back-pressure keeps us from reading this leg."""
        other = self._client if side is Side.TARGET else self._target
        return other is not None and not other.blocked

    # -- our own words -----------------------------------------------------------------------------------

    def ask_alive(self, side: Side) -> None:
        """Send keepalive@openssh.com to one leg; the answer is swallowed and counted by the relay."""
        if self._client is not None:
            out = Actions()
            self.relay.ask(side, "keepalive@openssh.com", out)
            self._commit_and_forward(out)

    def warn(self, text: str) -> None:
        """Show one line of ours on every pty of the engineer, recorded as injected text."""
        if self._client is not None:
            out = Actions()
            self.relay.warn(text.encode(), out)
            self._commit_and_forward(out)

    # -- endings -----------------------------------------------------------------------------------------

    def recording_refused(self) -> None:
        """The disk has refused to sync what was written: the session ends, although it says nothing now."""
        failure = self._tap.failure
        if failure is not None and self._client is not None:
            self._recorder_failed(failure)

    def _recorder_failed(self, error: RecorderFailed) -> None:
        # Nothing of this burst was seen by anybody: it is dropped, and the legs learn why.
        self._tap.broken(error)
        self.end(End(EndReason.RECORDER_FAILED, f"the session cannot be recorded: {error.text}"))

    def end(self, end: End, target_broke: ProtocolError | None = None) -> None:
        """End both legs, once. The reason goes to ptys as a line and to the engineer's leg as DISCONNECT.

        The target learns that it is over, or what it did wrong.
        """
        client, target, on_ended = self._client, self._target, self._on_ended
        if client is None or target is None:
            return
        self._client = self._target = self._on_ended = None
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        # The engineer's leg still tells the front connection of its close; the target's tells nobody.
        client.receiver = client.other = None
        target.receiver = target.other = target.on_closed = None
        if end.reason not in (EndReason.CLIENT_CLOSED, EndReason.CLIENT_ERROR):
            self._say_goodbye(client, end)
        self._close_channels()
        self._tap.ended(end)
        self._part(client, end)
        if target_broke is not None:
            target.disconnect(target_broke.code, target_broke.text)
        else:
            target.disconnect(Disconnect.BY_APPLICATION, "the session has ended")
        if on_ended is not None:
            on_ended(self, end)

    def _part(self, client: PacketConn, end: End) -> None:
        """DISCONNECT the engineer: at once when that leg is the reason, else after a moment.

        OpenSSH drops what it has not printed yet when a DISCONNECT comes in the same read, and a target may hang
        up right behind its last byte. Meanwhile what the engineer sends has nobody to go to.
        """
        if end.reason in (EndReason.CLIENT_CLOSED, EndReason.CLIENT_ERROR):
            client.disconnect(end.code, end.line)
            return
        client.receiver = _nobody
        self._clock.callLater(PARTING, client.disconnect, end.code, end.line)

    def _close_channels(self) -> None:
        """Every channel that was still open gets its closing line, in the recording and in the audit log."""
        try:
            self.relay.finish()
        except RecorderFailed:
            pass  # the same failure that is ending the session, or the next one: it has been counted

    def _say_goodbye(self, client: PacketConn, end: End) -> None:
        """Last words on the engineer's ptys, from the window reserve; recorded unless the recorder is broken."""
        if end.reason is EndReason.TARGET_CLOSED:
            return
        out = Actions()
        try:
            self.relay.terminate(f"\r\n{end.line}\r\n".encode(), out)
            self._tap.commit()
        except (RecorderFailed, ProtocolError):
            pass  # the ending itself may not be stopped by its own announcement
        if out.to_client:
            client.send(out.to_client)
