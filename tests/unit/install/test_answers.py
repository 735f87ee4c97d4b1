"""Reading what an operator typed."""

import pytest

from bastion.install.answers import (
    BadAnswer,
    NewTarget,
    read_account,
    read_login,
    read_pin,
    read_place,
    read_target,
)
from bastion.options.kinds import Address

FINGERPRINT = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("web1=10.0.0.5", NewTarget("web1", "10.0.0.5")),
        ("web1=10.0.0.5:2200", NewTarget("web1", "10.0.0.5", 2200)),
        ("Web1=web1.example.com", NewTarget("web1", "web1.example.com")),
        ("web1.example.com", NewTarget("web1.example.com", "web1.example.com")),
        ("web1=[2001:db8::5]:2200", NewTarget("web1", "2001:db8::5", 2200)),
        ("web1=2001:db8::5", NewTarget("web1", "2001:db8::5")),
    ],
)
def test_targets(text, target):
    assert read_target(text) == target


@pytest.mark.parametrize(
    "text",
    ["", "=10.0.0.5", "web1=", "we b=10.0.0.5", "web1=a b", "web1=h:0", "web1=h:70000", "a+b=h", "a=\x1b[2J"],
)
def test_what_is_no_target_is_told_without_its_control_characters(text):
    with pytest.raises(BadAnswer) as told:
        read_target(text)
    assert str(told.value).isprintable()


def test_places():
    assert read_place("gate.example.com", 2222) == Address("gate.example.com", 2222)
    assert read_place("[::]:22", 2222) == Address("::", 22)
    with pytest.raises(BadAnswer):
        read_place("gate example", 2222)


def test_names():
    assert (read_login("Administrator"), read_account("alice")) == ("Administrator", "alice")
    for read, text in ((read_login, "a+b"), (read_account, "Alice"), (read_account, "")):
        with pytest.raises(BadAnswer):
            read(text)


def test_pins():
    assert read_pin(f"web1={FINGERPRINT}") == ("web1", FINGERPRINT)
    for text in (FINGERPRINT, "web1=SHA256:short", f"web1={FINGERPRINT}=", f"web1=MD5:{FINGERPRINT[7:]}"):
        with pytest.raises(BadAnswer):
            read_pin(text)
