"""What the library would not send is no filter."""

from __future__ import annotations

import pytest

from bastion.auth.ldap_filters import is_filter


@pytest.mark.parametrize(
    "text", ["(objectClass=person)", "(&(objectClass=person)(!(cn=x)))", r"(cn=a\28b\29)", "(|(a=1)(b=*))"]
)
def test_a_filter(text: str) -> None:
    assert is_filter(text)


@pytest.mark.parametrize("text", ["(objectClass)", "(&)x", "(!(a=1)(b=2))", "(cn=a)(cn=b)", "()"])
def test_none(text: str) -> None:
    assert not is_filter(text)
