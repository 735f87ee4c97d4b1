"""What credentials forbid: source lists, key options, and that an intersection only narrows."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.restrictions import (
    AddressList,
    PermitOpen,
    Restrictions,
    check_authorized_key,
    wildcard_match,
)
from bastion.errors import AuthReason, ProtocolError, Refused
from bastion.wire.data import string
from bastion.wire.key_options import ALL_PERMITS
from bastion.wire.keys import PublicKey, parse_authorized_key

LINE = PublicKey.parse(string("ssh-ed25519") + string(b"\x07" * 32)).line()


@pytest.mark.parametrize(
    ("text", "address", "expected"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1,2001:db8::/32", "2001:db8::5", True),
        ("2001:db8::/32", "192.0.2.1", False),
        ("0.0.0.0/0", "::1", False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("::ffff:10.0.0.0/104", "10.0.0.1", False),  # as sshd: an IPv6 entry, an IPv4 peer
        ("::ffff:10.0.0.0/104", "::ffff:10.0.0.1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("", "10.1.2.3", False),
        ("10.0.0.0/8", "", False),
        ("10.0.0.0/8", "unix", False),
    ],
)
def test_cidr_lists(text: str, address: str, expected: bool) -> None:
    assert AddressList.from_cidr_list(text).matches(address) is expected


@pytest.mark.parametrize(
    "text",
    [
        ",", "10.0.0.0/8,", "10.0.0.0/8, 11.0.0.0/8", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/255.0.0.0",
        "10.0.0.0/-1", "10.0.*", "!10.0.0.0/8", "host", "10", "010.0.0.1", "fe80::1%eth0", "::/129",
        "1.2.3.4/", "10.0.0.0/8\n", "１0.0.0.0/8", ",".join(["10.0.0.1"] * 257),
    ],
)  # fmt: skip
def test_malformed_cidr_lists_are_errors(text: str) -> None:
    with pytest.raises(ProtocolError):
        AddressList.from_cidr_list(text)


@pytest.mark.parametrize(
    ("entries", "address", "expected"),
    [
        (("10.*",), "10.1.2.3", True),
        (("10.0.0.?",), "10.0.0.12", False),
        (("10.0.0.0/8", "!10.0.0.1"), "10.0.0.1", False),
        (("!10.0.0.1", "10.0.0.0/8"), "10.0.0.2", True),
        (("!10.0.0.*",), "11.0.0.1", False),
        (("2001:DB8:*",), "2001:db8::1", True),
        (("*",), "2001:db8::1", True),
        ((), "10.0.0.1", False),
    ],
)
def test_from_patterns(entries: tuple[str, ...], address: str, expected: bool) -> None:
    assert AddressList.from_patterns(entries).matches(address) is expected


@pytest.mark.parametrize("entry", ["host.example.com", "*.example.com", "", "!", "cafe", "10.0.0.1/8", "a*"])
def test_from_host_names_are_refused_because_nothing_looks_them_up(entry: str) -> None:
    with pytest.raises(ProtocolError):
        AddressList.from_patterns((entry,))


@given(st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_wildcards_match_like_fnmatch(pattern: str, text: str) -> None:
    assert wildcard_match(pattern, text) is fnmatch.fnmatchcase(text, pattern)


def test_wildcards_take_no_exponential_time() -> None:
    assert not wildcard_match("*a" * 200 + "b", "a" * 2000)


def _restrictions(options: str, address: str = "10.0.0.1", now: float = 0.0) -> Restrictions:
    return check_authorized_key(parse_authorized_key(f"{options} {LINE}"), now, address)


def test_key_options_become_restrictions() -> None:
    found = _restrictions(
        'restrict,pty,command="ls",permitopen="db:5432",expiry-time="20300101Z",from="10.*"'
    )
    assert found.force_command == "ls"
    assert found.permits("permit-pty") and not found.permits("permit-port-forwarding")
    assert found.valid_before == 1893456000
    assert not found.allows_open("db", 5432), "restrict took port forwarding away"


def test_permitopen_is_honoured() -> None:
    found = _restrictions('permitopen="db:5432",permitopen="10.0.0.9:*"')
    assert found.allows_open("DB", 5432) and found.allows_open("10.0.0.9", 1)
    assert not found.allows_open("db", 5433) and not found.allows_open("web", 5432)


def test_a_key_has_its_last_second() -> None:
    assert _restrictions('expiry-time="20300101Z"', now=1893455999.9).valid_before == 1893456000
    with pytest.raises(Refused, match="expired") as refusal:
        _restrictions('expiry-time="20300101Z"', now=1893456000.0)
    assert refusal.value.reason is AuthReason.KEY_OPTIONS


@pytest.mark.parametrize(
    "options", ['from="11.0.0.0/8"', 'from=""', 'from="!10.0.0.1,10.*"', 'from="h.example"']
)
def test_a_key_from_elsewhere_is_refused(options: str) -> None:
    with pytest.raises(Refused) as refusal:
        _restrictions(options)
    assert refusal.value.reason is AuthReason.KEY_OPTIONS


def test_a_demand_that_only_a_security_key_can_meet() -> None:
    blob = string("sk-ssh-ed25519@openssh.com") + string(b"k" * 32) + string("ssh:")
    security_key = PublicKey.parse(blob)
    line = f"verify-required,no-pty {security_key.line()}"
    assert not check_authorized_key(parse_authorized_key(line), 0.0, "10.0.0.1").permits("permit-pty")
    with pytest.raises(Refused, match="for security keys only") as refusal:
        _restrictions("verify-required")
    assert refusal.value.reason is AuthReason.KEY_OPTIONS
    assert _restrictions("no-touch-required") == Restrictions()


ADDRESSES = ("10.0.0.1", "10.9.9.9", "192.0.2.1", "2001:db8::1")
some_restrictions = st.builds(
    Restrictions,
    force_command=st.sampled_from([None, "ls"]),
    source_addresses=st.lists(
        st.sampled_from(["", "10.0.0.0/8", "10.0.0.1", "2001:db8::/32"]).map(AddressList.from_cidr_list),
        max_size=2,
    ).map(tuple),
    extensions=st.frozensets(st.sampled_from(sorted(ALL_PERMITS))),
    valid_before=st.one_of(st.none(), st.integers(0, 100)),
    permit_open=st.lists(
        st.sampled_from([PermitOpen(()), PermitOpen((("db", 1),)), PermitOpen((("*", None),))]), max_size=2
    ).map(tuple),
)


@given(some_restrictions, some_restrictions)
def test_an_intersection_allows_exactly_what_both_allow(one: Restrictions, two: Restrictions) -> None:
    """CVE-2026-39828: restrictions of the first factor were dropped after the second."""
    both = one.intersect(two)
    for address in ADDRESSES:
        assert both.allows_source(address) is (one.allows_source(address) and two.allows_source(address))
    for permit in ALL_PERMITS:
        assert both.permits(permit) is (one.permits(permit) and two.permits(permit))
    for now in (0, 50, 100):
        assert both.ended(now) is (one.ended(now) or two.ended(now))
    for host in ("db", "web"):
        assert both.allows_open(host, 1) is (one.allows_open(host, 1) and two.allows_open(host, 1))
    assert both.force_command == (one.force_command or two.force_command)
    assert both.intersect(one) == both.intersect(both) == both


def test_an_empty_forced_command_is_a_forced_command() -> None:
    assert Restrictions(force_command="").intersect(Restrictions()).force_command == ""


def test_two_forced_commands_cannot_both_be_obeyed() -> None:
    with pytest.raises(Refused) as refusal:
        Restrictions(force_command="ls").intersect(Restrictions(force_command="id"))
    assert refusal.value.reason is AuthReason.KEY_OPTIONS
