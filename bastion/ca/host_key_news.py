"""What one client is told of our host keys, and its question whether we hold them (L2; OpenSSH PROTOCOL section 2.5).

A client with UpdateHostKeys takes the new key into its known_hosts while it still trusts the old one, and forgets what
it is not told of any more. Invariant: one question a connection is answered, for keys that it was told of, each once:
a client gets no more signatures than there are host keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bastion.errors import ProtocolError
from bastion.wire.data import Reader, string
from bastion.wire.keys import MAX_KEY_BLOB, RSA, RSA_SHA2_256, RSA_SHA2_512, Signer
from bastion.wire.messages import GlobalRequest, RequestSuccess

HOSTKEYS: Final = "hostkeys-00@openssh.com"
HOSTKEYS_PROVE: Final = "hostkeys-prove-00@openssh.com"


class HostKeyNews:
    """For one connection, whose first key exchange has `session_id` and agreed on the host key algorithm `agreed`."""

    __slots__ = ("_agreed", "_session_id", "_signers")

    def __init__(self, signers: Sequence[Signer], session_id: bytes, agreed: str) -> None:
        self._signers = {signer.public.blob: signer for signer in signers}
        self._session_id = session_id
        self._agreed = agreed

    def message(self) -> bytes:
        """The global request that tells it."""
        return GlobalRequest(HOSTKEYS, False, b"".join(map(string, self._signers))).encode()

    def prove(self, body: bytes) -> bytes:
        """The answer to a HOSTKEYS_PROVE with that body; empty when there is none. Only the first has one."""
        signers, self._signers = self._signers, {}
        try:
            reader = Reader(body)
            proofs = []
            while reader.remaining:
                blob = reader.string(MAX_KEY_BLOB)
                signer = signers.pop(blob)
                data = string(HOSTKEYS_PROVE) + string(self._session_id) + string(blob)
                proofs.append(string(signer.sign(data, self._algorithm(signer))))
        except (ProtocolError, KeyError):  # of a key that it was not told of, or twice
            return b""
        return RequestSuccess(b"".join(proofs)).encode() if proofs else b""

    def _algorithm(self, signer: Signer) -> str:
        """OpenSSH expects of RSA what the key exchange agreed on, when that was RSA."""
        if signer.public.type != RSA:
            return signer.public.type
        return self._agreed if self._agreed in (RSA_SHA2_256, RSA_SHA2_512) else RSA_SHA2_512
