"""What stands before a key in authorized_keys: read as OpenSSH reads it, and nothing is ever permitted by mistake."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire.key_options import ALL_PERMITS, KeyOptions, options_text, parse_expiry, parse_key_options


def options(text: str) -> KeyOptions:
    found, rest = parse_key_options(f"{text} ssh-ed25519 AAAA")
    assert rest == "ssh-ed25519 AAAA"
    return found


def test_options_end_at_the_first_blank_outside_quotes() -> None:
    found, rest = parse_key_options('command="a b",restrict \t ssh-ed25519 AAAA comment ')
    assert found.command == "a b"
    assert found.permits == frozenset()
    assert rest == "ssh-ed25519 AAAA comment"


def test_absent_options_are_none_and_empty_ones_match_nothing() -> None:
    assert options("pty") == KeyOptions(ALL_PERMITS)
    assert options('from=""').sources == ()
    assert options('command=""').command == ""


def test_switches_count_in_the_order_of_the_line() -> None:
    assert options("restrict,pty").permits == {"permit-pty"}
    assert options("pty,restrict").permits == frozenset()
    assert options("no-pty,PTY").permits == ALL_PERMITS
    assert options("no-agent-forwarding").permits == ALL_PERMITS - {"permit-agent-forwarding"}


def test_only_a_quote_is_escaped_inside_quotes() -> None:
    assert options(r'command="say \"hi\" \\ \n"').command == r'say "hi" \\ \n'


def test_of_several_expiry_times_the_earliest_counts() -> None:
    text = 'expiry-time="20300102Z",expiry-time="20290102Z",expiry-time="20310102Z"'
    assert options(text).expires_at == parse_expiry("20290102Z")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("db1:5432", ("db1", 5432)),
        ("DB1:*", ("db1", None)),
        ("*:22", ("*", 22)),
        ("[2001:db8::1]:22", ("2001:db8::1", 22)),
    ],
)
def test_where_a_key_may_open(value: str, place: tuple[str, int | None]) -> None:
    assert options(f'permitopen="{value}"').permit_open == (place,)


@pytest.mark.parametrize("value", ["db1", "db1:0", "db1:65536", "*.db:1", "db1:", ":22", "a b:22", "db1:²"])
def test_a_place_that_cannot_be_read_refuses_the_key(value: str) -> None:
    with pytest.raises(ProtocolError, match="permitopen"):
        options(f'permitopen="{value}"')


@pytest.mark.parametrize(
    "text", ['from="10.0.0.0/8', 'environment="SECRET=1"', 'x="SECRET"', 'command="SECRET']
)
def test_an_error_names_no_value(text: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        options(text)
    assert "SECRET" not in caught.value.text and "10.0" not in caught.value.text


@given(st.text(max_size=80))
def test_option_garbage_never_gives_another_error_nor_fewer_restrictions(text: str) -> None:
    try:
        options, _rest = parse_key_options(text)
    except ProtocolError:
        return
    assert options.permits <= ALL_PERMITS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("19700101Z", 0), ("202601010000Z", 1767225600), ("20260101000001Z", 1767225601)],
)
def test_expiry_in_utc(text: str, seconds: int) -> None:
    assert parse_expiry(text) == seconds


def test_expiry_without_z_is_local_as_in_openssh() -> None:
    script = "from bastion.wire.key_options import parse_expiry; print(parse_expiry('202601010000'))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, timeout=60, env={"TZ": "UTC-2"},
    )  # fmt: skip
    assert int(done.stdout) == 1767225600 - 7200, done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "",
        'no-pty,command="id",from="192.0.2.*,!192.0.2.1",permitopen="db:5432",permitopen="*:*",verify-required',
        "no-touch-required",
    ],
)
def test_options_are_told_in_their_own_words(text: str) -> None:
    read = options(text) if text else KeyOptions()
    assert options_text(read) == text


def test_restrict_is_told_as_what_it_takes_away() -> None:
    told = options_text(options("restrict,pty"))
    assert told == "no-port-forwarding,no-agent-forwarding,no-x11-forwarding,no-user-rc"
