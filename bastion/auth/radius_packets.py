"""RADIUS packets: an Access-Request, and what may answer it (RFC 2865, RFC 2869 section 5.14), as values (L1, pure).

pyrad reads and writes them; it is loaded only where `[radius]` is configured. Invariants: a request begins with a
Message-Authenticator, and no answer is one without it, whatever its Response Authenticator: that alone is MD5 over what
an attacker can choose (CVE-2024-3596, Blast-RADIUS); nothing is read that is longer than a packet may be.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from pyrad.packet import AuthPacket, PacketError

from bastion.errors import BastionError

HEADER: Final = 20
MAX_PACKET: Final = 4096
"""Bytes (RFC 2865 section 3)."""

MAX_PASSWORD: Final = 128
"""Bytes (RFC 2865 section 5.2)."""

MAX_VALUE: Final = 253
"""Bytes of one attribute."""

DIGEST: Final = 16


class Code(IntEnum):
    """What a packet is."""

    ACCESS_REQUEST = 1
    ACCESS_ACCEPT = 2
    ACCESS_REJECT = 3
    ACCESS_CHALLENGE = 11


class Attribute(IntEnum):
    """The attributes that are sent or looked at."""

    USER_NAME = 1
    USER_PASSWORD = 2
    SERVICE_TYPE = 6
    REPLY_MESSAGE = 18
    STATE = 24
    CALLING_STATION_ID = 31
    NAS_IDENTIFIER = 32
    NAS_PORT_TYPE = 61
    PROMPT = 76
    MESSAGE_AUTHENTICATOR = 80


ANSWERS: Final = frozenset((Code.ACCESS_ACCEPT, Code.ACCESS_REJECT, Code.ACCESS_CHALLENGE))
AUTHENTICATE_ONLY: Final = (8).to_bytes(4, "big")
"""Service-Type: no more than yes or no is wanted."""
VIRTUAL: Final = (5).to_bytes(4, "big")
"""NAS-Port-Type."""


class BadAnswer(BastionError):
    """A datagram that is no answer to the request. It is dropped (RFC 2865 section 3)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server that knows the secret has said."""

    code: Code
    attributes: tuple[tuple[int, bytes], ...]

    def all(self, kind: Attribute) -> tuple[bytes, ...]:
        """The values of that attribute, in order."""
        return tuple(value for one, value in self.attributes if one == kind)


class Request:
    """One Access-Request, and what its answer is known by. `data` is what is sent."""

    __slots__ = ("_packet", "data")

    def __init__(
        self,
        identifier: int,
        authenticator: bytes,
        secret: bytes,
        attributes: Iterable[tuple[Attribute, bytes]],
        password: bytes,
    ) -> None:
        """`authenticator` is 16 bytes of chance. Raises ValueError for what does not fit."""
        if len(password) > MAX_PASSWORD or len(authenticator) != DIGEST:
            raise ValueError("the password is too long")
        self._packet = packet = AuthPacket(int(Code.ACCESS_REQUEST), identifier, secret, authenticator)
        packet.add_message_authenticator()  # the first, as CVE-2024-3596's remedy wants it
        for kind, value in attributes:
            if not 0 < len(value) <= MAX_VALUE:
                raise ValueError("an attribute has 1 to 253 bytes")
            packet[int(kind)] = [value]
        packet[int(Attribute.USER_PASSWORD)] = [packet.PwCrypt(password)]
        self.data: bytes = packet.RequestPacket()
        if len(self.data) > MAX_PACKET:
            raise ValueError("the request is too long")

    def answered_by(self, data: bytes) -> Answer:
        """Raises BadAnswer for what no server has said to this request that knows the secret."""
        if not HEADER <= len(data) <= MAX_PACKET:
            raise BadAnswer("its length")
        try:
            reply = AuthPacket(packet=data)
            # pyrad: identifier, Response Authenticator, Message-Authenticator, and no Proxy-State that was not sent
            proved = self._packet.VerifyReply(reply, enforce_ma=True)
        except (PacketError, ValueError, IndexError, TypeError):
            raise BadAnswer("it cannot be read") from None
        values = dict(OrderedDict.items(reply))
        proofs = values.get(int(Attribute.MESSAGE_AUTHENTICATOR), ())
        if not proved or len(proofs) != 1 or len(proofs[0]) != DIGEST or reply.code not in ANSWERS:
            raise BadAnswer("it proves nothing")
        found = ((kind, value) for kind, each in values.items() if isinstance(kind, int) for value in each)
        return Answer(Code(reply.code), tuple(found))
