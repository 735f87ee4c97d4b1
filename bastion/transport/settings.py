"""What a transport is told once and never asks again: limits, timers, algorithms, host keys, how it closed.

A `TransportSettings` is built by the process at start (or per target) and shared by its connections; it is
frozen, so a reload makes a new one and old connections keep theirs. All sizes are bytes, all times seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from bastion.errors import Reason
from bastion.wire.kexinit import Algorithms
from bastion.wire.keys import Signer

CERT_SUFFIX = "-cert-v01@openssh.com"

KEXINIT_HOLD = 0.2
"""Longest wait of the server for the client's KEXINIT before it sends its own: the client's list decides which
ciphers are offered."""

PACKET_LIMIT_BEFORE_AUTH = 64 * 1024
"""Longest packet of a peer that has not proved anything. RFC 4253 section 6.1 asks for 35,000; a request with
a large certificate and its signature stays below 64 KiB."""

PACKET_LIMIT_OF_TARGET = 256 * 1024
"""Longest packet of a target that has not let us in yet: what is taken from it afterwards. An engineer who may reach it
has asked for it, and sshd's banner file may have any length."""

OPENED_BEFORE_AUTH = 256
"""Payload bytes that are opened before they are looked at, of a peer that has not proved anything. One read holds up to
18,700 packets of chacha20, which take 140 ms to open: whoever sends what ends the connection ends it early."""

NOISE_BURST = 64
"""IGNORE, DEBUG, UNIMPLEMENTED and PING taken before authentication, plus one for every second since accept
(a target that keeps us waiting for an approval sends an IGNORE every few seconds). Each is at most
`NOISE_SIZE` long, so the worst case is 64 KiB of nothing."""

NOISE_SIZE = 1024
"""Longest IGNORE, DEBUG or UNIMPLEMENTED before authentication. PuTTY pads passwords with less than 512."""

PING_SIZE = 1024
"""Longest PING (OpenSSH PROTOCOL 1.9). OpenSSH sends 5 bytes; every PING is answered at its own length."""

REKEYS_BEFORE_AUTH = 1
"""Further key exchanges of a peer before authentication; OpenSSH starts none there. Each is one host key
signature, so an unauthenticated connection costs two at most (docs/security.md, C13)."""


KEX_QUEUE_PAUSE = 256 * 1024
"""Outgoing bytes queued behind a key exchange before the source is asked to stop."""

KEX_QUEUE_LIMIT = 2 * 1024 * 1024
"""Outgoing bytes queued behind a key exchange before the connection ends (C11). The source stops at
`KEX_QUEUE_PAUSE` plus what one read of it brings (512 KiB): only a peer that asks for answers gets here."""

OUTPUT_LIMIT_BEFORE_AUTH = 64 * 1024
"""Bytes written and not taken by the kernel for a peer that is not authenticated (C12). All that is ever said
there, KEXINIT, one reply and a few failures, is a tenth of this."""

OUTPUT_LIMIT = 4 * 1024 * 1024
"""The same afterwards. The source is paused at the first byte; what may still come is one read (512 KiB) and
one flushed key exchange queue (2 MiB): only a peer that asks for answers and never reads gets here."""

QUEUED_OVERHEAD = 64
"""Counted for each write, and for each message behind a key exchange, that waits, beside its bytes: small answers cost
more as objects than as bytes, and the limits are about memory."""

LINGER = 2.0
"""Seconds between our DISCONNECT, or the last sign that the peer still takes what is queued before it, and the
abort of a connection whose peer does not close it (C24)."""

LINGER_LOOK = 0.5
"""How often it is looked whether the peer took something, while something is left."""

LINGER_TOTAL = 60.0
"""The longest wait of all, for a peer that is authenticated and takes a little now and then. What is left may be
4 MiB of ours and as much of the kernel's: 140 KiB/s empties that. A peer that proved nothing gets `LINGER`."""

LINGER_INPUT = 1024 * 1024
"""Bytes thrown away while waiting for the peer to close, before the abort."""

SECRET_PADDING = 128
"""Packets with a password are rounded up to a multiple of this many bytes: with a name of usual length, every
password of up to about 60 characters looks the same."""

DISCONNECT_TEXT_LIMIT = 512
"""Bytes of a peer's DISCONNECT text that are kept."""

EXT_INFO_LIMIT = 16
"""Extensions in one EXT_INFO (RFC 8308); the field knows fewer than ten."""

EXT_VALUE_LIMIT = 4096
"""Bytes of one extension's value; the longest server-sig-algs in the field is below 1 KiB."""


@dataclass(frozen=True, slots=True)
class HostKey:
    """One way of proving who we are: a key, or a key with the host certificate made for it.

    `certificate` is the certificate's blob, empty for the plain key.
    """

    signer: Signer
    certificate: bytes = b""

    @property
    def blob(self) -> bytes:
        """What the peer is shown as the server's host key."""
        return self.certificate or self.signer.public.blob

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The host key algorithms this key can be negotiated for, best first (RFC 8332 section 3)."""
        plain = self.signer.public.algorithms
        return tuple(name + CERT_SUFFIX for name in plain) if self.certificate else plain


class ClosedBy(StrEnum):
    """Who ended a connection."""

    PEER = "peer"
    US = "us"
    NETWORK = "network"


@dataclass(frozen=True, slots=True)
class CloseReason:
    """How a connection ended.

    `code` is the DISCONNECT code sent or received, 0 when there was none. `text` is ours when `by` is US;
    when `by` is PEER it is the peer's own, cut to `DISCONNECT_TEXT_LIMIT` and to be shown only escaped.
    `reason` is set for endings that have a metric of their own.
    """

    by: ClosedBy
    code: int = 0
    text: str = ""
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """Settings of one role. `algorithms` is what is on offer, best first (`wire.kexinit.FRONT`, `.TARGET`).

    Legacy algorithms beside host keys of ours are a ValueError: no path leads to the front door.
    `version` is our identification line without CR LF. Servers need `host_keys` and offer those of their
    algorithms that are in `algorithms`; clients put there what they can check. A time of 0 switches that
    timer off. `trace`: a line of the operator's log for each message (`transport.trace`).
    """

    algorithms: Algorithms
    host_keys: Sequence[HostKey] = ()
    version: str = "SSH-2.0-Bastion"
    signature_algorithms: tuple[str, ...] = (
        "ssh-ed25519",
        "sk-ssh-ed25519@openssh.com",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
        "rsa-sha2-512",
        "rsa-sha2-256",
    )
    handshake_timeout: float = 30.0
    login_grace: float = 60.0
    kex_timeout: float = 120.0
    write_stall: float = 180.0
    rekey_bytes: int = 1 << 30
    rekey_packets: int = 1 << 31
    rekey_seconds: float = 3600.0
    trace: bool = False
    host_key_of: Mapping[str, HostKey] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        table: dict[str, HostKey] = {}
        for host_key in self.host_keys:
            for algorithm in host_key.algorithms:
                table.setdefault(algorithm, host_key)
        if table and self.algorithms.legacy:
            raise ValueError("legacy algorithms are for targets, never for a server of ours")
        object.__setattr__(self, "host_key_of", MappingProxyType(table))
        if table:
            offered = tuple(name for name in self.algorithms.host_keys if name in table)
            object.__setattr__(self, "algorithms", replace(self.algorithms, host_keys=offered))
