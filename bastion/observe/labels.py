"""The longer closed sets of label values, most of which are no reasons (L0, pure)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from bastion.errors import AgentFault, PolicyReason

OTHER: Final = "other"

OUTSIDE_FACTORS: Final = ("oidc", "radius")
METHODS: Final = (
    "none",
    "publickey",
    "certificate",
    "password",
    "keyboard-interactive",
    "totp",
    "passkey",
    *OUTSIDE_FACTORS,
    OTHER,
)
CHANNEL_KINDS: Final = (
    "session",
    "direct-tcpip",
    "forwarded-tcpip",
    "x11",
    "agent",
    "streamlocal",
    "tunnel",
    OTHER,
)

AGENT_USES: Final = ("upstream_ca", "front_host_ca", "issue")
AGENT_ENDINGS: Final = ("ok", *AgentFault)

REQUEST_NAMES: Final = (
    "pty-req",
    "shell",
    "exec",
    "subsystem",
    "env",
    "window-change",
    "signal",
    "break",
    "xon-xoff",
    "exit-status",
    "exit-signal",
    "x11-req",
    "auth-agent-req@openssh.com",
    "eow@openssh.com",
    "keepalive@openssh.com",
    "winadj@putty.projects.tartarus.org",
    "no-more-sessions@openssh.com",
    "tcpip-forward",
    "cancel-tcpip-forward",
    "streamlocal-forward@openssh.com",
    "cancel-streamlocal-forward@openssh.com",
    OTHER,
)
NEVER_OF_REQUESTS: Final = frozenset(
    (
        PolicyReason.UNKNOWN_CHANNEL_TYPE,
        PolicyReason.CHANNEL_RATE,
        PolicyReason.KILLED,
        PolicyReason.ACCOUNT_GONE,
        PolicyReason.ACCOUNT_UNCONFIRMED,
    )
)
"""Verdicts on channels and sessions only: each would be a line of the page for each name of a request."""

CONTROL_COMMANDS: Final = (
    "status",
    "snapshot",
    "live",
    "kill",
    "set_locks",
    "lock",
    "unlock",
    "locks",
    "kept_locks",
    "keep_lock",
    "penalties",
    "clear_penalties",
    "log_level",
    "upgrade",
    "reload",
    "watch",
    "totp_enrol",
    "totp_invite",
    "totp_list",
    "totp_reset",
    "account_id",
    "set_break_glass",
    "break_glass",
    "break_glass_open",
    "break_glass_close",
    "keep_break_glass",
    "kept_break_glass",
    "certificates",
    "code_use",
    "keys_of",
    "approvals",
    "approval_answer",
    "deletions",
    "deletion_ask",
    "deletion_answer",
    "shared_locks",
    "confirm_locks",
    "share_penalties",
    OTHER,
)

SINK_KINDS: Final = ("journald", "syslog", "loki", "elastic", "otlp")
"""Of sinks of the audit log."""


class SinkReason(StrEnum):
    """What came of handing lines of the audit log to a sink. `DELIVERED` is no fault."""

    DELIVERED = "delivered"
    UNREACHABLE = "unreachable"
    TLS = "tls"
    TIMEOUT = "timeout"
    CLOSED = "closed"  # the connection broke before the lines were confirmed
    DENIED = "denied"  # credentials: HTTP 401, 403
    BUSY = "busy"  # it asks to come later: HTTP 429, 503, a full socket
    STATUS = "status"  # of HTTP, another one
    REFUSED = "refused"  # lines for what they are: HTTP 400, 413, 422
    BAD_ANSWER = "bad_answer"
    UNCONFIRMED = "unconfirmed"  # the journal does not show them
    SETTINGS = "settings"  # a file that [audit.sinks] names cannot be used
    LOCAL_FILE = "local_file"  # the log, or the sink's position, cannot be read or written
    FAILED = "failed"  # the gateway's own fault
