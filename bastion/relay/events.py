"""What the relay tells its tap besides data: one frozen value per thing that happened, past participles all.

`channel_id` counts from 1 within one session, 0 is the connection itself; `by` is the side that sent the
message. Text from a peer stands only in `detail`, `text` and `name`, never in `reason`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bastion.errors import PolicyReason
from bastion.sides import Side
from bastion.wire.requests import Detail


@dataclass(frozen=True, slots=True)
class ChannelOpened:
    """Policy allowed an open and it goes to the other side, which has not answered yet."""

    channel_id: int
    kind: str
    by: Side
    detail: Detail
    rule: str = ""


@dataclass(frozen=True, slots=True)
class ChannelConfirmed:
    """The other side granted the channel: data may flow."""

    channel_id: int


@dataclass(frozen=True, slots=True)
class ChannelFailed:
    """The other side refused the channel with `code` (RFC 4254 section 5.1). The channel is gone."""

    channel_id: int
    code: int
    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class ChannelRefused:
    """The gateway refused the open; it never reached the other side and has no id."""

    kind: str
    by: Side
    reason: PolicyReason
    text: str
    rule: str = ""
    detail: Detail = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """The channel is over. Bytes of data of both streams: in = from the client, out = from the target."""

    channel_id: int
    kind: str
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, slots=True)
class EofSent:
    """`by` will send no more data."""

    channel_id: int
    by: Side


@dataclass(frozen=True, slots=True)
class RequestForwarded:
    """A request was allowed and goes to the other side."""

    channel_id: int
    by: Side
    name: str
    detail: Detail
    rule: str = ""


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """The gateway refused a request; it never reached the other side."""

    channel_id: int
    by: Side
    name: str
    reason: PolicyReason
    text: str
    rule: str = ""
    detail: Detail = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusalsCounted:
    """`count` more opens and requests of `by` were refused for `reason`; nothing else is known of them."""

    by: Side
    count: int
    reason: PolicyReason


@dataclass(frozen=True, slots=True)
class RequestAnswered:
    """`by` answered a forwarded request; `port` is the one chosen for a `tcpip-forward` of port 0."""

    channel_id: int
    by: Side
    name: str
    ok: bool
    port: int = 0


@dataclass(frozen=True, slots=True)
class WindowChanged:
    """The engineer's terminal has another size, in cells (and pixels). The peer's word: a renderer clamps it."""

    channel_id: int
    cols: int
    rows: int
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """The target's program ended."""

    channel_id: int
    status: int


@dataclass(frozen=True, slots=True)
class ExitSignal:
    """The target's program was killed; `signal` without SIG."""

    channel_id: int
    signal: str
    core: bool
    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Injected:
    """The gateway's own bytes, shown to the client on the channel: never target output."""

    channel_id: int
    stream: int
    text: bytes


@dataclass(frozen=True, slots=True)
class StreamRefused:
    """What `by` sent on a channel may not pass: it never reached the other side, and nothing more will from
    either.
    """

    channel_id: int
    by: Side
    reason: PolicyReason
    text: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class StreamSsh:
    """`by` has begun to speak SSH on a channel of other programs' bytes, and `rule` lets it pass."""

    channel_id: int
    by: Side
    rule: str = ""


@dataclass(frozen=True, slots=True)
class SftpStarted:
    """The channel is an sftp subsystem from here on and is followed. `restricted`: a rule may refuse
    requests.
    """

    channel_id: int
    restricted: bool


@dataclass(frozen=True, slots=True)
class SftpUnparsed:
    """Nothing more is known of what passes on this sftp channel: `by` sent what could not be followed."""

    channel_id: int
    by: Side
    why: str


@dataclass(frozen=True, slots=True)
class SftpOperation:
    """The target answered a request with `outcome` ("ok" or the name of the status). `to` is the second
    path, `file` the number of the file that was opened or meant by a handle, 0 when none.
    """

    channel_id: int
    name: str
    outcome: str
    path: str = ""
    to: str = ""
    file: int = 0
    detail: Detail = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SftpFile:
    """A file was closed with `outcome` ("not_closed": the channel ended first). Bytes are those that the
    target confirmed; `sha256` is of the whole file or "", and then `unhashed` says why.
    """

    channel_id: int
    file: int
    path: str
    flags: str
    outcome: str
    bytes_read: int
    bytes_written: int
    sha256: str
    unhashed: str


@dataclass(frozen=True, slots=True)
class SftpRefused:
    """The gateway answered a request itself with "permission denied"; it never reached the target. `verb`
    is what it would have needed.
    """

    channel_id: int
    name: str
    verb: str
    reason: PolicyReason
    text: str
    rule: str
    path: str = ""
    to: str = ""


Event = (
    ChannelOpened
    | ChannelConfirmed
    | ChannelFailed
    | ChannelRefused
    | ChannelClosed
    | EofSent
    | RequestForwarded
    | RequestRefused
    | RefusalsCounted
    | RequestAnswered
    | WindowChanged
    | ExitStatus
    | ExitSignal
    | Injected
    | StreamRefused
    | StreamSsh
    | SftpStarted
    | SftpUnparsed
    | SftpOperation
    | SftpFile
    | SftpRefused
)
