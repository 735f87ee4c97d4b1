"""One key exchange, from the first KEXINIT to the keys, as calls that return what to send (RFC 4253, 7-9).

No I/O and no waiting: the transport feeds messages in and sends what comes back. An `Exchange` serves one
exchange and is thrown away.

Invariants: one signature of a host key per KEXINIT (failures.md C13); a client has verified the server's
signature over the exchange hash before anybody asks whether the host key is the right one, and that question
is answered before NEWKEYS is sent; all secrets go with the object.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from bastion.errors import ProtocolError
from bastion.transport.settings import CERT_SUFFIX, HostKey, TransportSettings
from bastion.transport.states import Role
from bastion.wire.certificates import Certificate
from bastion.wire.ciphers import DirectionKeys
from bastion.wire.kex import (
    ClientKex,
    ServerKex,
    client_kex,
    direction_keys,
    exchange_hash,
    kex_method,
    server_kex,
)
from bastion.wire.kexinit import Algorithms, KexInit, Negotiated, negotiate
from bastion.wire.keys import BadSignature, PublicKey
from bastion.wire.numbers import Disconnect


class Exchange:
    """The part that both roles share.

    `ours` and `theirs` are the KEXINIT payloads (empty until sent or come), `by_peer` says who began, `agreed` are the
    negotiated names, `hash` is the exchange hash H once the method is done, `checking` is true while the owner looks
    at a host key.
    """

    role: Role

    def __init__(self, settings: TransportSettings, admit: Callable[[str], None] = lambda kex: None) -> None:
        """`admit` is asked before the method costs anything; it refuses with ProtocolError or Refused."""
        self._admit: Callable[[str], None] | None = admit
        self.by_peer = False
        self.ours = b""
        self.theirs = b""
        self.agreed: Negotiated | None = None
        self.hash = b""
        self.host_key_blob = b""
        self.checking = False
        self._settings = settings
        self._peer_version = b""
        self._offered: KexInit | None = None
        self._received: KexInit | None = None
        self._shared = b""

    def offer(self, algorithms: Algorithms, initial: bool) -> bytes:
        """Our KEXINIT, to be sent as it is."""
        offered = KexInit.offer(
            secrets.token_bytes(16), algorithms, client_role=self.role is Role.CLIENT, initial=initial
        )
        self._offered = offered
        self.ours = offered.encode()
        return self.ours

    def answer(self, payload: bytes, peer_version: bytes) -> KexInit:
        """The peer's KEXINIT has come, after its identification line. Raises ProtocolError."""
        self._peer_version = peer_version
        self._received = KexInit.parse(payload)
        self.theirs = payload
        return self._received

    def settle(self) -> list[bytes]:
        """Both KEXINITs are there: negotiate. Returns what is to be sent next. Raises ProtocolError."""
        raise NotImplementedError

    def _ask(self, kex: str) -> None:
        admit, self._admit = self._admit, None
        assert admit is not None
        admit(kex)

    def receive(self, payload: bytes) -> list[bytes]:
        """A message 30-49; returns what is to be sent next. `hash` is set when this was the last one."""
        raise NotImplementedError

    @property
    def guess_is_wrong(self) -> bool:
        """The peer's next message was sent on a wrong guess and must be dropped (RFC 4253 section 7.1)."""
        agreed = self.agreed
        if agreed is None:
            return False
        return agreed.ignore_client_guess if self.role is Role.SERVER else agreed.ignore_server_guess

    def keys(self, session_id: bytes, to_server: bool) -> DirectionKeys:
        """The keys of one direction (RFC 4253 section 7.2)."""
        agreed = self.agreed
        assert agreed is not None and self.hash
        cipher = agreed.cipher_c2s if to_server else agreed.cipher_s2c
        mac = agreed.mac_c2s if to_server else agreed.mac_s2c
        return direction_keys(
            agreed.kex, self._shared, self.hash, session_id, cipher, mac, to_server=to_server
        )

    def _finish(self, transcript: bytes, shared: bytes) -> None:
        assert self.agreed is not None
        ours = (self._settings.version.encode("ascii"), self.ours)
        theirs = (self._peer_version, self.theirs)
        client, server = (theirs, ours) if self.role is Role.SERVER else (ours, theirs)
        self._shared = shared
        self.hash = exchange_hash(
            kex_method(self.agreed.kex).hash_name,
            client[0],
            server[0],
            client[1],
            server[1],
            self.host_key_blob,
            transcript,
            shared,
        )


