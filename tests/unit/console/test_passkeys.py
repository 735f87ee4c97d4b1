"""What a browser brings of a passkey: taken when everything is right, and not with any one thing wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fido2.cose import ES256, RS256, CoseKey

from bastion.auth.webauthn import RESPONSE_MAX, asserted, rp_id, user_handle
from bastion.clock import FixedClock
from bastion.console.admission import Place
from bastion.console.challenges import LIFE, Challenges
from bastion.console.passkeys import Passkeys
from bastion.errors import AuthReason, Refused
from bastion.state.passkeys import Passkey
from tests.support.passkeys import FLAG, Authenticator

HERE = Place("https://console.example.com:8443")
POINT = ES256.from_cryptography_key(ec.generate_private_key(ec.SECP256R1()).public_key())
MODULUS = RS256.from_cryptography_key(rsa.generate_private_key(65537, 2048).public_key())
MINE, OTHERS = b"this browser", b"another browser"


class Console:
    """Its passkeys, an authenticator, and what it has made for ada."""

    def __init__(self) -> None:
        self.clock = FixedClock()
        self.passkeys = Passkeys(HERE, Challenges(self.clock))
        self.key = Authenticator(HERE.origin, "console.example.com", counter=7)

    def register(self, **changes: Any) -> Passkey | None:
        options = self.passkeys.creation(MINE, "u-ada", "ada", ())
        made = self.passkeys.registered(self.key.create(options, **changes), MINE)
        if made is None:
            return None
        return Passkey(
            made.id,
            made.credential,
            made.public_key,
            "u-ada",
            "ada",
            "blue",
            made.counter,
            int(made.synced),
            1.0,
        )

    def judge(self, text: str, passkey: Passkey, browser: bytes = MINE) -> int | AuthReason:
        given = asserted(text)
        assert given is not None and given.id == passkey.id
        try:
            return self.passkeys.judge(given, passkey, browser)
        except Refused as refused:
            assert isinstance(refused.reason, AuthReason)
            return refused.reason


@pytest.fixture
def console() -> Console:
    return Console()


def test_one_is_made_and_signs_in_once_for_each_challenge(console: Console) -> None:
    passkey = console.register()
    assert passkey is not None and passkey.counter == 8 and not passkey.synced
    options = console.passkeys.request(MINE)
    assert (
        json.loads(options)["userVerification"] == "required"
        and json.loads(options)["rpId"] == "console.example.com"
    )
    answer = console.key.get(options)
    assert console.judge(answer, passkey) == 9
    assert console.judge(answer, passkey) is AuthReason.FACTOR_INVALID, "a second time"
    assert console.judge(console.key.get(console.passkeys.request(MINE)), passkey) == 10


def test_what_is_asked_for_names_nobody_and_wants_a_pin_or_a_finger(console: Console) -> None:
    passkey = console.register()
    assert passkey is not None
    options = json.loads(console.passkeys.creation(MINE, "u-ada", "ada", [passkey]))
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert [one["id"] for one in options["excludeCredentials"]] == [passkey.credential]
    assert {one["alg"] for one in options["pubKeyCredParams"]} == {-7, -8, -35, -257}
    assert "u-ada" not in json.dumps(options) and user_handle("u-ada") != user_handle("u-rex")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"origin": "https://console.example.com"}, AuthReason.BAD_SIGNATURE),
        ({"origin": "https://evil.example.com"}, AuthReason.BAD_SIGNATURE),
        ({"origin": "http://console.example.com:8443"}, AuthReason.BAD_SIGNATURE),
        ({"type": "webauthn.create"}, AuthReason.BAD_SIGNATURE),
        ({"rp_id": "example.com"}, AuthReason.BAD_SIGNATURE),
        ({"signed_by": ec.generate_private_key(ec.SECP256R1())}, AuthReason.BAD_SIGNATURE),
        ({"flags": FLAG.UV}, AuthReason.BAD_SIGNATURE),
        ({"flags": FLAG.UP}, AuthReason.SK_NOT_VERIFIED),
        ({"crossOrigin": True}, AuthReason.FACTOR_INVALID),
        ({"crossOrigin": "no"}, AuthReason.FACTOR_INVALID),
        ({"challenge": "x" * 75}, AuthReason.FACTOR_INVALID),
        ({"challenge": 7}, AuthReason.FACTOR_INVALID),
        ({"handle": user_handle("u-rex")}, AuthReason.FACTOR_INVALID),
    ],
)
def test_with_one_thing_wrong_nobody_is_signed_in(
    console: Console, changes: dict[str, Any], reason: AuthReason
) -> None:
    passkey = console.register()
    assert passkey is not None
    options = console.passkeys.request(MINE)
    assert console.judge(console.key.get(options, **changes), passkey) is reason
    assert console.judge(console.key.get(options), passkey) == console.key.counter, "and nothing is used up"


def test_a_challenge_of_another_browser_purpose_or_time_is_none(console: Console) -> None:
    passkey = console.register()
    assert passkey is not None
    answer = console.key.get(console.passkeys.request(OTHERS))
    assert console.judge(answer, passkey) is AuthReason.FACTOR_INVALID
    answer = console.key.get(console.passkeys.creation(MINE, "u-ada", "ada", ()))
    assert console.judge(answer, passkey) is AuthReason.FACTOR_INVALID
    answer = console.key.get(console.passkeys.request(MINE))
    console.clock.advance(LIFE)
    assert console.judge(answer, passkey) is AuthReason.FACTOR_INVALID


@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "https://evil.example.com"},
        {"type": "webauthn.get"},
        {"rp_id": "example.com"},
        {"flags": FLAG.UP},
        {"flags": FLAG.UV},
        {"crossOrigin": True},
        {"challenge": "x" * 75},
        {"key": RS256.from_cryptography_key(rsa.generate_private_key(65537, 1024).public_key())},
        {"key": CoseKey({1: 3, 3: -65535, -1: b"\xff" * 256, -2: b"\x01\x00\x01"})},
        {"key": CoseKey(POINT | {9: {1: 2}})},
        {"key": CoseKey(POINT | {9: "text"})},
        {"key": CoseKey(POINT | {9: [1]})},
        {"key": CoseKey(POINT | {"name": 1})},
        {"key": CoseKey(MODULUS | {9: "text"})},
    ],
)
def test_with_one_thing_wrong_nothing_is_registered(console: Console, changes: dict[str, Any]) -> None:
    assert console.register(**changes) is None and console.register() is not None


def test_a_registration_is_of_this_browser_and_once(console: Console) -> None:
    options = console.passkeys.creation(MINE, "u-ada", "ada", ())
    text = console.key.create(options)
    assert console.passkeys.registered(text, OTHERS) is None
    assert (
        console.passkeys.registered(text, MINE) is not None
        and console.passkeys.registered(text, MINE) is None
    )
    text = console.key.create(console.passkeys.request(MINE).replace("}", ', "user": {"id": "eA"}}'))
    assert console.passkeys.registered(text, MINE) is None, "a challenge to sign in makes nothing"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"rawId": 1, "response": {}}', '{"rawId": "eA", "response": []}', "[" * 6000,
     json.dumps({"rawId": "eA" * 700, "response": {}}),
     json.dumps({"rawId": "eA", "response": {"x": "y" * RESPONSE_MAX}})],
)  # fmt: skip
def test_what_is_no_answer_is_none(console: Console, text: str) -> None:
    assert asserted(text) is None and console.passkeys.registered(text, MINE) is None


def test_an_answer_that_says_half_is_refused(console: Console) -> None:
    passkey = console.register()
    assert passkey is not None
    whole = json.loads(console.key.get(console.passkeys.request(MINE)))
    for name in ("clientDataJSON", "authenticatorData", "signature"):
        for value in ("", "!", None, 1, "AA"):
            broken = whole | {"response": whole["response"] | {name: value}}
            assert isinstance(console.judge(json.dumps(broken), passkey), AuthReason)
    for broken in (whole | {"id": "eHg"}, {**whole, "response": {}}):
        assert isinstance(console.judge(json.dumps(broken), passkey), AuthReason)


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [("https://console.example.com", "console.example.com"), ("http://localhost:9743", "localhost")],
)
def test_passkeys_are_for_the_host_without_its_port(origin: str, wanted: str) -> None:
    assert rp_id(origin) == wanted
