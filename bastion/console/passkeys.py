"""Passkeys (WebAuthn level 3) of the console (L4, pure): what a browser is asked for, and what it brought.

Invariants: a signature is judged as `auth.webauthn` says, over a challenge of ours for this very browser and purpose;
of what a browser sends every length is checked before it is read. Who has made an authenticator is not asked:
attestation tells nothing that whoever keeps a small installation could check.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fido2.cose import CoseKey
from fido2.webauthn import (
    PublicKeyCredentialCreationOptions,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    RegistrationResponse,
    ResidentKeyRequirement,
)

from bastion.auth.webauthn import (
    ALGORITHMS,
    CREDENTIAL_MAX,
    REQUIRED,
    Asserted,
    Credential,
    Party,
    document,
    needed,
    state_of,
    text_of,
    user_handle,
)
from bastion.console.admission import Place
from bastion.console.challenges import Challenges
from bastion.errors import AuthReason, Refused
from bastion.state.passkeys import Passkey, fingerprint

RSA_BYTES: Final = (256, 512)
"""Bytes of an RSA modulus: 2048 to 4096 bits."""

SIGN_IN: Final = "sign-in"
REGISTER: Final = "register"


@dataclass(frozen=True, slots=True)
class Registered:
    """A new credential that fits."""

    id: str
    credential: str
    public_key: str
    counter: int
    synced: bool


class Passkeys:
    """One per console."""

    def __init__(self, place: Place, challenges: Challenges, decide: bool = False) -> None:
        """`decide`: the gateway takes them as a proof of who decides."""
        self._challenges, self.party, self.decide = challenges, Party(place.origin), decide

    # -- signing in --------------------------------------------------------------------------------------

    def request(self, browser: bytes) -> str:
        """What a page asks an authenticator for, as JSON: any passkey that it has for this console."""
        return self.party.request(self._challenges.make(SIGN_IN, browser))

    def judge(self, given: Asserted, passkey: Passkey, browser: bytes) -> int:
        """The counter of a signature by this passkey that proves somebody now. Raises Refused."""
        kept = Credential(passkey.credential, passkey.public_key, passkey.uid)
        counter, challenge = self.party.judge(
            given, kept, lambda found: self._challenges.fits(found, SIGN_IN, browser)
        )
        if not self._challenges.spend(challenge):
            raise Refused(AuthReason.FACTOR_INVALID, "the passkey's answer was used already")
        return counter

    # -- registering -------------------------------------------------------------------------------------

    def creation(self, browser: bytes, uid: str, name: str, known: Iterable[Passkey]) -> str:
        """What a page asks an authenticator to make, as JSON: none where one of `known` is."""
        challenge = self._challenges.make(REGISTER, browser)
        options, _ = self.party.server.register_begin(
            PublicKeyCredentialUserEntity(name=name, id=user_handle(uid), display_name=name),
            [
                PublicKeyCredentialDescriptor(
                    type=PublicKeyCredentialType.PUBLIC_KEY, id=needed(one.credential)
                )
                for one in known
            ],
            ResidentKeyRequirement.REQUIRED,
            REQUIRED,
            challenge=challenge,
        )
        made: PublicKeyCredentialCreationOptions = options.public_key
        return json.dumps(dict(made))

    def registered(self, text: str, browser: bytes) -> Registered | None:
        """The credential of what stood in the form; None: it is none that could be taken."""
        try:
            response = RegistrationResponse.from_dict(document(text) or {})
            assert response is not None
            client = response.response.client_data
            challenge = client.challenge
            fits = self._challenges.fits(challenge, REGISTER, browser) and client.cross_origin is False
            if not fits:
                return None
            data = self.party.server.register_complete(state_of(challenge), response)
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
            str(name): value if isinstance(value, int) else text_of(value)
            for name, value in made.public_key.items()
        }
        return Registered(
            fingerprint(made.credential_id),
            text_of(made.credential_id),
            json.dumps(key, sort_keys=True),
            int(data.counter),
            bool(data.is_backup_eligible()),
        )


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
