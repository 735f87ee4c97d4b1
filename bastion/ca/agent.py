"""Signing with a key that lives in an ssh-agent, and so in a token or a KMS behind it (L2). It blocks: for threads.

Source: the ssh-agent protocol (draft-ietf-sshm-ssh-agent, sections 3.5 and 3.6). Each signature is one connection to
the agent's socket, bounded by one deadline. Invariant: a signature that does not verify with the configured public key
is never returned, so a wrong or hostile agent can only fail; and how it failed is one of `AgentFault`.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Final

from bastion.errors import AgentFailed, AgentFault, ProtocolError
from bastion.wire.data import Reader, byte, string, uint32
from bastion.wire.keys import RSA_SHA2_256, RSA_SHA2_512, PublicKey

FAILURE: Final = 5
REQUEST_IDENTITIES: Final = 11
IDENTITIES_ANSWER: Final = 12
SIGN_REQUEST: Final = 13
SIGN_RESPONSE: Final = 14

SIGN_FLAGS: Final = {RSA_SHA2_256: 2, RSA_SHA2_512: 4}
"""Flags of SIGN_REQUEST for RSA keys; other keys know one algorithm only."""

MAX_ANSWER: Final = 256 * 1024
"""Bytes of one answer: OpenSSH's own limit (AGENT_MAX_LEN)."""

MAX_IDENTITIES: Final = 1024
"""Keys in one answer: an agent that lists more is not one of ours."""

TIMEOUT: Final = 5.0
"""Seconds for one signature in all: a token takes a tenth of one, a KMS far away one; whoever waits is logging in."""


class AgentSigner:
    """A `Signer` whose private key is in the agent that listens at `socket_path`. `use` says what it signs."""

    def __init__(
        self, socket_path: str | os.PathLike[str], public: PublicKey, use: str, timeout: float = TIMEOUT
    ) -> None:
        self.path = Path(socket_path)
        self.use = use
        self._public = public
        self._timeout = timeout

    @property
    def public(self) -> PublicKey:
        return self._public

    def sign(self, data: bytes, algorithm: str = "") -> bytes:
        """A signature blob that was verified. Raises AgentFailed."""
        deadline = time.monotonic() + self._timeout
        algorithm = algorithm or self._public.algorithms[0]
        flags = uint32(SIGN_FLAGS.get(algorithm, 0))
        request = byte(SIGN_REQUEST) + string(self._public.blob) + string(data) + flags
        answer = Reader(self._ask(request, deadline))
        if answer.byte() != SIGN_RESPONSE:
            raise self._refused(deadline)
        try:
            signature = answer.string()
            answer.end()
            self._public.verify(signature, data, algorithm)
        except ProtocolError:
            raise self._failed(AgentFault.BAD_ANSWER, "gave a signature that is not the key's") from None
        return signature

    def look(self) -> None:
        """Does the agent hold the key? Nothing is signed. Raises AgentFailed."""
        if self._public.blob not in self._identities(time.monotonic() + self._timeout):
            raise self._missing()

    def _refused(self, deadline: float) -> AgentFailed:
        """It said no: because it has not got the key (it may be locked), or for a reason of its own."""
        try:
            held = self._identities(deadline)
        except AgentFailed as failed:
            return failed
        if self._public.blob not in held:
            return self._missing()
        return self._failed(AgentFault.REFUSED, "refuses to sign with the key that it has")

    def _missing(self) -> AgentFailed:
        text = f"does not hold {self._public.fingerprint()}, or is locked (ssh-add -X)"
        return self._failed(AgentFault.KEY_MISSING, text)

    def _identities(self, deadline: float) -> list[bytes]:
        answer = Reader(self._ask(byte(REQUEST_IDENTITIES), deadline))
        try:
            if answer.byte() != IDENTITIES_ANSWER:
                return []
            blobs = []
            for _ in range(min(answer.uint32(), MAX_IDENTITIES)):
                blobs.append(answer.string(MAX_ANSWER))
                answer.string(MAX_ANSWER)
        except ProtocolError:
            raise self._failed(AgentFault.BAD_ANSWER, "lists its keys in a form of its own") from None
        return blobs

    # -- one request, one answer: both with a uint32 length before them ---------------------------------------

    def _ask(self, request: bytes, deadline: float) -> bytes:
        """Raises AgentFailed."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as agent:
                agent.settimeout(_left(deadline))
                agent.connect(os.fspath(self.path))
                agent.sendall(string(request))
                size = int.from_bytes(self._receive(agent, 4, deadline), "big")
                if not 0 < size <= MAX_ANSWER:
                    raise self._failed(AgentFault.BAD_ANSWER, "gave an answer of an impossible length")
                return self._receive(agent, size, deadline)
        except (TimeoutError, BlockingIOError):
            text = f"did not answer within {self._timeout:g} s"
            raise self._failed(AgentFault.TIMEOUT, text) from None
        except OSError as error:
            raise self._failed(AgentFault.GONE, f"cannot be asked: {error.strerror or error}") from None

    def _receive(self, agent: socket.socket, size: int, deadline: float) -> bytes:
        """Exactly `size` bytes before `deadline`, however slowly they drip."""
        received = bytearray()
        while len(received) < size:
            agent.settimeout(_left(deadline))
            piece = agent.recv(size - len(received))
            if not piece:
                raise self._failed(AgentFault.BAD_ANSWER, "closed the connection instead of answering")
            received += piece
        return bytes(received)

    def _failed(self, fault: AgentFault, what: str) -> AgentFailed:
        return AgentFailed(fault, f"the agent at {self.path} {what}")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
