"""Nothing crosses that is not in an event: plays two sides through the real relay and the real recorder, and looks.

`play(script)` reads its bytes as moves. Both sides speak well-formed messages of every kind, with a mark of its own
in each field of variable length, and now and then with bytes where none belong: behind the last field, in a body
that has none, in a boolean. What came out at the other side is then taken apart field by field, and each is looked
for in the recording that is read back. Knows the layout of the messages from the RFCs, the recorder from its reader.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import Any

from bastion.clock import SystemClock
from bastion.errors import PolicyReason, ProtocolError
from bastion.policy.verdict import Verdict
from bastion.recording.bulk import Mode, RecordingPolicy
from bastion.recording.format import Header, Kind
from bastion.recording.reader import Reader
from bastion.recording.recorder import Recorder
from bastion.relay.channels import AWAITING, Channel
from bastion.relay.relay import Actions, Relay, RelayLimits, Unimplemented
from bastion.sides import Side
from bastion.wire import messages, requests
from bastion.wire.data import string, uint32
from bastion.wire.numbers import OpenFailure
from bastion.wire.printable import printable
from tests.support.declared import MESSAGES, parse_message

YES = Verdict(True, PolicyReason.ALLOWED, "any")
NO = Verdict(False, PolicyReason.VERB_NOT_ALLOWED, "any", "no")

FLOW = {"recipient", "sender", "window", "max_packet", "size", "want_reply"}
"""Numbers of fixed size that name channels or steer windows, and one bit."""

OWN_CODES = frozenset(OpenFailure)
"""With which the gateway itself refuses an open."""


class Seen:
    """A tap that only records, all of it, and a policy that allows all but one kind of each."""

    sftp: Any = None

    def __init__(self) -> None:
        header = Header("k3v2m5q7p2r4t6wa", "alice", "alice", "web1", "root", 1e9)
        policy = RecordingPolicy(mode=Mode.FULL, input=True)
        self.recorder = Recorder(header, SystemClock(), policy)
        self.file = b""

    def data(self, channel: Any, side: Side, stream: int, data: Any) -> None:
        self.recorder.data(channel.id, side, stream, bytes(data))

    def event(self, event: Any) -> None:
        self.recorder.event(event)

    def open(self, side: Side, kind: str, body: requests.Body) -> Verdict:
        return YES

    def request(self, side: Side, channel_kind: str, name: str, body: requests.Body) -> Verdict:
        return NO if b"forbidden" in body.encode() else YES

    def global_request(self, side: Side, name: str, body: requests.Body) -> Verdict:
        return NO if b"forbidden" in body.encode() else YES


def is_confirmed(channel: Channel) -> bool:
    return all(channel.half(side).state != AWAITING for side in Side)


class Script:
    """Bytes read as choices; each mark is used once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._marks = 0

    @property
    def over(self) -> bool:
        return self._at >= len(self._data)

    def choice(self, of: int) -> int:
        found = self._data[self._at] if self._at < len(self._data) else 0
        self._at += 1
        return found % of

    def mark(self) -> bytes:
        """Some bytes that occur nowhere else, and some that the script chose."""
        self._marks += 1
        size = self.choice(12)
        wild = self._data[self._at : self._at + size]
        self._at += size
        return b"mark-%d-" % self._marks + wild

    def text(self) -> bytes:
        return self.mark().decode("utf-8", "ignore").encode()

    def language(self) -> bytes:
        return self.mark() if self.choice(3) == 0 else b""

    def number(self) -> bytes:
        """Four bytes that occur nowhere else."""
        self._marks += 1
        return uint32(0x1000000 + self._marks * 65537 + self.choice(256))

    def boolean(self) -> bytes:
        return bytes([(0, 1, 1, 1, 1, 0x42)[self.choice(6)]])

    def extra(self) -> bytes:
        """Bytes where none belong, seldom: they may end the conversation."""
        return self.mark() if self.choice(24) == 23 else b""


