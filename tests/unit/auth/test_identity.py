"""The user name of an SSH login, read into identity, login and target."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.identity import LOGIN_NAME, Destination, parse_destination
from bastion.auth.names import account_part
from bastion.errors import AuthReason, PolicyReason, Refused


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("alice", Destination("alice")),
        ("Alice", Destination("alice")),
        ("alice+web1", Destination("alice", None, "web1")),
        ("alice+deploy+web1", Destination("alice", "deploy", "web1")),
        ("alice+Administrator+WIN1.Example.com", Destination("alice", "Administrator", "win1.example.com")),
        ("a.b-c_d+root+10.0.0.1", Destination("a.b-c_d", "root", "10.0.0.1")),
    ],
)
def test_the_three_forms(user: str, expected: Destination) -> None:
    assert parse_destination(user) == expected
    assert parse_destination(str(expected)) == expected


@pytest.mark.parametrize("user", ["alice deploy web1", "alice+deploy web1", "alice deploy+web1"])
def test_a_blank_is_what_openssh_makes_of_a_plus_in_a_url(user: str) -> None:
    assert parse_destination(user) == Destination("alice", "deploy", "web1")
    assert account_part(user) == account_part("Alice+x") == account_part("alice") == "alice"


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("", AuthReason.BAD_USER_NAME),
        ("+web1", AuthReason.BAD_USER_NAME),
        ("-oProxyCommand", AuthReason.BAD_USER_NAME),
        ("alice\n", AuthReason.BAD_USER_NAME),
        ("alice\0", AuthReason.BAD_USER_NAME),
        (" alice", AuthReason.BAD_USER_NAME),
        ("alice ", PolicyReason.BAD_DESTINATION),
        ("alice  web1", PolicyReason.BAD_DESTINATION),
        ("alice\tweb1", AuthReason.BAD_USER_NAME),
        ("alice deploy+web1 x", PolicyReason.BAD_DESTINATION),
        ("a" * 33, AuthReason.BAD_USER_NAME),
        ("a" * 400, AuthReason.BAD_USER_NAME),
        ("\u212aate", AuthReason.BAD_USER_NAME),  # KELVIN SIGN lower-cases to k
        ("al\u0131ce", AuthReason.BAD_USER_NAME),
        ("*", AuthReason.BAD_USER_NAME),
        ("alice+", PolicyReason.BAD_DESTINATION),
        ("alice++web1", PolicyReason.BAD_DESTINATION),
        ("alice+deploy+", PolicyReason.BAD_DESTINATION),
        ("alice+-x+web1", PolicyReason.BAD_DESTINATION),
        ("alice+deploy+-web1", PolicyReason.BAD_DESTINATION),
        ("alice+deploy+web1\n", PolicyReason.BAD_DESTINATION),
        ("alice+deploy+web1:22", PolicyReason.BAD_DESTINATION),
        ("alice+deploy+web1+x", PolicyReason.BAD_DESTINATION),
        ("alice+deploy+" + "w" * 254, AuthReason.BAD_USER_NAME),  # too long as a whole
    ],
)
def test_everything_else_is_refused(user: str, reason: AuthReason | PolicyReason) -> None:
    with pytest.raises(Refused) as refusal:
        parse_destination(user)
    assert refusal.value.reason is reason


@pytest.mark.parametrize("user", ["Alice@Corp.example", "a.b-c_d@x", "alice@10.0.0.1"])
def test_an_alias_may_stand_for_the_identity(user: str) -> None:
    assert parse_destination(user) == Destination(user.lower())
    assert parse_destination(f"{user}+deploy+web1") == Destination(user.lower(), "deploy", "web1")


@pytest.mark.parametrize(
    "user",
    [
        "@corp", "alice@", "alice@@corp", "a@b@c", "alice@-corp", "alice@corp.", "-a@corp", "a'b@c", "alice@corp%x",
        "x" * 65 + "@corp", "a@" + "x" * 192, "alice@(corp)",
    ],
)  # fmt: skip
def test_what_looks_like_an_alias_and_is_none(user: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_destination(user)
    assert caught.value.reason is AuthReason.BAD_USER_NAME


@given(st.text(max_size=60))
def test_garbage_is_refused_or_gives_a_clean_identity(user: str) -> None:
    try:
        found = parse_destination(user)
    except Refused as refusal:
        assert not user or user not in refusal.text or len(user) < 3
        return
    assert LOGIN_NAME.match(found.identity) and "+" not in found.identity
    assert account_part(user) == found.identity  # what penalties and log go by is who asks
