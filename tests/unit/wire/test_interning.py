"""Values that many connections have in common are kept once, and never more than so many."""

from __future__ import annotations

import pytest

from bastion.wire.interning import KEPT, _kept, one_of_equal


@pytest.fixture(autouse=True)
def nothing_kept():
    _kept.cache_clear()
    yield
    _kept.cache_clear()


def test_of_equal_values_the_first_is_given() -> None:
    first, second = bytes(bytearray(b"SSH-2.0-x")), bytes(bytearray(b"SSH-2.0-x"))
    assert first is not second
    assert one_of_equal(first) is first
    assert one_of_equal(second) is first


def test_equal_values_of_different_types_stay_what_they_are() -> None:
    assert one_of_equal(1) is not one_of_equal(True)
    assert type(one_of_equal(1)) is int and type(one_of_equal(True)) is bool


def test_the_oldest_unused_goes_first() -> None:
    common = ("curve25519-sha256", "ssh-ed25519")
    assert one_of_equal(common) is common
    for number in range(2 * KEPT):
        one_of_equal(f"SSH-2.0-stranger-{number}")
        assert one_of_equal(tuple(common)) is common, "it was in use all the time"
    assert _kept.cache_info().currsize == KEPT


def test_what_nobody_says_any_more_is_let_go() -> None:
    first = bytes(bytearray(b"SSH-2.0-x"))
    one_of_equal(first)
    for number in range(KEPT):
        one_of_equal(number)
    second = bytes(bytearray(b"SSH-2.0-x"))
    assert one_of_equal(second) is second
