"""ID tokens: who made them, for whom, when; and keys that are no keys."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hmac import digest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from bastion.auth.oidc_token import (
    MAX_KEYS,
    MAX_TOKEN,
    BadToken,
    Expected,
    UnknownKey,
    signing_keys,
    verified,
)

NOW = 1_800_000_000.0
ISSUER, CLIENT = "https://id.example.com/staff", "bastion"
EXPECTED = Expected(ISSUER, CLIENT, NOW - 30)
KEY = RSAKey.generate_key(2048, {"kid": "one", "use": "sig"})
OTHER = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": CLIENT,
    "sub": "u-1",
    "iat": NOW - 5,
    "exp": NOW + 300,
    "preferred_username": "alice",
}


def published(*keys: Any) -> dict[str, Any]:
    return {"keys": [key.as_dict(private=False) for key in keys]}


KEYS = signing_keys(published(KEY, OTHER, EC, ED))


def token(key: Any = KEY, algorithm: str = "RS256", kid: str | None = "one", **claims: Any) -> str:
    whole = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    header = {"alg": algorithm} if kid is None else {"alg": algorithm, "kid": kid}
    return jwt.encode(header, whole, key, algorithms=[algorithm])


def claims_of(made: str, keys: Any = KEYS) -> Mapping[str, Any]:
    return verified(made, keys, EXPECTED, NOW)


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [
        (KEY, "RS256", "one"),
        (KEY, "PS384", "one"),
        (EC, "ES256", "ec"),
        (ED, "EdDSA", "ed"),
        (OTHER, "RS512", "two"),
        (OTHER, "RS256", None),
    ],
)
def test_what_the_issuer_has_signed_counts(key: Any, algorithm: str, kid: str | None) -> None:
    assert claims_of(token(key, algorithm, kid))["preferred_username"] == "alice"


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"iss": ISSUER + "/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "other"}, "somebody else"),
        ({"aud": None}, "somebody else"),
        ({"aud": ["other"]}, "somebody else"),
        ({"aud": [CLIENT, "other"]}, "given to somebody else"),
        ({"aud": [CLIENT, "other"], "azp": "other"}, "given to somebody else"),
        ({"azp": "other"}, "given to somebody else"),
        ({"nonce": "n"}, "another request"),
        ({"nonce": ""}, "another request"),
        ({"exp": NOW - 61}, "has expired"),
        ({"exp": None}, "no exp"),
        ({"exp": True}, "no exp"),
        ({"exp": str(NOW + 60)}, "no exp"),
        ({"iat": None}, "no iat"),
        ({"iat": NOW - 100}, "not made just now"),
        ({"iat": NOW + 100}, "not made just now"),
        ({"nbf": NOW + 100}, "not valid yet"),
    ],
)
def test_what_it_claims_is_looked_at(claims: dict[str, Any], fault: str) -> None:
    with pytest.raises(BadToken, match=fault):
        claims_of(token(**claims))


def test_several_audiences_need_the_one_that_it_was_given_to() -> None:
    assert claims_of(token(aud=["other", CLIENT], azp=CLIENT))


def forged(header: dict[str, Any], signature: str = "") -> str:
    parts = (urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in (header, CLAIMS))
    return ".".join((*parts, signature))


def by_secret(secret: bytes) -> str:
    """HS256, as a library takes it that has the issuer's public key for a secret."""
    head, body, _ = forged({"alg": "HS256", "kid": "one"}).split(".")
    proof = urlsafe_b64encode(digest(secret, f"{head}.{body}".encode(), "sha256")).decode().rstrip("=")
    return f"{head}.{body}.{proof}"


def test_a_signature_is_never_none_and_never_by_a_secret() -> None:
    with pytest.raises(BadToken, match="public key"):
        claims_of(forged({"alg": "none"}))
    with pytest.raises(BadToken, match="public key"):
        claims_of(by_secret(KEY.as_pem(private=False)))
    with pytest.raises(BadToken):
        claims_of(forged({"alg": "RS256", "kid": "one"}, "AAAA"))


def test_a_signature_by_another_key_counts_for_nothing() -> None:
    with pytest.raises(UnknownKey):
        claims_of(token(OTHER, kid="one"))
    with pytest.raises(UnknownKey):
        claims_of(token(RSAKey.generate_key(2048), kid="three"))
    with pytest.raises(BadToken):
        claims_of(token(EC, "ES256", kid="one"))
    with pytest.raises(UnknownKey):
        verified(token(), (), EXPECTED, NOW)


def test_a_token_that_was_changed_counts_for_nothing() -> None:
    head, _, signature = token().split(".")
    body = (
        urlsafe_b64encode(json.dumps({**CLAIMS, "preferred_username": "root"}).encode()).decode().rstrip("=")
    )
    with pytest.raises(BadToken):
        claims_of(f"{head}.{body}.{signature}")


@given(st.text(max_size=200))
def test_garbage_is_a_bad_token(text: str) -> None:
    with pytest.raises(BadToken):
        claims_of(text)


@given(st.binary(max_size=60), st.integers(0, 2))
def test_a_token_with_garbage_in_it_is_a_bad_token(noise: bytes, place: int) -> None:
    parts = token().split(".")
    parts[place] = urlsafe_b64encode(noise).decode().rstrip("=")
    with pytest.raises(BadToken):
        claims_of(".".join(parts))


def test_a_token_is_as_long_as_one_may_be() -> None:
    with pytest.raises(BadToken, match="longer than"):
        claims_of(token(more="x" * MAX_TOKEN))


def test_keys_that_cannot_be_used_hide_no_others() -> None:
    weak = RSAKey.generate_key(1024, {"kid": "weak"}, auto_kid=False)
    odd: list[Any] = [
        {"kty": "oct", "k": "AAAA", "kid": "one"},
        {"kty": "RSA", "n": "AQ", "e": "AQAB", "kid": "tiny"},
        {"kty": "RSA", "kid": "none"},
        {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"},
        {"kty": ["RSA"]},
        {**KEY.as_dict(private=False), "use": "enc", "kid": "enc"},
        weak.as_dict(private=False),
        "no key",
        None,
    ]
    found = signing_keys({"keys": [*odd, *published(KEY)["keys"]]})
    assert [one.kid for one in found] == ["one"]
    for nothing in (None, [], {}, {"keys": None}, {"keys": "x"}):
        assert signing_keys(nothing) == ()
    assert len(signing_keys({"keys": published(EC)["keys"] * 100})) == MAX_KEYS


def test_a_private_key_that_is_published_is_only_looked_at_as_a_public_one() -> None:
    (one,) = signing_keys({"keys": [KEY.as_dict(private=True)]})
    assert not one.key.is_private