def pty(script: Script) -> bytes:
    modes = b"".join(bytes([1 + script.choice(159)]) + script.number() for _ in range(script.choice(4)))
    end = (b"", b"\0", b"\0" + script.extra(), b"\xa0" + script.extra())[script.choice(4)]
    sizes = b"".join(script.number() for _ in range(4))
    return string(script.mark()) + sizes + string(modes + end)


def x11_request(script: Script) -> bytes:
    cookie = script.mark().hex().encode() if script.choice(8) else script.mark()
    return script.boolean() + string(script.mark()) + string(cookie) + script.number()


def exit_signal(script: Script) -> bytes:
    return string(script.text()) + script.boolean() + string(script.mark()) + string(script.language())


def tcpip(script: Script) -> bytes:
    return string(script.text()) + script.number() + string(script.text()) + script.number()


CHANNEL_BODIES = {
    "pty-req": pty,
    "x11-req": x11_request,
    "env": lambda script: string(script.text()) + string(script.mark()),
    "exec": lambda script: string(script.mark()),
    "subsystem": lambda script: string(script.text() if script.choice(3) else "sftp"),
    "window-change": lambda script: b"".join(script.number() for _ in range(4)),
    "signal": lambda script: string(script.text()),
    "break": lambda script: script.number(),
    "xon-xoff": lambda script: script.boolean(),
    "exit-status": lambda script: script.number(),
    "exit-signal": exit_signal,
}
CHANNEL_NAMES = sorted({*requests.CHANNEL_REQUESTS, "made-up"})
GLOBAL_BODIES = {
    "tcpip-forward": lambda script: (
        string(script.text()) + (script.number() if script.choice(2) else uint32(0))
    ),
    "cancel-tcpip-forward": lambda script: string(script.text()) + script.number(),
    "streamlocal-forward@openssh.com": lambda script: string(script.text()),
    "cancel-streamlocal-forward@openssh.com": lambda script: string(script.text()),
}
GLOBAL_NAMES = sorted({*requests.GLOBAL_REQUESTS, "hostkeys-00@openssh.com", "made-up"})
OPEN_BODIES = {
    "direct-tcpip": tcpip,
    "forwarded-tcpip": tcpip,
    "x11": lambda script: string(script.text()) + script.number(),
    "direct-streamlocal@openssh.com": lambda script: (
        string(script.text()) + string(script.language()) + script.number()
    ),
    "forwarded-streamlocal@openssh.com": lambda script: string(script.text()) + string(script.language()),
}
OPEN_KINDS = sorted({*requests.CHANNEL_OPENS, "made-up"})


