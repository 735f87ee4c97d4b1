"""Bodies of requests and opens: each in its table, and with nothing secret in their detail.

That each is strict is `test_struct.py`'s.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire import requests as r
from tests.support.declared import DECLARED
from tests.unit.wire.strategies import STRATEGIES, U32

TABLES = {**r.CHANNEL_REQUESTS, **r.CHANNEL_OPENS, **r.GLOBAL_REQUESTS}

BODIES = {kind: STRATEGIES[kind] for kind in DECLARED if issubclass(kind, r.Body)}


@given(st.one_of(list(BODIES.values())))
def test_every_value_of_a_detail_is_plain(body: r.Body) -> None:
    assert all(isinstance(value, str | int) for value in body.detail().values())
    assert not any(isinstance(value, bool) for value in body.detail().values())


@given(st.sampled_from(sorted(TABLES)), st.binary(max_size=80))
def test_garbage_gives_protocol_errors_only(name: str, garbage: bytes) -> None:
    try:
        body = r.parse_body(TABLES, name, garbage)
    except ProtocolError as error:
        assert error.text.startswith(name)
        return
    assert body is not None
    assert type(body).parse(body.encode()) == body
    body.detail()


def test_a_name_without_a_codec() -> None:
    assert r.parse_body(r.CHANNEL_REQUESTS, "made-up@example.com", b"\xff") is None


def test_every_body_that_is_declared_stands_in_a_table() -> None:
    assert {*TABLES.values(), *r.GLOBAL_REPLIES.values()} == set(BODIES)


def test_an_x11_cookie_is_in_no_detail_and_no_repr() -> None:
    body = r.X11Request(True, b"MIT-MAGIC-COOKIE-1", b"c00c1ec00c1e", 0)
    assert "c00c1e" not in repr(body) + str(body.detail())


def test_an_x11_cookie_is_in_hexadecimal() -> None:
    body = r.X11Request(True, b"MIT-MAGIC-COOKIE-1", b"c00c1e", 0)
    with pytest.raises(ProtocolError, match="hexadecimal"):
        r.X11Request.parse(body.encode().replace(b"c00c1e", b"a secr"))


def test_an_x11_cookie_can_be_told_from_another() -> None:
    details = [r.X11Request(True, b"", cookie, 0).detail()["cookie"] for cookie in (b"00", b"01", b"00")]
    assert details[0] == details[2] != details[1]


def test_terminal_modes_are_read_as_what_they_say() -> None:
    """Twice the same, and what stands behind the end, is not passed on."""
    modes = b"\x35\0\0\0\1" + b"\x35\0\0\0\2" + b"\xa0whatever"
    body = r.PtyRequest.parse(r.PtyRequest(b"xterm", 80, 24, 1, 2, modes).encode())
    assert body.modes == b"\x35\0\0\0\2\0"
    assert body.detail() == {
        "term": "xterm",
        "cols": 80,
        "rows": 24,
        "width": 1,
        "height": 2,
        "modes": "53=2",
    }


def test_bytes_that_are_no_text_stay_visible_in_the_detail() -> None:
    assert r.Exec(b"rm caf\xe9").detail() == {"command": "rm caf\\xe9"}
    assert r.Env("LANG", b"\xff").detail() == {"name": "LANG", "value": "\\xff"}


# -- terminal modes


@given(st.dictionaries(st.integers(1, 159), U32, max_size=20))
def test_terminal_modes_there_and_back(modes: dict[int, int]) -> None:
    assert r.parse_terminal_modes(r.encode_terminal_modes(modes)) == modes


@given(st.binary(max_size=60))
def test_garbage_as_terminal_modes(garbage: bytes) -> None:
    try:
        assert all(0 < opcode < 160 for opcode in r.parse_terminal_modes(garbage))
    except ProtocolError:
        pass


def test_terminal_modes_as_clients_send_them() -> None:
    echo = b"\x35\x00\x00\x00\x01"
    assert r.parse_terminal_modes(b"") == {}  # paramiko
    assert r.parse_terminal_modes(b"\x00") == {}
    assert r.parse_terminal_modes(echo) == {53: 1}  # without TTY_OP_END
    assert r.parse_terminal_modes(echo + b"\x00") == {53: 1}
    assert r.parse_terminal_modes(echo + b"\x00anything") == {53: 1}
    assert r.parse_terminal_modes(echo + b"\xa0anything") == {53: 1}  # RFC 4254 section 8: 160 up ends it
    with pytest.raises(ProtocolError):
        r.parse_terminal_modes(echo[:-1])
