"""What becomes of each field of a message that crosses from leg to leg: one row for every message declared.

Nothing may cross that nobody could find afterwards. So what `messages`, `requests` or `forwards` declares has a row
here, and each of its fields a fate; `tests/unit/wire/test_fates.py` walks the declarations and fails for a field
without one, and `tests/unit/relay/test_nothing_unseen.py` sends each through the relay and looks for it in the
recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from bastion.wire import forwards, messages, requests


class Fate(StrEnum):
    """What becomes of one field."""

    RECORDED = "recorded"  # stands in the event of its message, whole
    DATA = "data"  # channel bytes: recorded as data, or counted in a gap
    BODY = "body"  # bytes of another codec, which has rows of its own; empty where there is none
    CHOSEN = "chosen"  # one of a closed set, and refused otherwise
    DIGEST = "digest"  # a secret of bounded length: the recording has its SHA-256
    FLOW = "flow"  # a number of four bytes that names a channel or steers its window


_DETAIL = Fate.RECORDED

FATES: Mapping[type, Mapping[str, Fate]] = {
    messages.GlobalRequest: {"name": Fate.CHOSEN, "want_reply": Fate.FLOW, "body": Fate.BODY},
    messages.RequestSuccess: {"body": Fate.BODY},
    messages.RequestFailure: {},
    messages.ChannelOpen: {
        "kind": Fate.CHOSEN,
        "sender": Fate.FLOW,
        "window": Fate.FLOW,
        "max_packet": Fate.FLOW,
        "body": Fate.BODY,
    },
    messages.ChannelOpenConfirmation: {
        "recipient": Fate.FLOW,
        "sender": Fate.FLOW,
        "window": Fate.FLOW,
        "max_packet": Fate.FLOW,
    },
    messages.ChannelOpenFailure: {
        "recipient": Fate.FLOW,
        "code": _DETAIL,
        "text": _DETAIL,
        "language": _DETAIL,
    },
    messages.WindowAdjust: {"recipient": Fate.FLOW, "size": Fate.FLOW},
    messages.Data: {"recipient": Fate.FLOW, "data": Fate.DATA},
    messages.ExtendedData: {"recipient": Fate.FLOW, "kind": Fate.CHOSEN, "data": Fate.DATA},
    messages.Eof: {"recipient": Fate.FLOW},
    messages.Close: {"recipient": Fate.FLOW},
    messages.ChannelRequest: {
        "recipient": Fate.FLOW,
        "name": Fate.CHOSEN,
        "want_reply": Fate.FLOW,
        "body": Fate.BODY,
    },
    messages.ChannelSuccess: {"recipient": Fate.FLOW},
    messages.ChannelFailure: {"recipient": Fate.FLOW},
    requests.Empty: {},
    requests.PtyRequest: dict.fromkeys(("term", "cols", "rows", "width", "height", "modes"), _DETAIL),
    requests.WindowChange: dict.fromkeys(("cols", "rows", "width", "height"), _DETAIL),
    requests.Exec: {"command": _DETAIL},
    requests.Subsystem: {"name": _DETAIL},
    requests.Env: {"name": _DETAIL, "value": _DETAIL},
    requests.Signal: {"name": _DETAIL},
    requests.Break: {"length": _DETAIL},
    requests.XonXoff: {"client_can_do": _DETAIL},
    requests.ExitStatus: {"status": _DETAIL},
    requests.ExitSignal: dict.fromkeys(("name", "core_dumped", "text", "language"), _DETAIL),
    requests.X11Request: {
        "single": _DETAIL,
        "protocol": _DETAIL,
        "cookie": Fate.DIGEST,
        "screen": _DETAIL,
    },
    forwards.TcpipOpen: dict.fromkeys(("host", "port", "originator", "originator_port"), _DETAIL),
    forwards.X11Open: dict.fromkeys(("originator", "originator_port"), _DETAIL),
    forwards.DirectStreamlocal: dict.fromkeys(("path", "reserved", "reserved_number"), _DETAIL),
    forwards.ForwardedStreamlocal: dict.fromkeys(("path", "reserved"), _DETAIL),
    forwards.TcpipForward: {"host": _DETAIL, "port": _DETAIL},
    forwards.ForwardedPort: {"port": _DETAIL},
    forwards.StreamlocalForward: {"path": _DETAIL},
}
"""Codec -> field -> fate."""