class Play:
    """One conversation. `crossed` is what each side was sent."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.seen = Seen()
        self.relay = Relay(self.seen, self.seen, RelayLimits(channels=6, reserve=64))
        self.crossed: list[tuple[Side, bytes]] = []
        self._numbers = 0

    def say(self, side: Side, payload: bytes) -> None:
        out = Actions()
        try:
            self.relay.receive(side, payload, out)
        except Unimplemented:
            pass
        finally:
            self.crossed += [(Side.TARGET, sent) for sent in out.to_client]
            self.crossed += [(Side.CLIENT, sent) for sent in out.to_target]

    def run(self) -> None:
        """Until the script is over, or one side broke the protocol."""
        try:
            self.open(Side.CLIENT, "session")
            self.answer(True)
            while not self.script.over:
                self.move(Side(self.script.choice(2)))
        except ProtocolError:
            pass
        self.relay.finish()

    def move(self, side: Side) -> None:
        what = self.script.choice(12)
        if what == 0:
            self.open(side, OPEN_KINDS[self.script.choice(len(OPEN_KINDS))])
        elif what in (1, 2):
            self.answer(what == 1 or self.script.choice(2) == 1)
        elif what in (3, 4, 5):
            self.ask_on_channel(side)
        elif what == 6:
            self.reply_on_channel(side)
        elif what == 7:
            name = GLOBAL_NAMES[self.script.choice(len(GLOBAL_NAMES))]
            body = GLOBAL_BODIES.get(name, _no_body)(self.script)
            self.say(side, b"\x50" + string(name) + self.script.boolean() + body + self.script.extra())
        elif what == 8:
            body = (b"", b"", self.script.number(), self.script.mark())[self.script.choice(4)]
            self.say(side, b"\x51" + body if self.script.choice(3) else b"\x52" + self.script.extra())
        elif what == 9:
            self.data(side)
        elif what == 10:
            self.signal(side)
        else:
            number = self.script.choice(256)
            if number not in MESSAGES:
                self.say(side, bytes([number]) + self.script.mark())

    def open(self, side: Side, kind: str) -> None:
        self._numbers += 1
        body = OPEN_BODIES.get(kind, _no_body)(self.script)
        head = b"\x5a" + string(kind) + uint32(self._numbers) + uint32(1 << 16) + uint32(1 << 12)
        self.say(side, head + body + self.script.extra())

    def answer(self, yes: bool) -> None:
        for channel in self.relay.channels.values():
            if is_confirmed(channel):
                continue
            self._numbers += 1
            side = channel.opened_by.other
            recipient = uint32(channel.half(channel.opened_by).number)
            if yes:
                sizes = uint32(self._numbers) + uint32(1 << 16) + uint32(1 << 12)
                self.say(side, b"\x5b" + recipient + sizes + self.script.extra())
            else:
                words = string(self.script.mark()) + string(self.script.language())
                self.say(side, b"\x5c" + recipient + self.script.number() + words + self.script.extra())
            return

    def recipient(self, side: Side) -> bytes | None:
        """What `side` calls as recipient on some channel that is open."""
        channels = [one for one in self.relay.channels.values() if is_confirmed(one)]
        if not channels:
            return None
        channel = channels[self.script.choice(len(channels))]
        return uint32(channel.half(side.other).number)

    def ask_on_channel(self, side: Side) -> None:
        recipient = self.recipient(side)
        if recipient is None:
            return
        name = CHANNEL_NAMES[self.script.choice(len(CHANNEL_NAMES))]
        body = CHANNEL_BODIES.get(name, _no_body)(self.script)
        self.say(
            side, b"\x62" + recipient + string(name) + self.script.boolean() + body + self.script.extra()
        )

    def reply_on_channel(self, side: Side) -> None:
        recipient = self.recipient(side)
        if recipient is not None:
            self.say(side, bytes([99 + self.script.choice(2)]) + recipient + self.script.extra())

    def data(self, side: Side) -> None:
        recipient = self.recipient(side)
        if recipient is None:
            return
        data, kind = self.script.mark(), self.script.choice(5)
        head = b"\x5e" + recipient if kind else b"\x5f" + recipient + uint32(1 + self.script.choice(2))
        self.say(side, head + string(data) + self.script.extra())

    def signal(self, side: Side) -> None:
        recipient = self.recipient(side)
        if recipient is not None:
            number = (0x5D, 0x60, 0x61)[self.script.choice(3)]
            size = uint32(100) if number == 0x5D else b""
            self.say(side, bytes([number]) + recipient + size + self.script.extra())


def _no_body(script: Script) -> bytes:
    return b""


# -- what the recording knows


class Found:
    """The recording, read back: every text and number of its notes, and the data in order."""

    def __init__(self, seen: Seen) -> None:
        buffers = [*(seen.recorder.take() or []), *seen.recorder.finish("client_closed")]
        reader = Reader(io.BytesIO(b"".join(bytes(buffer) for buffer in buffers)))
        self.texts: list[str] = []
        self.numbers: set[int] = set()
        self.data: dict[tuple[Side, int], bytes] = {}
        for event in reader:
            if event.kind is Kind.DATA:
                key = event.side, event.stream
                self.data[key] = self.data.get(key, b"") + event.payload
            elif event.kind is Kind.NOTE:
                self._learn(event.note)
        assert reader.state == "complete"

    def _learn(self, value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                self._learn(item)
        elif isinstance(value, str):
            self.texts.append(value)
        elif isinstance(value, int):
            self.numbers.add(int(value))

    def has(self, text: str) -> bool:
        return any(text in one for one in self.texts)

    def has_words(self, text: str) -> bool:
        """`text`, or what is shown of it to people: safe, and marked as the target's."""
        return self.has(text) or any(
            text.removeprefix("target | ") in printable(one, 4096) for one in self.texts
        )


