"""A passkey's signature (WebAuthn level 3), judged by Yubico's `fido2` (L2): for sign-ins, and for answers.

Invariants: the signature is over a challenge that whoever asks calls its own, made at one origin, in a page of its own
and not in a frame, for that origin's RP id, by an authenticator that has verified its owner; of what a browser sends
every length is checked before it is read. What is checked of the challenge is the caller's.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialRpEntity,
    UserVerificationRequirement,
)

from bastion.errors import AuthReason, Refused

ALGORITHMS: Final = (-7, -8, -35, -257)
"""ES256, EdDSA, ES384 and RS256 (COSE): what authenticators have, without SHA-1."""

RESPONSE_MAX: Final = 6144
"""Characters of what a browser sends: an id of 1023 bytes and an RSA signature of 512 are below it."""

CREDENTIAL_MAX: Final = 1023
"""Bytes of a credential's id (WebAuthn level 3, section 4)."""

REQUIRED: Final = UserVerificationRequirement.REQUIRED


@dataclass(frozen=True, slots=True)
class Credential:
    """What is kept of a passkey: the id that authenticators know and a COSE key, both in base64url, and the immutable
    id of whose it is."""

    id: str
    public_key: str
    uid: str


@dataclass(frozen=True, slots=True)
class Asserted:
    """What a browser brought, before anything of it is judged; `id` is the fingerprint of the passkey's."""

    id: str
    response: Mapping[str, Any] = field(repr=False)


def asserted(text: str) -> Asserted | None:
    """What stood in the form; None: it is none."""
    found = document(text)
    raw = None if found is None else _bytes(found.get("rawId"))
    if found is None or not raw or len(raw) > CREDENTIAL_MAX:
        return None
    digest = urlsafe_b64encode(hashlib.sha256(raw).digest()).decode("ascii").rstrip("=")
    return Asserted(f"SHA256:{digest}", found)


class Party:
    """Who relies on passkeys, at one origin: `https://console.example.com`."""

    def __init__(self, origin: str) -> None:
        self.entity = PublicKeyCredentialRpEntity(name="Bastion", id=rp_id(origin))
        self.server = Fido2Server(self.entity, verify_origin=lambda given: given == origin)
        self.server.allowed_algorithms = [
            one for one in self.server.allowed_algorithms if one.alg in ALGORITHMS
        ]

    def judge(
        self, given: Asserted, credential: Credential, fits: Callable[[bytes], bool]
    ) -> tuple[int, bytes]:
        """The counter of a signature by this passkey over a challenge that fits, and that challenge. Raises
        Refused."""
        try:
            response = AuthenticationResponse.from_dict(given.response)
            assert response is not None
            client, handle = response.response.client_data, response.response.user_handle
            challenge, data = client.challenge, response.response.authenticator_data
        except Exception:  # the library's own, of whatever kind: nothing of it is told
            raise Refused(AuthReason.FACTOR_INVALID, "the passkey's answer cannot be read") from None
        if not fits(challenge):
            raise Refused(AuthReason.FACTOR_INVALID, "the passkey's answer is to no question of now")
        if client.cross_origin is not False:
            raise Refused(AuthReason.FACTOR_INVALID, "the passkey was asked for in a frame")
        if handle is not None and handle != user_handle(credential.uid):
            raise Refused(AuthReason.FACTOR_INVALID, "the passkey says that it is another account's")
        if not data.is_user_verified():
            raise Refused(AuthReason.SK_NOT_VERIFIED, "the authenticator has not verified its owner")
        known = AttestedCredentialData.create(
            b"\0" * 16, needed(credential.id), CoseKey.parse(_cose(credential.public_key))
        )
        try:
            self.server.authenticate_complete(state_of(challenge), [known], response)
        except Exception:
            raise Refused(AuthReason.BAD_SIGNATURE, "the passkey's signature is not right") from None
        return int(data.counter), challenge

    def request(self, challenge: bytes, known: tuple[str, ...] = ()) -> str:
        """What a page asks an authenticator for, as JSON: one of the credentials `known`, or any for this place."""
        return json.dumps(
            {
                "challenge": text_of(challenge),
                "rpId": self.entity.id,
                "userVerification": "required",
                "allowCredentials": [{"type": "public-key", "id": one} for one in known],
            }
        )


def rp_id(origin: str) -> str:
    """What passkeys are for: the host of the console, without its port."""
    host = origin.partition("://")[2]
    return host if host.endswith("]") else host.partition(":")[0]


def user_handle(uid: str) -> bytes:
    """What an authenticator keeps of whose the passkey is: always the same, and nobody's name (section 14.6.1)."""
    return hashlib.sha256(b"bastion console\0" + uid.encode()).digest()


def state_of(challenge: bytes) -> dict[str, Any]:
    """What the library keeps between its two halves."""
    return {"challenge": text_of(challenge), "user_verification": REQUIRED}


def document(text: str) -> dict[str, Any] | None:
    """The object that a browser has put into a form; None: it is none."""
    if len(text) > RESPONSE_MAX:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("response"), dict):
        return None
    return {name: found[name] for name in ("id", "rawId", "response", "type") if name in found}


def text_of(data: bytes) -> str:
    """In base64url without padding."""
    return urlsafe_b64encode(data).decode("ascii").rstrip("=")


def needed(text: str) -> bytes:
    """The same back, of what we wrote ourselves."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _cose(text: str) -> dict[int, Any]:
    """A key as the store has it."""
    return {
        int(name): value if isinstance(value, int) else needed(value)
        for name, value in json.loads(text).items()
    }


def _bytes(text: object) -> bytes | None:
    if not isinstance(text, str) or not text.isascii():
        return None
    try:
        return needed(text)
    except ValueError:
        return None
