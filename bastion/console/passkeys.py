"""Passkeys (WebAuthn level 3), judged by Yubico's `fido2` (L4, pure): what a browser is asked for, and what it brought.

Invariants: the signature is over a challenge of ours for this very browser and purpose, made at this console's origin,
in a page of its own and not in a frame, for its RP id, by an authenticator that has verified its owner; of what a
browser sends every length is checked before it is read. Who has made an authenticator is not asked: attestation tells
nothing that whoever keeps a small installation could check.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialCreationOptions,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    RegistrationResponse,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from bastion.console.admission import Place
from bastion.console.challenges import Challenges
from bastion.errors import AuthReason, Refused
from bastion.state.passkeys import Passkey, fingerprint

ALGORITHMS: Final = (-7, -8, -35, -257)
"""ES256, EdDSA, ES384 and RS256 (COSE): what authenticators have, without SHA-1."""

RESPONSE_MAX: Final = 6144
"""Characters of what a browser sends: an id of 1023 bytes and an RSA signature of 512 are below it."""

CREDENTIAL_MAX: Final = 1023
"""Bytes of a credential's id (WebAuthn level 3, section 4)."""

RSA_BYTES: Final = (256, 512)
"""Bytes of an RSA modulus: 2048 to 4096 bits."""

SIGN_IN: Final = "sign-in"
REGISTER: Final = "register"
_REQUIRED: Final = UserVerificationRequirement.REQUIRED


@dataclass(frozen=True, slots=True)
class Asserted:
    """What a browser brought to sign in, before anything of it is judged; `id` is the passkey's, as the store has."""

    id: str
    response: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Registered:
    """A new credential that fits."""

    id: str
    credential: str
    public_key: str
    counter: int
    synced: bool


def asserted(text: str) -> Asserted | None:
    """What stood in the form; None: it is none."""
    document = _document(text)
    raw = None if document is None else _bytes(document.get("rawId"))
    if document is None or not raw or len(raw) > CREDENTIAL_MAX:
        return None
    return Asserted(fingerprint(raw), document)


