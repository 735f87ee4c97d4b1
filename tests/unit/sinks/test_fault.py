"""What errors of sockets are called: a closed set, and nothing of a peer in the text."""

from __future__ import annotations

import errno
import os
import socket
import ssl

import pytest

from bastion.observe.labels import SinkReason
from bastion.sinks.fault import fault_of


def error_of(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (error_of(errno.ECONNREFUSED), SinkReason.UNREACHABLE),
        (error_of(errno.EHOSTUNREACH), SinkReason.UNREACHABLE),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), SinkReason.UNREACHABLE),
        (error_of(errno.ECONNRESET), SinkReason.CLOSED),
        (error_of(errno.EPIPE), SinkReason.CLOSED),
        (TimeoutError("timed out"), SinkReason.TIMEOUT),
        (ssl.SSLEOFError(8, "EOF occurred"), SinkReason.CLOSED),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), SinkReason.TLS),
        (ssl.SSLError(1, "[SSL] alert"), SinkReason.TLS),
    ],
)
def test_each_has_its_reason(error: OSError, reason: SinkReason) -> None:
    fault = fault_of(error, "logs.example.com:6514")
    assert fault.reason is reason and fault.text.startswith("logs.example.com:6514: ") and fault.later == 0
