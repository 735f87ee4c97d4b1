"""An authenticator for passkeys in software: it signs what a test says, honest or not (WebAuthn level 3)."""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2.cose import ES256, CoseKey
from fido2.webauthn import AttestationObject, AttestedCredentialData, AuthenticatorData

FLAG = AuthenticatorData.FLAG
GOOD = FLAG.UP | FLAG.UV


def text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def data(given: str) -> bytes:
    return urlsafe_b64decode(given + "=" * (-len(given) % 4))


@dataclass
class Authenticator:
    """Holds one credential once it has made it. What it says can be changed by each call."""

    origin: str
    rp_id: str
    counter: int = 0
    credential: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    handle: bytes = b""
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def _client(self, kind: str, asked: str, **changes: Any) -> bytes:
        said = {"type": kind, "challenge": asked, "origin": self.origin, "crossOrigin": False}
        return json.dumps(said | changes).encode()

    def _count(self) -> int:
        if self.counter:
            self.counter += 1
        return self.counter

    def create(
        self, options: str, flags: int = GOOD, rp_id: str = "", key: CoseKey | None = None, **client: Any
    ) -> str:
        """What a browser puts into the form for these creation options."""
        asked = json.loads(options)
        self.handle = data(asked["user"]["id"])
        public = key or ES256.from_cryptography_key(self.key.public_key())
        made = AttestedCredentialData.create(b"\0" * 16, self.credential, public)
        about = AuthenticatorData.create(
            hashlib.sha256((rp_id or self.rp_id).encode()).digest(),
            FLAG(flags) | FLAG.AT,
            self._count(),
            made,
        )
        said = self._client("webauthn.create", asked["challenge"], **client)
        return self._answer(
            clientDataJSON=said, attestationObject=bytes(AttestationObject.create("none", about, {}))
        )

    def get(
        self,
        options: str,
        flags: int = GOOD,
        rp_id: str = "",
        handle: bytes | None = None,
        signed_by: ec.EllipticCurvePrivateKey | None = None,
        **client: Any,
    ) -> str:
        """What a browser puts into the form for these request options."""
        asked = json.loads(options)
        about = AuthenticatorData.create(
            hashlib.sha256((rp_id or self.rp_id).encode()).digest(), FLAG(flags), self._count()
        )
        said = self._client("webauthn.get", asked["challenge"], **client)
        signature = (signed_by or self.key).sign(
            bytes(about) + hashlib.sha256(said).digest(), ec.ECDSA(SHA256())
        )
        return self._answer(
            clientDataJSON=said,
            authenticatorData=bytes(about),
            signature=signature,
            userHandle=self.handle if handle is None else handle,
        )

    def _answer(self, **response: bytes) -> str:
        name = text(self.credential)
        whole = {one: text(value) for one, value in response.items()}
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": whole})
