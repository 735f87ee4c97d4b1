"""One-time codes: the RFC's own vectors, what counts when, and what is at rest."""

from __future__ import annotations

from base64 import b32encode

import pytest

from bastion.auth.totp import (
    RECOVERY_CODES,
    TotpKey,
    is_recovery,
    new_recovery_codes,
    new_secret,
    normal,
    step_of,
    uri_of,
)
from bastion.errors import AuthReason, Refused

RFC = b32encode(b"12345678901234567890").decode()
LINE = b"x" * 32


@pytest.mark.parametrize(
    ("now", "code"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]
)
def test_the_vectors_of_rfc_6238(now: int, code: str) -> None:
    """Appendix B, the last six digits of its eight."""
    assert step_of(RFC, code, now) == now // 30


@pytest.mark.parametrize(("later", "counts"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_one_step_of_drift_either_way(later: int, counts: bool) -> None:
    found = step_of(RFC, "005924", 1234567890 + later)
    assert found == (1234567890 // 30 if counts else None), "the step is that of the code, not that of now"


@pytest.mark.parametrize(
    "code", ["", "5924", "0059240", "00592x", "\u0660\u0660\u0665\u0669\u0662\u0664", "-05924"]
)
def test_what_is_no_code(code: str) -> None:
    assert step_of(RFC, code, 1234567890) is None


def test_a_secret_opens_for_whom_it_was_sealed_and_nobody_else() -> None:
    key, secret = TotpKey(LINE), new_secret()
    sealed = key.seal(secret, "u-1")
    assert key.open(sealed, "u-1") == secret and secret not in sealed and len(secret) == 32
    assert key.seal(secret, "u-1") != sealed
    for other, uid in ((key, "u-2"), (TotpKey(b"y" * 32), "u-1")):
        with pytest.raises(Refused) as refused:
            other.open(sealed, uid)
        assert refused.value.reason is AuthReason.CODES_UNAVAILABLE
    for torn in ("", "AAAA", sealed[:-4], "\u00e9"):
        with pytest.raises(Refused):
            key.open(torn, "u-1")


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 32"):
        TotpKey(b"x" * 31)


def test_recovery_codes_are_many_and_read_as_they_are_typed() -> None:
    codes = new_recovery_codes()
    assert len(set(codes)) == RECOVERY_CODES
    key = TotpKey(LINE)
    for code in codes:
        assert is_recovery(normal(code)) and normal(f" {code.upper().replace('-', ' ')} ") == normal(code)
    digests = {key.digest_of(normal(codes[0]), uid) for uid in ("u-1", "u-2")}
    assert len(digests) == 2 and not is_recovery("005924")


def test_what_an_app_reads() -> None:
    uri = uri_of(RFC, "alice", "gate way")
    assert uri == f"otpauth://totp/gate%20way:alice?secret={RFC}&issuer=gate%20way"
