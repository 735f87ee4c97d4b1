"""Typed bodies of requests and opens: there and back, strict, and with nothing secret in their detail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.errors import ProtocolError
from bastion.wire import requests as r
from bastion.wire.forwards import MIXED_LIMIT

U32 = st.integers(0, 2**32 - 1)
RAW = st.binary(max_size=40)
TEXT = st.text(max_size=20)
HEX = st.text("0123456789abcdefABCDEF", max_size=40).map(str.encode)
MODES = st.dictionaries(st.integers(1, 159), U32, max_size=20).map(r.encode_terminal_modes)
TABLES = {**r.CHANNEL_REQUESTS, **r.CHANNEL_OPENS, **r.GLOBAL_REQUESTS}

BODIES: list[st.SearchStrategy[r.Body]] = [
    st.builds(r.Empty),
    st.builds(r.PtyRequest, RAW, U32, U32, U32, U32, MODES),
    st.builds(r.WindowChange, U32, U32, U32, U32),
    st.builds(r.Exec, RAW),
    st.builds(r.Subsystem, TEXT),
    st.builds(r.Env, TEXT, RAW),
    st.builds(r.Signal, st.text(max_size=10)),
    st.builds(r.Break, U32),
    st.builds(r.XonXoff, st.booleans()),
    st.builds(r.ExitStatus, U32),
    st.builds(r.ExitSignal, st.text(max_size=10), st.booleans(), RAW, RAW),
    st.builds(r.X11Request, st.booleans(), RAW, HEX, U32),
    st.builds(r.TcpipOpen, TEXT, U32, TEXT, U32),
    st.builds(r.X11Open, TEXT, U32),
    st.builds(r.DirectStreamlocal, TEXT, RAW, U32),
    st.builds(r.ForwardedStreamlocal, TEXT, RAW),
    st.builds(r.TcpipForward, TEXT, U32),
    st.builds(r.StreamlocalForward, TEXT),
    st.builds(r.ForwardedPort, U32),
]


@given(st.one_of(BODIES))
def test_there_and_back(body: r.Body) -> None:
    assert type(body).parse(body.encode()) == body
    assert all(isinstance(value, str | int) for value in body.detail().values())


@given(st.one_of(BODIES), st.data())
def test_truncated_and_trailing_bytes_are_errors(body: r.Body, data: st.DataObject) -> None:
    raw = body.encode()
    with pytest.raises(ProtocolError):
        type(body).parse(raw + b"\x00")
    if raw:
        with pytest.raises(ProtocolError):
            type(body).parse(raw[: data.draw(st.integers(0, len(raw) - 1))])


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


def test_every_body_in_the_tables_is_tested() -> None:
    tested = {
        r.Empty, r.PtyRequest, r.WindowChange, r.Exec, r.Subsystem, r.Env, r.Signal, r.Break, r.XonXoff,
        r.ExitStatus, r.ExitSignal, r.X11Request, r.TcpipOpen, r.X11Open, r.DirectStreamlocal,
        r.ForwardedStreamlocal, r.TcpipForward, r.StreamlocalForward, r.ForwardedPort,
    }  # fmt: skip
    assert {*TABLES.values(), *r.GLOBAL_REPLIES.values()} == tested
    assert len(tested) == len(BODIES)


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


def test_reserved_fields_are_shown_when_somebody_uses_them() -> None:
    # OpenSSH's client puts the originator of a socket forward there.
    body = r.DirectStreamlocal("/run/x.sock", b"127.0.0.1", 52022)
    assert body.detail() == {"path": "/run/x.sock", "originator": "127.0.0.1", "originator_port": 52022}
    assert r.DirectStreamlocal("/run/x.sock").detail() == {"path": "/run/x.sock"}
    assert r.ForwardedStreamlocal("/x", b"m").detail() == {"path": "/x", "reserved": "m"}


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


@given(st.binary(max_size=40), st.sampled_from([0, MIXED_LIMIT + 1]))
def test_every_byte_stays_visible_however_long_the_text(raw: bytes, more: int) -> None:
    shown = r.printable(raw + b"a" * more)
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
