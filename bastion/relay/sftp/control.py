"""An sftp channel under a rule that restricts it: each request is judged before any of it reaches the target.

The client's stream is taken apart and put together again from the packets that may go on. Of a request only
its head is held (bounded by `stream.HEAD_LIMIT`); data of an allowed WRITE streams. A refused request is
swallowed and answered by us with SSH_FX_PERMISSION_DENIED. Invariants:

* what reaches the target is a sequence of whole requests that were judged, in the order they came;
* the target never gets more bytes than the client had window for, since only bytes that came go on; bytes
  that did not are given back to the client by a WINDOW_ADJUST of ours;
* an answer of ours stands between two packets of the target, and comes from the reserve (`relay.window`);
* neither our answers nor the target's bytes ever wait for an adjust that the client has no reason to send.
  Clients adjust when half of their window W is used (asyncssh, Conch; others earlier). The reserve is W/2 and
  a little more, so answers alone use half of the window; and when the target has used up its part first, it
  gets as much of the reserve as is missing to that half (`_lend`);
* answers that do not fit wait, at most `ANSWERS` bytes of them, and meanwhile nothing is given back: a client
  that does not read runs out of window.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from bastion.errors import ProtocolError
from bastion.policy.sftp import SftpRights
from bastion.policy.verdict import Verdict
from bastion.relay import events
from bastion.relay.channels import CLOSED, OPEN, Channel, Half
from bastion.relay.limits import Actions
from bastion.relay.sftp.channel import FollowedSftp
from bastion.relay.sftp.packets import AnswerSink, RequestSink
from bastion.relay.sftp.rights import Rights
from bastion.relay.sftp.stream import Bytes, PacketStream
from bastion.relay.tap import Tap
from bastion.sides import Side
from bastion.wire import sftp
from bastion.wire.messages import Data, WindowAdjust
from bastion.wire.requests import printable

ANSWERS = 2 << 20
"""Bytes of answers that wait for room: 30,000 refusals at once. A client that has more under way without
reading any is ended."""


class HoldingSink:
    """Packets of the client, sorted into `pieces` that go on and `swallowed` bytes that do not.

    `refuse` is called for each request that does not. `changed`: a piece is not what the client sent.
    """

    __slots__ = ("_inner", "_refuse", "_refusing", "changed", "pieces", "size", "swallowed")

    def __init__(self, inner: RequestSink, refuse: Callable[[RequestSink, Verdict], None]) -> None:
        self._inner = inner
        self._refuse = refuse
        self._refusing = False
        self.pieces: list[Bytes] = []
        self.size = 0
        self.swallowed = 0
        self.changed = False

    def measure(self, data: Bytes, at: int, there: int, total: int, kind: int) -> int:
        return self._inner.measure(data, at, there, total, kind)

    def head(self, data: Bytes, at: int, size: int, total: int, kind: int) -> None:
        inner = self._inner
        inner.head(data, at, size, total, kind)
        verdict = inner.verdict
        self._refusing = verdict is not None
        if verdict is not None:
            self._refuse(inner, verdict)
            self.swallowed += size
        elif inner.instead is None:
            self._pass(data[at : at + size], size)
        else:
            self.changed = True
            self.swallowed += size - len(inner.instead)
            self._pass(inner.instead, len(inner.instead))

    def body(self, data: Bytes) -> None:
        if self._refusing:
            self.swallowed += len(data)
        else:
            self._inner.body(data)
            self._pass(data, len(data))

    def _pass(self, piece: Bytes, size: int) -> None:
        self.pieces.append(piece)
        self.size += size

    def take(self) -> tuple[list[Bytes], int, int, bool]:
        """What has gathered since the last call: pieces, their bytes, bytes swallowed, whether changed."""
        taken = self.pieces, self.size, self.swallowed, self.changed
        self.pieces, self.size, self.swallowed, self.changed = [], 0, 0, False
        return taken


class ControlledSftp(FollowedSftp):
    """Follows one channel and refuses what its rule does not give.

    `count` is told of each refusal and raises `ProtocolError` when there were too many.
    """

    restricted = True

    def __init__(
        self, channel: Channel, tap: Tap, rights: SftpRights, count: Callable[[Side], None], *, hashing: bool
    ) -> None:
        super().__init__(channel, tap, hashing=hashing)
        self._count = count
        self._rights = Rights(rights, self._conversation)
        self._held = HoldingSink(RequestSink(self._conversation, self._rights), self._refuse)
        self._requests = PacketStream(self._held)
        self._replies = PacketStream(AnswerSink(self._conversation))
        self._answers: deque[bytes] = deque()
        self._waiting = 0  # bytes in `_answers`
        self._owed = 0  # bytes of window to be given back to the client

    def start(self) -> None:
        """From here on the channel's data comes here."""
        for side in Side:
            self._channel.half(side).content = self
        self._begin()

    def data(self, half: Half, payload: bytes, data: Bytes, out: Actions) -> None:
        """A data message of the side of `half`, which had the window for it."""
        if half.side is Side.CLIENT:
            self._from_client(half, payload, data, out)
        else:
            self._from_target(half, payload, data, out)

    # -- from the client ---------------------------------------------------------------------------------

    def _from_client(self, half: Half, payload: bytes, data: Bytes, out: Actions) -> None:
        held = bool(self._requests.held)
        self._requests.feed(data)
        pieces, size, swallowed, changed = self._held.take()
        if size == len(data) and not swallowed and not held and not changed:
            self._forward(half, payload, data, out)
        elif size:
            whole = b"".join(pieces)
            most = half.window.max_packet
            for at in range(0, size, most):
                piece = whole[at : at + most]
                self._forward(half, Data(half.twin.number, piece).encode(), piece, out)
        self._owed += swallowed
        if self._answers:
            self._flush(self._replies.between, out)
        else:
            self._give_back(out)

    def _forward(self, half: Half, payload: bytes, data: Bytes, out: Actions) -> None:
        half.moved += len(data)
        self._tap.data(self._channel, half.side, 0, data)
        out.onward[half.side].append(payload)

    def _refuse(self, request: RequestSink, verdict: Verdict) -> None:
        """Note a refusal and the answer to it."""
        self._count(Side.CLIENT)
        answer = sftp.status(request.number, sftp.FX_PERMISSION_DENIED, f"bastion: {verdict.text}")
        if len(answer) > self._channel.half(Side.TARGET).window.spare // 4:
            # In an eighth of the client's window there is room for the answer while the target has its own.
            raise ProtocolError("sftp: the window is too small for an answer")
        self._waiting += len(answer)
        if self._waiting > ANSWERS:
            raise ProtocolError("sftp: too many refused requests at once")
        self._answers.append(answer)
        paths = [*(printable(path) for path in request.paths[:2]), "", ""]
        name = request.name or "extended"
        self._tap.event(
            events.SftpRefused(
                self._channel.id,
                name,
                self._rights.verb,
                verdict.reason,
                verdict.text,
                verdict.rule,
                paths[0],
                paths[1],
            )
        )

    # -- from the target ---------------------------------------------------------------------------------

    def _from_target(self, half: Half, payload: bytes, data: Bytes, out: Actions) -> None:
        self._pass_from_target(half, payload, data, out)
        self._lend(half, out)

    @staticmethod
    def _lend(half: Half, out: Actions) -> None:
        """Let a target that is about to run dry use part of the reserve."""
        lent = half.window.lend()
        if lent:
            out.to_target.append(WindowAdjust(half.number, lent).encode())

    def _pass_from_target(self, half: Half, payload: bytes, data: Bytes, out: Actions) -> None:
        self._replies.feed(data)
        cut = self._replies.boundary
        if not self._answers or len(self._answers[0]) > half.window.reserve or cut < 0 or cut == len(data):
            self._forward(half, payload, data, out)
            if self._answers:
                self._flush(self._replies.between, out)
            return
        # A bulk download may never end a message where a packet ends: our answers go in between.
        for piece in (data[:cut], data[cut:]):
            if len(piece):
                self._forward(half, Data(half.twin.number, bytes(piece)).encode(), piece, out)
            self._flush(True, out)

    def credit(self, out: Actions) -> None:
        """The client's adjust has filled the reserve."""
        if self._answers:
            self._flush(self._replies.between, out)
        self._lend(self._channel.half(Side.TARGET), out)

    # -- our answers -------------------------------------------------------------------------------------

    def _flush(self, between: bool, out: Actions) -> None:
        """Say what fits into the reserve, at a boundary of the target's packets."""
        half = self._channel.half(Side.TARGET)
        if not between or half.state != OPEN or half.twin.state >= CLOSED:
            return
        answers, batch, size = self._answers, list[bytes](), 0
        while answers and size + len(answers[0]) <= half.window.reserve:
            answer = answers.popleft()
            size += len(answer)
            batch.append(answer)
        half.window.speak(size)
        self._waiting -= size
        whole, most = b"".join(batch), half.window.max_packet
        for at in range(0, size, most):
            out.to_client.append(Data(half.twin.number, whole[at : at + most]).encode())
        if not answers:
            self._give_back(out)

    def _give_back(self, out: Actions) -> None:
        """The client gets the window back of bytes that never went on."""
        half = self._channel.half(Side.CLIENT)
        if half.state != OPEN or half.twin.state >= CLOSED:
            return
        size = half.window.give_back(self._owed)
        if size:
            self._owed -= size
            out.to_client.append(WindowAdjust(half.number, size).encode())

    def stop(self, by: Side, why: str, out: Actions) -> None:
        """The target has refused the subsystem: there is nothing to be controlled, and nobody to read what
        was held.
        """
        super().stop(by, why, out)
        self._owed += len(self._requests.held)
        self._answers.clear()
        self._give_back(out)
