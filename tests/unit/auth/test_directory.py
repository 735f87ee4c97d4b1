"""What every directory refuses before it asks anybody."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.directory import (
    MAX_PASSWORD_BYTES,
    NOT_ADMITTED,
    STATE_REASONS,
    check_password_shape,
    normal_name,
    refuse_unless_active,
)
from bastion.auth.identity import AccountState, is_asked_for
from bastion.errors import AuthReason, Refused


def refusal(call: Any, *args: Any, **kwargs: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        call(*args, **kwargs)
    return caught.value


# -- names and passwords -------------------------------------------------------------------------------


def test_names_are_lower_cased() -> None:
    assert normal_name("Alice.B-2") == "alice.b-2"


@pytest.mark.parametrize(
    "name",
    ["", "*", "alice)(uid=*", "al*ce", "a\\2a", "alice\0", "a b", "2fast", "alice\n", "Kelly".replace("K", "\u212a"),
     "a" * 33, "uid=alice,dc=org", "ａlice"],
)  # fmt: skip
def test_names_that_are_no_names(name: str) -> None:
    assert refusal(normal_name, name).reason is AuthReason.BAD_USER_NAME


@pytest.mark.slow
@given(st.text())
def test_any_name_is_normal_or_refused(name: str) -> None:
    try:
        assert is_asked_for(normal_name(name))
    except Refused as refused:
        assert refused.reason is AuthReason.BAD_USER_NAME


@pytest.mark.parametrize("length", [1, 255, 256, 1024])
def test_passwords_of_honest_length_may_be_asked(length: int) -> None:
    check_password_shape("x" * length)
    assert length <= MAX_PASSWORD_BYTES


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", AuthReason.EMPTY_PASSWORD),
        (" ", AuthReason.EMPTY_PASSWORD),
        ("\t\n\r ", AuthReason.EMPTY_PASSWORD),
        ("\0", AuthReason.EMPTY_PASSWORD),
        ("\0\0\0", AuthReason.EMPTY_PASSWORD),
        ("\u00a0\u3000", AuthReason.EMPTY_PASSWORD),  # blanks that RFC 4013 maps to a space
        ("\u00ad\u200b", AuthReason.EMPTY_PASSWORD),  # what RFC 4013 maps to nothing
        ("\0secret", AuthReason.BAD_PASSWORD),
        ("secret\0tail", AuthReason.BAD_PASSWORD),
        ("\ud800", AuthReason.BAD_PASSWORD),
        ("x" * 1025, AuthReason.PASSWORD_TOO_LONG),
        ("é" * 513, AuthReason.PASSWORD_TOO_LONG),
        ("x" * (1 << 20), AuthReason.PASSWORD_TOO_LONG),
    ],
)
def test_passwords_that_nobody_is_asked_about(password: str, reason: AuthReason) -> None:
    refused = refusal(check_password_shape, password)
    assert refused.reason is reason
    assert not password.strip() or password not in refused.text


@pytest.mark.parametrize("password", ["correct horse", " x ", "´`²½ß", "пароль", "🦄"])
def test_passwords_of_any_script(password: str) -> None:
    check_password_shape(password)
    assert len(password.encode()) <= MAX_PASSWORD_BYTES


def test_state_is_told_only_after_a_proof() -> None:
    refuse_unless_active(AccountState.ACTIVE, proved=False)
    for state, reason in STATE_REASONS.items():
        hidden = refusal(refuse_unless_active, state, proved=False)
        told = refusal(refuse_unless_active, state, proved=True)
        assert hidden.reason is told.reason is reason
        assert hidden.text == NOT_ADMITTED != told.text
    assert set(STATE_REASONS) == set(AccountState) - {AccountState.ACTIVE}
