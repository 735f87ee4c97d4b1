import fnmatch
import ipaddress
import re
import socket
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.policy.patterns import (
    address_of,
    canonical,
    destinations_of,
    host_name,
    is_loopback,
    matches,
)
from tests.support.examples import examples

LETTERS = string.ascii_letters + string.digits + "_.@-"


@examples(300)
@given(st.text(LETTERS + "*?", min_size=1, max_size=12), st.text("ab.", min_size=1, max_size=12))
def test_a_pattern_matches_as_a_glob_does(pattern, word):
    expected = re.fullmatch(fnmatch.translate(pattern), word) is not None
    assert matches(pattern, word) is expected


@examples(300)
@given(st.text(max_size=300))
def test_a_star_never_matches_what_is_no_word(word):
    if not re.fullmatch(r"[A-Za-z0-9_.@-]{1,253}", word, re.ASCII):
        assert not matches("*", word)
        assert not matches(word, word)
    else:
        assert matches("*", word)


@pytest.mark.parametrize(
    "word", ["web1\n", "\nweb1", "web1\0", "", "web 1", "web1\u2028", "wéb1", "web1/", "a" * 254]
)
def test_odd_words_match_nothing(word):
    assert not any(matches(pattern, word) for pattern in ("*", "web*", "*1*", "????*", word or "*"))


def test_many_stars_take_no_time():
    assert not matches("*a" * 60 + "b", "a" * 253)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("10.1.2", "10.1.0.2"),
        ("::ffff:10.1.0.2", "10.1.0.2"),
        ("fe80::1%eth0", "fe80::1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("256.0.0.1", None),
        ("1.2.3.4.5", None),
        ("08.0.0.1", None),
        ("1.2.3.", None),
        ("web1", None),
        ("", None),
    ],
)
def test_addresses_are_recognised_in_every_spelling(host, address):
    found = address_of(host)
    assert found == (None if address is None else ipaddress.ip_address(address))


@examples(300)
@given(
    st.from_regex(r"\A(0x[0-9a-f]{1,8}|0[0-7]{0,10}|[1-9][0-9]{0,9})(\.(0x[0-9a-f]{1,3}|[0-9]{1,4})){0,3}\Z")
)
def test_ipv4_spellings_agree_with_the_c_library(host):
    try:
        expected = ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        expected = None
    assert address_of(host) == expected


def test_one_name_has_one_form():
    assert canonical("Web1.Example.COM.") == "web1.example.com"
    assert canonical("::FFFF:10.0.0.1") == "10.0.0.1"
    for odd in ("", ".", "a b", "a\nb", "-a", "wéb", "a" * 254, "a/b", "a:b"):
        assert canonical(odd) is None
    assert host_name("10.0.0.1") is None


def test_what_is_neither_name_nor_address_counts_as_loopback():
    assert all(
        is_loopback(host) for host in ("", "a b", "localhost", "x.localhost", "127.9", "::", "0", "::1%lo")
    )
    assert not any(is_loopback(host) for host in ("web1", "10.0.0.1", "2001:db8::1", "localhost.example.com"))


@pytest.mark.parametrize(
    ("pattern", "host", "port", "expected"),
    [
        ("db1:5432", "db1", 5432, True),
        ("db1:5432", "DB1.", 5432, True),
        ("db1:5432", "db1", 5433, False),
        ("db1:5432", "db10", 5432, False),
        ("*.example.com:443", "a.b.example.com", 443, True),
        ("*.example.com:443", "example.com", 443, False),
        ("*.example.com:443", "evil.com\n.example.com", 443, False),
        ("*:443", "10.0.0.1", 443, False),
        ("*:443", "169.254.169.254", 443, False),
        ("*:443", "0xa9fea9fe", 443, False),
        ("*:443", "localhost", 443, False),
        ("10.0.0.0/8:443", "10.2.3.4", 443, True),
        ("10.0.0.0/8:443", "::ffff:10.2.3.4", 443, True),
        ("10.0.0.0/8:443", "10.evil.com", 443, False),
        ("0.0.0.0/0:443", "127.0.0.1", 443, False),
        ("0.0.0.0/0:443", "example.com", 443, False),
        ("[2001:db8::/32]:8000-8999", "2001:db8::7", 8500, True),
        ("[2001:db8::/32]:8000-8999", "2001:db8::7", 9000, False),
        ("[2001:db8::1]:80", "2001:db8:0::1", 80, True),
        ("db1:*", "db1", 65535, True),
        ("db1:*", "db1", 22, False),
        ("db1:22", "db1", 22, True),
        ("db1:*", "db1", 0, False),
        ("db1:*", "db1", 65536, False),
    ],
)
def test_destinations(pattern, host, port, expected):
    places = destinations_of(pattern)
    assert places is not None
    assert places.match(host, port) is expected


@pytest.mark.parametrize(
    "text",
    ["db1", "db1:", ":80", "db1:0", "db1:65536", "db1:90-80", "db1:80-", "a b:80", "2001:db8::1:80", "10.0.0.1/8:80",
     "[db1]:80", "127.1:80", "db1:٢٢", "a\n:80", "[10.0.0.0/8:80", "a/b:80"],
)  # fmt: skip
def test_malformed_destinations_are_no_destinations(text):
    assert destinations_of(text) is None