BODIES = {
    messages.GlobalRequest: requests.GLOBAL_REQUESTS,
    messages.ChannelRequest: requests.CHANNEL_REQUESTS,
    messages.ChannelOpen: requests.CHANNEL_OPENS,
}


def parts(message: Any) -> Iterator[tuple[str, Any]]:
    """Every field of `message`, a body taken apart in its turn."""
    for place in fields(message):
        value = getattr(message, place.name)
        table = BODIES.get(type(message)) if place.name == "body" else None
        if table is None:
            yield place.name, value
            continue
        name = message.kind if isinstance(message, messages.ChannelOpen) else message.name
        body = table[name].parse(value)
        assert body.encode() == value, f"{name} crossed with bytes that are in no field"
        assert is_dataclass(body)
        yield from parts(body)


def check(payload: bytes, found: Found) -> None:
    """Every byte of a payload that crossed is in the recording, or one of a closed set, or a fixed number."""
    message = parse_message(payload)
    assert message.encode() == payload, f"{message!r} crossed with bytes that are in no field"
    for name, value in parts(message):
        where = f"{name} = {value!r} of {message!r}"
        if name in FLOW or value in (b"", "", 0, 1) or (name == "data" and isinstance(value, bytes)):
            continue
        if isinstance(message, messages.RequestSuccess):
            assert len(value) == 4 and int.from_bytes(value, "big") in found.numbers, where
        elif isinstance(value, int):
            assert value in found.numbers or value in OWN_CODES, where
        elif name == "modes":
            modes = requests.parse_terminal_modes(value)
            assert requests.encode_terminal_modes(modes) == value, where
            assert all(found.has(f"{opcode}={number}") for opcode, number in modes.items()), where
        elif name == "cookie":
            assert found.has(sha256(value).hexdigest()) and int(value, 16) >= 0, where
        elif name == "kind" or (name == "name" and isinstance(message, messages.GlobalRequest)):
            assert value in requests.CHANNEL_OPENS or value in requests.GLOBAL_REQUESTS, where
        elif isinstance(message, messages.ChannelOpenFailure) and name == "text":
            assert found.has_words(value), where
        else:
            text = requests.printable(value) if isinstance(value, bytes) else value
            assert found.has(text) or text in requests.CHANNEL_REQUESTS, where


def play(data: bytes) -> int:
    """Conversations after the script in `data`, the next when one was broken off; how many messages crossed.

    AssertionError when something crossed unseen.
    """
    script, crossed = Script(data), 0
    while not script.over:
        game = Play(script)
        game.run()
        crossed += len(game.crossed)
        examine(game)
    return crossed


def examine(game: Play) -> None:
    """Look in the recording of a conversation for everything that crossed in it."""
    found = Found(game.seen)
    passed: dict[tuple[Side, int], bytes] = {}
    for side, payload in game.crossed:
        check(payload, found)
        message = parse_message(payload)
        if isinstance(message, messages.Data | messages.ExtendedData):
            stream = message.kind if isinstance(message, messages.ExtendedData) else 0
            key = Side(side), stream
            passed[key] = passed.get(key, b"") + message.data
    assert passed == found.data, "data crossed that is not in the recording"