class ServerExchange(Exchange):
    """Our half when we are the server: prove the host key."""

    role = Role.SERVER

    def __init__(self, settings: TransportSettings, admit: Callable[[str], None] = lambda kex: None) -> None:
        super().__init__(settings, admit)
        self._method: ServerKex | None = None

    def settle(self) -> list[bytes]:
        assert self._received is not None and self._offered is not None
        self.agreed = negotiate(self._received, self._offered)
        self._ask(self.agreed.kex)
        self._method = server_kex(self.agreed.kex)
        return []

    def receive(self, payload: bytes) -> list[bytes]:
        if self._method is None or self.agreed is None:
            raise ProtocolError("a message of the key exchange came twice", Disconnect.KEY_EXCHANGE_FAILED)
        outcome = self._method.receive(payload)
        if isinstance(outcome, bytes):
            return [outcome]
        self._method = None
        host_key: HostKey = self._settings.host_key_of[self.agreed.host_key]
        self.host_key_blob = host_key.blob
        self._finish(outcome.transcript, outcome.shared)
        # OpenSSH PROTOCOL.certkeys: a certificate's key signs with its plain algorithm.
        signature = host_key.signer.sign(self.hash, self.agreed.host_key.removesuffix(CERT_SUFFIX))
        return [outcome.reply(host_key.blob, signature)]


class ClientExchange(Exchange):
    """Our half when we are the client: verify the host key's signature."""

    role = Role.CLIENT

    def __init__(self, settings: TransportSettings, admit: Callable[[str], None] = lambda kex: None) -> None:
        super().__init__(settings, admit)
        self._method: ClientKex | None = None

    def settle(self) -> list[bytes]:
        assert self._received is not None and self._offered is not None
        self.agreed = negotiate(self._offered, self._received)
        self._ask(self.agreed.kex)
        self._method = client_kex(self.agreed.kex)
        return [self._method.start()]

    def receive(self, payload: bytes) -> list[bytes]:
        if self._method is None or self.agreed is None:
            raise ProtocolError("a message of the key exchange came twice", Disconnect.KEY_EXCHANGE_FAILED)
        outcome = self._method.receive(payload)
        if isinstance(outcome, bytes):
            return [outcome]
        self._method = None
        self.host_key_blob = outcome.host_key
        self._finish(outcome.transcript, outcome.shared)
        # Only a target's own list puts "ssh-rsa" into our offer (upstream.dial), and only then is SHA-1 taken.
        sha1 = "ssh-rsa" in self._settings.algorithms.host_keys
        _verify_host_signature(outcome.host_key, outcome.signature, self.hash, self.agreed.host_key, sha1)
        return []


def _verify_host_signature(blob: bytes, signature: bytes, data: bytes, algorithm: str, sha1: bool) -> None:
    """The server holds the key it shows. Raises ProtocolError; says nothing about whose key it is."""
    try:
        if algorithm.endswith(CERT_SUFFIX):
            key = Certificate.parse(blob).key
        else:
            key = PublicKey.parse(blob)
        key.verify(signature, data, algorithm.removesuffix(CERT_SUFFIX), allow_sha1=sha1)
    except BadSignature:
        raise ProtocolError("the host key's signature is not valid", Disconnect.KEY_EXCHANGE_FAILED) from None
    except ProtocolError as error:
        raise ProtocolError(f"bad host key: {error.text}", Disconnect.KEY_EXCHANGE_FAILED) from None
