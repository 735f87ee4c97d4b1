"""Bodies that carry other people's connections: laid out as the documents say, every field in the detail."""

from __future__ import annotations

import pytest

from bastion.errors import ProtocolError
from bastion.wire import forwards as f
from bastion.wire.data import string, uint32


def test_the_layout_of_rfc_4254_section_7() -> None:
    place = string("db1") + uint32(5432) + string("192.0.2.1") + uint32(50000)
    assert f.TcpipOpen.parse(place) == f.TcpipOpen("db1", 5432, "192.0.2.1", 50000)
    assert f.TcpipForward.parse(string("") + uint32(0)) == f.TcpipForward("", 0)
    assert f.ForwardedPort.parse(uint32(8022)) == f.ForwardedPort(8022)
    assert f.X11Open.parse(string("::1") + uint32(6010)) == f.X11Open("::1", 6010)


def test_the_layout_of_openssh_protocol_section_2_4() -> None:
    there = string("/run/x.sock") + string("") + uint32(0)
    assert f.DirectStreamlocal.parse(there) == f.DirectStreamlocal("/run/x.sock")
    assert f.ForwardedStreamlocal.parse(string("/x") + string("")) == f.ForwardedStreamlocal("/x")
    assert f.StreamlocalForward.parse(string("/x")) == f.StreamlocalForward("/x")


def test_where_a_connection_goes_and_comes_from_is_told_under_those_names() -> None:
    assert f.TcpipOpen("db1", 5432, "192.0.2.1", 50000).detail() == {
        "host": "db1",
        "port": 5432,
        "originator": "192.0.2.1",
        "originator_port": 50000,
    }
    assert f.TcpipForward("0.0.0.0", 8022).detail() == {"host": "0.0.0.0", "port": 8022}
    assert f.ForwardedPort(8022).detail() == {"port": 8022}
    assert f.StreamlocalForward("/x").detail() == {"path": "/x"}
    assert f.X11Open("::1", 6010).detail() == {"originator": "::1", "originator_port": 6010}


def test_reserved_fields_are_shown_when_somebody_uses_them() -> None:
    # OpenSSH's client puts the originator of a socket forward there.
    body = f.DirectStreamlocal("/run/x.sock", b"127.0.0.1", 52022)
    assert body.detail() == {"path": "/run/x.sock", "originator": "127.0.0.1", "originator_port": 52022}
    assert f.DirectStreamlocal("/run/x.sock").detail() == {"path": "/run/x.sock"}
    assert f.ForwardedStreamlocal("/x", b"m").detail() == {"path": "/x", "reserved": "m"}


@pytest.mark.parametrize("size", [f.HOST_LIMIT, f.HOST_LIMIT + 1])
def test_a_host_has_a_limit(size: int) -> None:
    body = string("x" * size) + uint32(22)
    if size <= f.HOST_LIMIT:
        assert len(f.TcpipForward.parse(body).host) == size
    else:
        with pytest.raises(ProtocolError, match="longer than allowed"):
            f.TcpipForward.parse(body)


@pytest.mark.parametrize("kind", [f.DirectStreamlocal, f.ForwardedStreamlocal, f.StreamlocalForward])
def test_a_path_has_a_limit_and_is_text(kind: type[f.Body]) -> None:
    with pytest.raises(ProtocolError, match="longer than allowed"):
        kind.parse(string("x" * (f.PATH_LIMIT + 1)) + bytes(8))
    with pytest.raises(ProtocolError, match="UTF-8"):
        kind.parse(string(b"/run/\xff") + bytes(8))
