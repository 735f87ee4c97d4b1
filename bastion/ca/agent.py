"""Signing with a key that lives in an ssh-agent, and so in a token or a KMS behind one (L2).

Source: the ssh-agent protocol (draft-ietf-sshm-ssh-agent, sections 3.5 and 3.6). Each signature is one
connection to the agent's socket, made in the calling thread and bounded by one deadline; an agent behind a
slow token belongs in a worker thread. Invariant: a signature that does not verify with the configured public
key is never returned, so a wrong or hostile agent can only fail.
"""

from __future__ import annotations

import os
import socket

from bastion.clock import Clock
from bastion.errors import ProtocolError, Refused, UpstreamReason
from bastion.wire.data import Reader, byte, string, uint32
from bastion.wire.keys import RSA_SHA2_256, RSA_SHA2_512, PublicKey

REQUEST_IDENTITIES = 11
IDENTITIES_ANSWER = 12
SIGN_REQUEST = 13
SIGN_RESPONSE = 14

SIGN_FLAGS = {RSA_SHA2_256: 2, RSA_SHA2_512: 4}
"""Flags of SIGN_REQUEST for RSA keys; other keys know one algorithm only."""

MAX_ANSWER = 256 * 1024
"""Bytes of one answer: OpenSSH's own limit (AGENT_MAX_LEN)."""

MAX_IDENTITIES = 1024
"""Keys in one answer: an agent that lists more is not one of ours."""

DEFAULT_TIMEOUT = 2.0
"""Seconds for one signature in all, connecting included: the reactor waits meanwhile."""


class AgentSigner:
    """A `Signer` whose private key is in the agent at `socket_path`."""

    def __init__(
        self,
        socket_path: str | os.PathLike[str],
        public: PublicKey,
        clock: Clock,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self._path = os.fspath(socket_path)
        self._public = public
        self._clock = clock
        self._timeout = timeout

    @property
    def public(self) -> PublicKey:
        return self._public

    def sign(self, data: bytes, algorithm: str = "") -> bytes:
        """A signature blob that was verified. Raises Refused(CREDENTIAL_FAILED) when the agent gives none."""
        algorithm = algorithm or self._public.algorithms[0]
        flags = uint32(SIGN_FLAGS.get(algorithm, 0))
        request = byte(SIGN_REQUEST) + string(self._public.blob) + string(data) + flags
        try:
            answer = Reader(self._ask(request))
            if answer.byte() != SIGN_RESPONSE:
                raise ProtocolError("the agent refused to sign")
            signature = answer.string()
            answer.end()
            self._public.verify(signature, data, algorithm)
        except (ProtocolError, OSError):
            raise Refused(
                UpstreamReason.CREDENTIAL_FAILED, "the gateway's signing agent gave no signature"
            ) from None
        return signature

    def holds_key(self) -> bool:
        """Does the agent list our key? For `bastion check`; False for every failure too."""
        try:
            answer = Reader(self._ask(byte(REQUEST_IDENTITIES)))
            if answer.byte() != IDENTITIES_ANSWER:
                return False
            blobs = []
            for _ in range(min(answer.uint32(), MAX_IDENTITIES)):
                blobs.append(answer.string())
                answer.string()
        except (ProtocolError, OSError):
            return False
        return self._public.blob in blobs

    def _ask(self, request: bytes) -> bytes:
        """One request, one answer: both with a uint32 length before them."""
        deadline = self._clock.monotonic() + self._timeout
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
            agent.settimeout(self._timeout)
            agent.connect(self._path)
            agent.sendall(string(request))
            size = Reader(self._receive(agent, 4, deadline)).uint32()
            if not 0 < size <= MAX_ANSWER:
                raise ProtocolError("the agent's answer has an impossible length")
            return self._receive(agent, size, deadline)

    def _receive(self, agent: socket.socket, size: int, deadline: float) -> bytes:
        """Exactly `size` bytes before `deadline`, however slowly they drip."""
        received = bytearray()
        while len(received) < size:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise TimeoutError
            agent.settimeout(left)
            piece = agent.recv(size - len(received))
            if not piece:
                raise ProtocolError("the agent closed the connection")
            received += piece
        return bytes(received)
