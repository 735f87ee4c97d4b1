"""One key exchange, from the first KEXINIT to the keys, as calls that return what to send (RFC 4253, 7-9).

No I/O and no waiting: the transport's `KeyExchange` feeds messages in and sends what comes back. An `Exchange` serves
one exchange and is thrown away.

Invariants: one signature of a host key per KEXINIT (docs/security.md, C13); a client has verified the server's
signature over the exchange hash before anybody asks whether the host key is the right one, and that question
is answered before NEWKEYS is sent; all secrets go with the object.
"""

from __future__ import annotations

import secrets

from bastion.errors import ProtocolError
from bastion.transport.settings import CERT_SUFFIX, HostKey, TransportSettings
from bastion.transport.states import Role
from bastion.wire.certificates import Certificate
from bastion.wire.ciphers import DirectionKeys
from bastion.wire.kex import (
    Agreed,
    ClientKex,
    Reply,
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
    """One exchange of either role.

    `ours` and `theirs` are the KEXINIT payloads (empty until sent or come), `by_peer` says who began, `agreed` are the
    negotiated names, `hash` is the exchange hash H once the method is done, `checking` is true while the owner looks
    at a host key.
    """

    __slots__ = (
        "_method",
        "_offered",
        "_peer_version",
        "_received",
        "_role",
        "_settings",
        "_shared",
        "_skip_guess",
        "agreed",
        "by_peer",
        "checking",
        "hash",
        "host_key_blob",
        "ours",
        "theirs",
    )

    def __init__(self, role: Role, settings: TransportSettings) -> None:
        self.by_peer = False
        self.ours = b""
        self.theirs = b""
        self.agreed: Negotiated | None = None
        self.hash = b""
        self.host_key_blob = b""
        self.checking = False
        self._role = role
        self._settings = settings
        self._peer_version = b""
        self._offered: KexInit | None = None
        self._received: KexInit | None = None
        self._skip_guess = False
        self._method: ClientKex | ServerKex | None = None
        self._shared = b""

    def offer(self, algorithms: Algorithms, initial: bool) -> bytes:
        """Our KEXINIT, to be sent as it is."""
        offered = KexInit.offer(
            secrets.token_bytes(16), algorithms, client_role=self._role is Role.CLIENT, initial=initial
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

    def settle(self) -> Negotiated:
        """Both KEXINITs are there: negotiate. Nothing of the method has been computed. Raises ProtocolError."""
        offered, received = self._offered, self._received
        assert received is not None and offered is not None
        if self._role is Role.SERVER:
            agreed = negotiate(received, offered)
            self._skip_guess = agreed.ignore_client_guess
        else:
            agreed = negotiate(offered, received)
            self._skip_guess = agreed.ignore_server_guess
        self.agreed = agreed
        return agreed

    def begin(self) -> list[bytes]:
        """Begin the method that was agreed on. Returns what is to be sent next."""
        assert self.agreed is not None
        if self._role is Role.SERVER:
            self._method = server_kex(self.agreed.kex)
            return []
        method = self._method = client_kex(self.agreed.kex)
        return [method.start()]

    def receive(self, payload: bytes) -> list[bytes]:
        """A message 30-49; returns what is to be sent next. `hash` is set when this was the last one."""
        if self._skip_guess:  # RFC 4253 section 7.1: a wrong guess is dropped unread
            self._skip_guess = False
            return []
        if self._method is None:
            raise ProtocolError("a message of the key exchange came twice", Disconnect.KEY_EXCHANGE_FAILED)
        outcome = self._method.receive(payload)
        if isinstance(outcome, bytes):
            return [outcome]
        self._method = None
        if isinstance(outcome, Agreed):
            return [self._prove(outcome)]
        self._verify(outcome)
        return []

    def keys(self, session_id: bytes, to_server: bool) -> DirectionKeys:
        """The keys of one direction (RFC 4253 section 7.2)."""
        agreed = self.agreed
        assert agreed is not None and self.hash
        cipher = agreed.cipher_c2s if to_server else agreed.cipher_s2c
        mac = agreed.mac_c2s if to_server else agreed.mac_s2c
        return direction_keys(
            agreed.kex, self._shared, self.hash, session_id, cipher, mac, to_server=to_server
        )

    def _prove(self, outcome: Agreed) -> bytes:
        """A server's end: the message that proves the host key."""
        assert self.agreed is not None
        host_key: HostKey = self._settings.host_key_of[self.agreed.host_key]
        self.host_key_blob = host_key.blob
        self._finish(outcome.transcript, outcome.shared)
        # OpenSSH PROTOCOL.certkeys: a certificate's key signs with its plain algorithm.
        signature = host_key.signer.sign(self.hash, self.agreed.host_key.removesuffix(CERT_SUFFIX))
        return outcome.reply(host_key.blob, signature)

    def _verify(self, outcome: Reply) -> None:
        """A client's end: the server holds the key it shows. Raises ProtocolError."""
        assert self.agreed is not None
        self.host_key_blob = outcome.host_key
        self._finish(outcome.transcript, outcome.shared)
        # Only a target's own list puts "ssh-rsa" into our offer (upstream.host_keys), and only then is SHA-1 taken.
        sha1 = "ssh-rsa" in self._settings.algorithms.host_keys
        _verify_host_signature(outcome.host_key, outcome.signature, self.hash, self.agreed.host_key, sha1)

    def _finish(self, transcript: bytes, shared: bytes) -> None:
        assert self.agreed is not None
        ours = (self._settings.version.encode("ascii"), self.ours)
        theirs = (self._peer_version, self.theirs)
        client, server = (theirs, ours) if self._role is Role.SERVER else (ours, theirs)
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
