"""Why a sink has not taken what it was given (L2)."""

from __future__ import annotations

import errno
import ssl

from bastion.errors import BastionError
from bastion.observe.labels import SinkReason


class SinkFault(BastionError):
    """Nothing that was given is known to have arrived. `text` is ours, and for operators; no secret, no line of the log
    and none of a peer's words is in it. `later`: seconds for which the sink asks to be left alone."""

    def __init__(self, reason: SinkReason, text: str, later: float = 0.0) -> None:
        super().__init__(text)
        self.reason, self.text, self.later = reason, text, later


_UNREACHABLE = frozenset((
    errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.ENOENT, errno.ENETDOWN,
    errno.EACCES, errno.EPERM,
))  # fmt: skip


def fault_of(error: OSError, place: str) -> SinkFault:
    """What an error of a socket is: a connection that was not had, TLS, time, or the end of one."""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return SinkFault(SinkReason.CLOSED, f"{place}: the connection was closed")
    if isinstance(error, ssl.SSLError):
        why = getattr(error, "verify_message", "") or getattr(error, "reason", "") or type(error).__name__
        return SinkFault(SinkReason.TLS, f"{place}: TLS: {why}")
    if isinstance(error, TimeoutError):
        return SinkFault(SinkReason.TIMEOUT, f"{place}: no answer in time")
    why = error.strerror or type(error).__name__
    # A name that does not resolve has numbers of its own, below 0.
    unreachable = error.errno is not None and (error.errno < 0 or error.errno in _UNREACHABLE)
    return SinkFault(SinkReason.UNREACHABLE if unreachable else SinkReason.CLOSED, f"{place}: {why}")
