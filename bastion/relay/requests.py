"""Requests and their replies, of channels and of the connection (RFC 4254 sections 4 and 5.4).

Invariants: each side gets its answers in the order of its requests, whoever gives them; a request that
policy or a table refused never reaches the other side; a reply to nothing is dropped and counted
(CVE-2026-39830).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bastion.errors import PolicyReason, ProtocolError
from bastion.policy.verdict import Verdict
from bastion.relay import events, passlist
from bastion.relay.channels import CLOSED, Channel, ChannelTable, Half
from bastion.relay.decider import Decider
from bastion.relay.invitations import ANY_PORT, MAX_PLACES, Invitations, invite, place_of, withdraw
from bastion.relay.ledger import Entry, Ledger
from bastion.relay.limits import Actions, RelayLimits
from bastion.relay.paying import UNPAID, Accounts
from bastion.relay.sftp.channel import AuditedSftp
from bastion.relay.sftp.control import ControlledSftp
from bastion.relay.tap import Tap
from bastion.sides import Counts, Side, counted
from bastion.wire import numbers
from bastion.wire.body import Detail
from bastion.wire.messages import (
    ChannelFailure,
    ChannelRequest,
    ChannelSuccess,
    GlobalRequest,
    RequestFailure,
    RequestSuccess,
    WindowAdjust,
)
from bastion.wire.requests import (
    CHANNEL_REQUESTS,
    GLOBAL_REPLIES,
    GLOBAL_REQUESTS,
    Body,
    Exec,
    ExitSignal,
    ExitStatus,
    ForwardedPort,
    Subsystem,
    WindowChange,
    parse_body,
    printable,
    refused_detail,
)

_PASSED = Verdict(True, PolicyReason.ALLOWED)
_UNKNOWN = Verdict(False, PolicyReason.UNKNOWN_REQUEST, text="request is not known here")
_SECOND_PROGRAM = Verdict(
    False, PolicyReason.VERB_NOT_ALLOWED, text="the channel has its shell, exec or subsystem already"
)
# As sshd does; and a cookie is the one field of which the recording has no more than a digest.
_SECOND_X11 = Verdict(False, PolicyReason.VERB_NOT_ALLOWED, text="the channel has asked for X11 already")
_TOO_MANY_PLACES = Verdict(
    False, PolicyReason.CHANNEL_LIMIT, text=f"no more than {MAX_PLACES} remote forwards per connection"
)
_SFTP_ON_PTY = Verdict(False, PolicyReason.VERB_NOT_ALLOWED, text="sftp cannot be controlled on a terminal")
_SFTP_AFTER_DATA = Verdict(
    False, PolicyReason.VERB_NOT_ALLOWED, text="sftp cannot be controlled where data came before it"
)
_REQUEST_FAILURE = RequestFailure().encode()


class Requests:
    """Global and channel requests, and the ledgers of who owes which answer.

    `invitations` are the places for which the target may open channels because the client asked for it;
    `unsolicited` counts replies to nothing, by the side that sent them; `answered` is called with the side that
    answered a request of ours; `prove` makes the answer to the client's one question about our host keys.
    """

    __slots__ = (
        "_channels",
        "_limits",
        "_owed",
        "_policy",
        "_refused",
        "_tap",
        "accounts",
        "answered",
        "invitations",
        "no_more_sessions",
        "prove",
        "unsolicited",
    )

    def __init__(
        self, channels: ChannelTable, policy: Decider, tap: Tap, limits: RelayLimits, accounts: Accounts
    ) -> None:
        self.accounts = accounts
        self._channels = channels
        self._policy = policy
        self._refused: Counts = (0, 0)
        self._tap = tap
        self._limits = limits
        self._owed = (Ledger(limits.connection_replies), Ledger(limits.connection_replies))
        self.answered: Callable[[Side], None] | None = None
        self.prove: Callable[[bytes], bytes] | None = None
        self.invitations = Invitations()
        self.no_more_sessions = False
        self.unsolicited: Counts = (0, 0)

    def count_refusal(self, side: Side) -> None:
        """One more open or request of `side` is refused; `ProtocolError` when there were too many."""
        self._refused = counted(self._refused, side)
        if self._refused[side] > self._limits.refusals:
            raise ProtocolError("too many refused requests")

    # -- of the connection -------------------------------------------------------------------------------

    def global_request(self, side: Side, payload: bytes, out: Actions) -> None:
        message = GlobalRequest.parse(payload)
        name = message.name
        if name in passlist.LEG_BOUND_REQUESTS:
            if not self._proved(side, message, out):
                self._refuse_global(side, message, out)
            return
        if not self._paid(side, name, message.body, name in passlist.PASSED_GLOBAL_REQUESTS[side]):
            self._tell_unpaid(0, side, name)
            self._refuse_global(side, message, out)
            return
        body = parse_body(GLOBAL_REQUESTS, name, message.body)
        if body is not None:
            message = GlobalRequest(name, message.want_reply, body.encode())
        if name in passlist.PASSED_GLOBAL_REQUESTS[side]:
            verdict = _PASSED
        elif body is not None and side is Side.CLIENT and name in passlist.JUDGED_GLOBAL_REQUESTS:
            full = self.invitations.full(name, place_of(body))
            verdict = _TOO_MANY_PLACES if full else self._policy.global_request(side, name, body)
        else:
            verdict = _UNKNOWN
        if not verdict.allowed:
            self.count_refusal(side)
            detail = refused_detail(body)
            self._tap.event(
                events.RequestRefused(0, side, name, verdict.reason, verdict.text, verdict.rule, detail)
            )
            self._refuse_global(side, message, out)
            return
        place = place_of(body)
        if message.want_reply:
            self._owed[side.other].add_forwarded(name, place)
        self.invitations.asked(name, place, answered=message.want_reply)
        if name == passlist.NO_MORE_SESSIONS:
            self.no_more_sessions = True
        if name not in passlist.QUIET_REQUESTS:
            detail = body.detail() if body is not None else {}
            self._tap.event(events.RequestForwarded(0, side, name, detail, verdict.rule))
        out.onward[side].append(message.encode())

    def _paid(self, side: Side, name: str, body: bytes, passed: bool) -> bool:
        """Is there anybody who pays for what is written of this request? What goes through unasked is no line."""
        return name in passlist.QUIET_REQUESTS or self.accounts.pay_request(side, body, lines=not passed)

    def _tell_unpaid(self, channel_id: int, side: Side, name: str) -> None:
        self.count_refusal(side)
        if self.accounts.refuse(side):
            verdict = UNPAID
            self._tap.event(
                events.RequestRefused(channel_id, side, name, verdict.reason, verdict.text, verdict.rule, {})
            )

    def _refuse_global(self, side: Side, message: GlobalRequest, out: Actions) -> None:
        if message.want_reply and self._owed[side.other].add_refused():
            out.back[side].append(_REQUEST_FAILURE)

    def _proved(self, side: Side, message: GlobalRequest, out: Actions) -> bool:
        """The client asks whether we hold the host keys that we told it of: answered once, in its turn."""
        prove = self.prove
        if prove is None or side is not Side.CLIENT or not message.want_reply:
            return False
        if message.name != passlist.HOSTKEYS_PROVE:
            return False
        self.prove = None
        proof = prove(message.body)
        if proof and self._owed[Side.TARGET].add_answer(proof):
            out.back[side].append(proof)
        return bool(proof)

    def ask(self, side: Side, name: str, out: Actions) -> bool:
        """Send `side` a global request of ours that wants a reply; False when it owes too many already."""
        if not self._owed[side].add_asked(name):
            return False
        out.onward[side.other].append(GlobalRequest(name, True).encode())
        return True

    def global_reply(self, side: Side, payload: bytes, out: Actions) -> None:
        """REQUEST_SUCCESS, whose body belongs to the request, or REQUEST_FAILURE, which has none."""
        ok = payload[0] == numbers.MSG_REQUEST_SUCCESS
        message = RequestSuccess.parse(payload) if ok else RequestFailure.parse(payload)
        entry = self._settle(self._owed[side], side)
        if entry is None:
            return
        port = 0
        if isinstance(message, RequestSuccess):
            message, port = _reply(entry, message)
        self.invitations.settled(entry.name, entry.place, ok, port)
        if entry.name not in passlist.QUIET_REQUESTS:
            self._tap.event(events.RequestAnswered(0, side, entry.name, ok, port))
        onward = out.onward[side]
        onward.append(message.encode())
        before = len(onward)
        onward.extend([_REQUEST_FAILURE] * entry.refusals)
        if entry.proof is not None:
            onward.insert(before + entry.proof[0], entry.proof[1])

    def _settle(self, ledger: Ledger | None, side: Side) -> Entry | None:
        """The forwarded request that `side` answers now; None when the reply goes no further."""
        entry = ledger.settle() if ledger is not None else None
        if entry is None:
            self.unsolicited = counted(self.unsolicited, side)
            return None
        if entry.ours:
            if self.answered is not None:
                self.answered(side)
            return None
        return entry

    # -- of a channel ------------------------------------------------------------------------------------

    def channel_request(self, side: Side, payload: bytes, out: Actions) -> None:
        message = ChannelRequest.parse(payload)
        half = self._channels.find(side, message.recipient, numbers.MSG_CHANNEL_REQUEST)
        if half.state == CLOSED:
            raise half.error(numbers.MSG_CHANNEL_REQUEST)
        channel, name = half.channel, message.name
        passed = name in passlist.PASSED_REQUESTS or name in passlist.PASSED_SESSION_REQUESTS[side]
        if not self._paid(side, name, message.body, passed):
            self._tell_unpaid(channel.id, side, name)
            if message.want_reply:
                self._refuse(half, out)
            return
        body = parse_body(CHANNEL_REQUESTS, name, message.body)
        if body is not None:
            message = ChannelRequest(message.recipient, name, message.want_reply, body.encode())
        verdict = self._judge(side, channel, name, body)
        if not verdict.allowed:
            self.count_refusal(side)
            detail = refused_detail(body)  # the verdict comes before the text
            self._tap.event(
                events.RequestRefused(
                    channel.id, side, name, verdict.reason, verdict.text, verdict.rule, detail
                )
            )
            if message.want_reply:
                self._refuse(half, out)
            return
        asked: Detail = {}
        if verdict.runs is not None:
            asked = {"asked": _asked(name, body)}
            name, body = "exec", Exec(verdict.runs.encode())
            if not verdict.sees_asked:
                message = ChannelRequest(message.recipient, name, message.want_reply, body.encode())
        if message.want_reply:
            channel.ledger(side.other, self._limits.channel_replies).add_forwarded(name)
        if name in passlist.PROGRAM_REQUESTS:
            channel.program = name
        elif name == "pty-req":
            channel.pty_asked = True
            channel.has_pty = channel.has_pty or not message.want_reply
        invite(channel, name)
        if name not in passlist.QUIET_REQUESTS:
            self._tap.event(_forwarded(channel.id, side, name, body, verdict.rule, asked))
        if _is_sftp(body):
            self._follow_sftp(channel, out)
        out.onward[side].append(message.encode())
        if not _is_sftp(body) and name in passlist.PROGRAM_REQUESTS and not message.want_reply:
            _release_spare(channel, out)

    def _follow_sftp(self, channel: Channel, out: Actions) -> None:
        """The channel carries sftp from here on (data may come before the answer)."""
        hashing = self._limits.sftp_hash
        rights = self._policy.sftp
        if rights is None:
            AuditedSftp(channel, self._tap, hashing=hashing).start(out)
        else:
            ControlledSftp(channel, self._tap, rights, self.count_refusal, hashing=hashing).start()

    def _judge(self, side: Side, channel: Channel, name: str, body: Body | None) -> Verdict:
        if name in passlist.PASSED_REQUESTS:
            return _PASSED
        if channel.kind != "session":
            return _UNKNOWN
        if name in passlist.PASSED_SESSION_REQUESTS[side]:
            return _PASSED
        if body is None or side is Side.TARGET or name not in passlist.JUDGED_REQUESTS:
            return _UNKNOWN
        if name in passlist.PROGRAM_REQUESTS and channel.program:
            return _SECOND_PROGRAM
        if name == "x11-req" and "x11" in channel.invites:
            return _SECOND_X11
        verdict = self._policy.request(side, channel.kind, name, body)
        if verdict.allowed and self._policy.sftp is not None and verdict.runs is None:
            if self._mixes(channel, name, body):
                return replace(_SFTP_ON_PTY, rule=verdict.rule)
            # A server may keep what comes before its program is asked for, and give it to the program: requests
            # that nobody judged (Conch and Go do; OpenSSH drops it).
            if _is_sftp(body) and channel.half(Side.CLIENT).moved:
                return replace(_SFTP_AFTER_DATA, rule=verdict.rule)
        return verdict

    def _mixes(self, channel: Channel, name: str, body: Body | None) -> bool:
        """A terminal under an sftp that is controlled: it changes bytes (erase, kill, literal next) on their
        way to the server, so requests could be made to look harmless here.
        """
        if name == "pty-req":
            return channel.program == "subsystem"
        return _is_sftp(body) and channel.pty_asked

    def _refuse(self, half: Half, out: Actions) -> None:
        """CHANNEL_FAILURE of ours to the side of `half`, in its turn."""
        owing = half.twin
        ledger = half.channel.owed[owing.side]
        if ledger is not None and not ledger.add_refused():
            return
        # When the other side's CLOSE has gone to the asking side, nothing may follow it.
        if owing.state != CLOSED:
            out.back[half.side].append(ChannelFailure(half.number).encode())

    def channel_reply(self, side: Side, payload: bytes, out: Actions) -> None:
        """CHANNEL_SUCCESS or CHANNEL_FAILURE."""
        ok = payload[0] == numbers.MSG_CHANNEL_SUCCESS
        recipient = (ChannelSuccess if ok else ChannelFailure).parse(payload).recipient
        half = self._channels.find(side, recipient, payload[0])
        if half.state == CLOSED:
            return  # it was under way when the side closed; OpenSSH ignores it too
        channel = half.channel
        entry = self._settle(channel.owed[side], side)
        if entry is None:
            return
        if not ok:
            withdraw(channel, entry.name)
        if entry.name == "pty-req" and ok:
            channel.has_pty = True
        elif entry.name in passlist.PROGRAM_REQUESTS:
            self._program_answered(channel, ok, out)
        if entry.name not in passlist.QUIET_REQUESTS:
            self._tap.event(events.RequestAnswered(channel.id, side, entry.name, ok))
        onward = out.onward[side]
        onward.append(payload)
        if entry.refusals:
            onward.extend([ChannelFailure(half.twin.number).encode()] * entry.refusals)

    @staticmethod
    def _program_answered(channel: Channel, ok: bool, out: Actions) -> None:
        content = channel.half(Side.TARGET).content
        if not ok:
            channel.program = ""
            if content is not None:
                content.stop(Side.TARGET, "the target has no sftp", out)
        elif content is None:
            _release_spare(channel, out)


def _reply(entry: Entry, message: RequestSuccess) -> tuple[RequestSuccess, int]:
    """What of a REQUEST_SUCCESS may cross, and the port in it.

    RFC 4254 section 7.1: a body only for a `tcpip-forward` of port 0. Some servers (paramiko's, Go's) put something
    into every answer to that request: it is taken off. No other request has a body (section 4).
    """
    if not message.body:
        return message, 0
    if entry.name in GLOBAL_REPLIES and entry.place != ANY_PORT:
        return RequestSuccess(), 0
    reply = parse_body(GLOBAL_REPLIES, entry.name, message.body)
    if not isinstance(reply, ForwardedPort):
        raise ProtocolError(f"REQUEST_SUCCESS to {entry.name} has a body")
    return RequestSuccess(reply.encode()), reply.port


def _is_sftp(body: Body | None) -> bool:
    return isinstance(body, Subsystem) and body.name == "sftp"


def _release_spare(channel: Channel, out: Actions) -> None:
    """The channel will not be sftp any more: the target gets what was kept back for that case."""
    half = channel.half(Side.TARGET)
    released = half.window.release_spare()
    if released:
        out.to_target.append(WindowAdjust(half.number, released).encode())


def _asked(name: str, body: Body | None) -> str:
    """What a forced command runs in the place of: `shell`, `exec ls -l`, `subsystem sftp`."""
    words = (name, *(str(value) for value in (body.detail() if body is not None else {}).values()))
    return " ".join(words)


def _forwarded(
    channel_id: int, side: Side, name: str, body: Body | None, rule: str, asked: Detail
) -> events.Event:
    """The event for a request that goes through."""
    if isinstance(body, WindowChange):
        return events.WindowChanged(channel_id, body.cols, body.rows, body.width, body.height)
    if isinstance(body, ExitStatus):
        return events.ExitStatus(channel_id, body.status)
    if isinstance(body, ExitSignal):
        text, language = printable(body.text), printable(body.language)
        return events.ExitSignal(channel_id, body.name, body.core_dumped, text, language)
    detail = {**body.detail(), **asked} if body is not None else {}
    return events.RequestForwarded(channel_id, side, name, detail, rule)
