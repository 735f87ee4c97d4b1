"""Distinguished names: strict reading, comparing, and being below a base."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.auth.ldap_dn import dn_form, first_value, is_within, parse_dn

BASE = "ou=people,dc=example,dc=org"


def escaped(value: str) -> str:
    """RFC 4514 section 2.4, the long way: every byte as a hex pair."""
    return "".join(f"\\{byte:02x}" for byte in value.encode())


def test_reads_parts_escapes_and_several_pairs() -> None:
    assert parse_dn(r"CN=Smith\, J\2e+uid = js , dc=example,DC=org") == (
        frozenset({("cn", "Smith, J."), ("uid", "js")}),
        frozenset({("dc", "example")}),
        frozenset({("dc", "org")}),
    )
    assert parse_dn("") == ()
    assert parse_dn(r"cn=a\ ,dc=b") == (frozenset({("cn", "a ")}), frozenset({("dc", "b")}))


@pytest.mark.parametrize(
    "text",
    [
        "cn",
        "=a",
        "cn=a,",
        ",cn=a",
        "cn=a,,dc=b",
        r"cn=a\z",
        'cn="a"',
        "cn=a\0",
        r"cn=\ff",
        "cn=" + "a" * 5000,
    ],
)
def test_refuses_what_is_no_dn(text: str) -> None:
    with pytest.raises(ValueError):
        parse_dn(text)
    assert not is_within(text, BASE)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_dn(text)
    except ValueError:
        pass
    assert is_within(text, BASE) in (True, False)


@given(st.text(min_size=1, max_size=60).filter(lambda text: text.isprintable()))
def test_an_escaped_value_comes_back(value: str) -> None:
    dn = f"cn={escaped(value)},{BASE}"
    assert first_value(dn, "CN") == value
    assert is_within(dn, BASE)
    assert is_within(dn.replace("dc=example", "DC = Example"), dn)


def test_a_value_that_looks_like_a_base_is_not_below_it() -> None:
    assert is_within("uid=alice,ou=people,dc=example,dc=org", BASE)
    assert is_within("UID=alice, OU=People, DC=example, DC=org", BASE)
    assert not is_within(r"uid=alice\,ou=people\,dc=example\,dc=org", BASE)
    assert not is_within("uid=alice,ou=people,dc=example,dc=org,dc=evil", BASE)
    assert not is_within("dc=org", BASE)
    assert not is_within("", BASE) and not is_within("", "")


@pytest.mark.parametrize(
    "text",
    ["cn=sre,ou=groups,dc=org", "CN=SRE, OU=Groups,DC=org", "cn=sre;ou=groups;dc=org", r"cn=\73re,ou=groups,dc=org",
     "cn= \uff33re ,ou=groups,dc=org"],
)  # fmt: skip
def test_a_dn_has_one_form(text: str) -> None:
    assert dn_form(text) == "cn=sre,ou=groups,dc=org"


def test_the_form_keeps_apart_what_is_different() -> None:
    assert dn_form(r"cn=a\,ou=b,dc=org") == r"cn=a\,ou\=b,dc=org" != dn_form("cn=a,ou=b,dc=org")
    assert dn_form("uid=j+cn=a,dc=org") == dn_form("CN=A+uid=J,dc=org") == "cn=a+uid=j,dc=org"
    for name in ("sre", "team=a", "a, b", "cn=a,", "", "=,=", "cn=a", "a=b\0,c=d"):
        assert dn_form(name) is None


@given(st.text(min_size=1, max_size=40).filter(lambda text: text.isprintable()))
def test_a_form_is_its_own_form(value: str) -> None:
    form = dn_form(f"cn={escaped(value)},{BASE}")
    assert form is not None and dn_form(form) == form and is_within(form, BASE)


def test_first_value_needs_its_kind() -> None:
    with pytest.raises(ValueError):
        first_value("ou=sre,dc=org", "cn")
    with pytest.raises(ValueError):
        first_value("", "cn")
