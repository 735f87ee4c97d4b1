"""What is told of a body: every field under its name, and every byte of a peer's visible."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bastion.wire.body import MIXED_LIMIT, Body, printable
from bastion.wire.struct import Boolean, String, Uint32, declared


@declared
class Sample(Body):
    """One of each that a detail changes."""

    raw: String
    number: Uint32
    yes: Boolean


def test_a_detail_has_every_field_in_its_order_as_plain_text_and_numbers() -> None:
    detail = Sample(b"caf\xe9", 7, True).detail()
    assert list(detail.items()) == [("raw", "caf\\xe9"), ("number", 7), ("yes", 1)]
    assert type(detail["yes"]) is int


@given(st.binary(max_size=40), st.sampled_from([0, MIXED_LIMIT + 1]))
def test_every_byte_stays_visible_however_long_the_text(raw: bytes, more: int) -> None:
    shown = printable(raw + b"a" * more)
    assert len(shown) <= 4 * (len(raw) + more)
    try:
        wanted = (raw + b"a" * more).decode()
    except UnicodeDecodeError:
        assert "\\x" in shown
        if more:
            wanted = "".join(chr(one) if one < 128 else f"\\x{one:02x}" for one in raw) + "a" * more
        else:
            wanted = raw.decode("utf-8", "backslashreplace")
    assert shown == wanted