class Passkeys:
    """One per console."""

    def __init__(self, place: Place, challenges: Challenges) -> None:
        rp = PublicKeyCredentialRpEntity(name="Bastion", id=rp_id(place))
        self._challenges, self._rp = challenges, rp
        self._server = Fido2Server(rp, verify_origin=lambda origin: origin == place.origin)
        self._server.allowed_algorithms = [
            one for one in self._server.allowed_algorithms if one.alg in ALGORITHMS
        ]

    # -- signing in --------------------------------------------------------------------------------------

    def request(self, browser: bytes) -> str:
        """What a page asks an authenticator for, as JSON: any passkey that it has for this console."""
        challenge = self._challenges.make(SIGN_IN, browser)
        return json.dumps(
            {
                "challenge": _text(challenge),
                "rpId": self._rp.id,
                "userVerification": "required",
                "allowCredentials": [],
            }
        )

    def judge(self, given: Asserted, passkey: Passkey, browser: bytes) -> int:
        """The counter of a signature by this passkey that proves somebody now. Raises Refused."""
        try:
            response = AuthenticationResponse.from_dict(given.response)
            assert response is not None
            client, handle = response.response.client_data, response.response.user_handle
            challenge, data = client.challenge, response.response.authenticator_data
        except Exception:  # the library's own, of whatever kind: nothing of it is told
            raise Refused(AuthReason.FACTOR_INVALID, "the passkey's answer cannot be read") from None
        if not self._challenges.fits(challenge, SIGN_IN, browser):
            raise Refused(AuthReason.FACTOR_INVALID, "the passkey's answer is to no question of now")
        if client.cross_origin is not False:
            raise Refused(AuthReason.FACTOR_INVALID, "the passkey was asked for in a frame")
        if handle is not None and handle != user_handle(passkey.uid):
            raise Refused(AuthReason.FACTOR_INVALID, "the passkey says that it is another account's")
        if not data.is_user_verified():
            raise Refused(AuthReason.SK_NOT_VERIFIED, "the authenticator has not verified its owner")
        known = AttestedCredentialData.create(
            b"\0" * 16, _needed(passkey.credential), CoseKey.parse(_cose(passkey.public_key))
        )
        try:
            self._server.authenticate_complete(_state(challenge), [known], response)
        except Exception:
            raise Refused(AuthReason.BAD_SIGNATURE, "the passkey's signature is not right") from None
        if not self._challenges.spend(challenge):
            raise Refused(AuthReason.FACTOR_INVALID, "the passkey's answer was used already")
        return int(data.counter)

    # -- registering -------------------------------------------------------------------------------------

    def creation(self, browser: bytes, uid: str, name: str, known: Iterable[Passkey]) -> str:
        """What a page asks an authenticator to make, as JSON: none where one of `known` is."""
        challenge = self._challenges.make(REGISTER, browser)
        options, _ = self._server.register_begin(
            PublicKeyCredentialUserEntity(name=name, id=user_handle(uid), display_name=name),
            [
                PublicKeyCredentialDescriptor(
                    type=PublicKeyCredentialType.PUBLIC_KEY, id=_needed(one.credential)
                )
                for one in known
            ],
            ResidentKeyRequirement.REQUIRED,
            _REQUIRED,
            challenge=challenge,
        )
        made: PublicKeyCredentialCreationOptions = options.public_key
        return json.dumps(dict(made))

    def registered(self, text: str, browser: bytes) -> Registered | None:
        """The credential of what stood in the form; None: it is none that could be taken."""
        document = _document(text)
        try:
            response = RegistrationResponse.from_dict(document or {})
            assert response is not None
            client = response.response.client_data
            challenge = client.challenge
            fits = self._challenges.fits(challenge, REGISTER, browser) and client.cross_origin is False
            if not fits:
                return None
            data = self._server.register_complete(_state(challenge), response)
            made = data.credential_data
        except Exception:
            return None
        if (
            made is None
            or not 16 <= len(made.credential_id) <= CREDENTIAL_MAX
            or not _is_good(made.public_key)
        ):
            return None
        if made.credential_id != response.raw_id or not self._challenges.spend(challenge):
            return None
        key = {
            str(name): value if isinstance(value, int) else _text(value)
            for name, value in made.public_key.items()
        }
        return Registered(
            fingerprint(made.credential_id),
            _text(made.credential_id),
            json.dumps(key, sort_keys=True),
            int(data.counter),
            bool(data.is_backup_eligible()),
        )


def rp_id(place: Place) -> str:
    """What passkeys are for: the host of the console, without its port."""
    host = place.host
    return host if host.endswith("]") else host.partition(":")[0]


def user_handle(uid: str) -> bytes:
    """What an authenticator keeps of whose the passkey is: always the same, and nobody's name (section 14.6.1)."""
    return hashlib.sha256(b"bastion console\0" + uid.encode()).digest()


def _is_good(key: CoseKey) -> bool:
    """A key of a kind that is taken, which costs no more to check than it should, and of numbers and bytes alone: what
    else CBOR knows could not be kept."""
    if key.get(3) not in ALGORITHMS or not all(type(name) is int for name in key):
        return False
    if not all(isinstance(value, (int, bytes)) for value in key.values()):
        return False
    if key.get(3) == -257:
        modulus, exponent = key.get(-1), key.get(-2)
        small, large = RSA_BYTES
        return isinstance(modulus, bytes) and small <= len(modulus) <= large and exponent == b"\x01\x00\x01"
    return all(isinstance(value, int) or len(value) <= 48 for value in key.values())


def _cose(text: str) -> dict[int, Any]:
    """A key as the store has it."""
    return {
        int(name): value if isinstance(value, int) else _needed(value)
        for name, value in json.loads(text).items()
    }


def _state(challenge: bytes) -> dict[str, Any]:
    """What the library keeps between its two halves."""
    return {"challenge": _text(challenge), "user_verification": _REQUIRED}


def _document(text: str) -> dict[str, Any] | None:
    if len(text) > RESPONSE_MAX:
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("response"), dict):
        return None
    return {name: document[name] for name in ("id", "rawId", "response", "type") if name in document}


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _bytes(text: object) -> bytes | None:
    if not isinstance(text, str) or not text.isascii():
        return None
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None


def _needed(text: str) -> bytes:
    """Of what we wrote ourselves."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
