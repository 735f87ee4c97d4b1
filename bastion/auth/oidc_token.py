"""Is an ID token what it says (L2)? OpenID Connect Core 1.0, section 3.1.3.7; the signature is joserfc's to verify.

Loaded only where `[oidc]` is configured. Invariants: only signatures by one of the issuer's public keys count, never a
shared secret and never none; every claim that is relied on must be there and of its type; a token that was made before
it was asked for proves nothing.
"""

from __future__ import annotations

import json
import math
from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from bastion.errors import BastionError

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""What issuers sign with. None of them takes a secret for a key."""

MAX_TOKEN: Final = 32 << 10
"""Characters of a token: one with a hundred groups has eight thousand."""

MAX_KEYS: Final = 32
"""Keys of an issuer that are looked at."""

LEEWAY: Final = 60.0
"""Seconds by which the issuer's clock may be wrong."""

RSA_BITS: Final = 2048

_PRIVATE: Final = ("d", "p", "q", "dp", "dq", "qi", "oth")
_KINDS: Final[dict[str, Any]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}


class BadToken(BastionError):
    """It proves nothing. `text` is ours, and for operators."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class UnknownKey(BadToken):
    """It may be signed with a key that the issuer has published since."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Who must have made it, for whom, and since when (seconds since the epoch); `nonce`: for which request, "" where
    ours has none."""

    issuer: str
    audience: str
    since: float
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key of an issuer; `kid` is its name, "" for none."""

    kid: str
    key: RSAKey | ECKey | OKPKey


def signing_keys(document: Any) -> tuple[SigningKey, ...]:
    """Of a JWK set (RFC 7517 section 5) those that sign; what cannot be used is passed over."""
    keys = document.get("keys") if isinstance(document, dict) else None
    found = []
    for one in keys[:MAX_KEYS] if isinstance(keys, list) else ():
        kind = _KINDS.get(str(one.get("kty"))) if isinstance(one, dict) else None
        if kind is None or one.get("use", "sig") != "sig":
            continue
        try:
            public = {name: value for name, value in one.items() if name not in _PRIVATE}
            key = kind.import_key(public)
            if isinstance(key, RSAKey) and key.raw_value.key_size < RSA_BITS:
                continue
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        kid = one.get("kid")
        found.append(SigningKey(kid if isinstance(kid, str) else "", key))
    return tuple(found)


def verified(token: str, keys: Iterable[SigningKey], expected: Expected, now: float) -> Mapping[str, Any]:
    """What the token claims. Raises BadToken, UnknownKey where other keys might do."""
    if len(token) > MAX_TOKEN:
        raise BadToken(f"the ID token is longer than {MAX_TOKEN} characters")
    header = _header(token)
    if header.get("alg") not in ALGORITHMS:
        raise BadToken("the ID token is not signed by an algorithm with a public key")
    kid = header.get("kid")
    those = [one for one in keys if kid is None or one.kid == kid]
    if not those:
        raise UnknownKey("the ID token is signed with a key that the issuer does not publish")
    claims = _signed(token, those)
    _check(claims, expected, now)
    return claims


def _header(token: str) -> Mapping[str, Any]:
    first = token.split(".", 1)[0]
    try:
        header = json.loads(urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or token.count(".") != 2:
        raise BadToken("the ID token is none")
    return header


def _signed(token: str, keys: Iterable[SigningKey]) -> Mapping[str, Any]:
    for one in keys:
        try:
            claims = jwt.decode(token, one.key, algorithms=list(ALGORITHMS)).claims
        except BadSignatureError:
            continue
        except (JoseError, ValueError, TypeError, RecursionError):
            # a key of another kind than the algorithm's, or a token that says nothing readable
            continue
        if isinstance(claims, dict):
            return claims
    raise UnknownKey("the ID token's signature is not right")


def _check(claims: Mapping[str, Any], expected: Expected, now: float) -> None:
    if claims.get("iss") != expected.issuer:
        raise BadToken("the ID token is another issuer's")
    audience = claims.get("aud")
    whom = [audience] if isinstance(audience, str) else audience
    if not isinstance(whom, list) or expected.audience not in whom:
        raise BadToken("the ID token is for somebody else")
    if (len(whom) > 1 or "azp" in claims) and claims.get("azp") != expected.audience:
        raise BadToken("the ID token was given to somebody else")
    if claims.get("nonce") != (expected.nonce or None):
        raise BadToken("the ID token was made for another request: its nonce is none of ours")
    if not now - LEEWAY < _time(claims, "exp"):
        raise BadToken("the ID token has expired")
    made = _time(claims, "iat")
    if made > now + LEEWAY or made < expected.since - LEEWAY:
        raise BadToken("the ID token was not made just now")
    if "nbf" in claims and _time(claims, "nbf") > now + LEEWAY:
        raise BadToken("the ID token is not valid yet")


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadToken(f"the ID token has no {name}")
    return float(value)
