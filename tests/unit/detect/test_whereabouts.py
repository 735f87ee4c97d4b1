"""Databases of addresses, made here in MaxMind's format and read by its library."""

from __future__ import annotations

import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from bastion.detect.places import locate_by
from bastion.detect.whereabouts import NoDatabase, lookup_in


def control(kind: int, size: int) -> bytes:
    """MaxMind DB 2.0, "Data Field Format": type in three bits, extended beyond 7, then the size."""
    head = kind << 5 if kind <= 7 else 0
    extra = b"" if kind <= 7 else bytes([kind - 7])
    if size < 29:
        return bytes([head | size]) + extra
    return bytes([head | 29]) + extra + bytes([size - 29])


def encoded(value: Any) -> bytes:
    if isinstance(value, str):
        return control(2, len(value.encode())) + value.encode()
    if isinstance(value, float):
        import struct

        return control(3, 8) + struct.pack(">d", value)
    if isinstance(value, int):
        raw = value.to_bytes(8, "big").lstrip(b"\0")
        return control(9, len(raw)) + raw
    if isinstance(value, list):
        return control(11, len(value)) + b"".join(map(encoded, value))
    return control(7, len(value)) + b"".join(encoded(key) + encoded(item) for key, item in value.items())


def database(path: Path, networks: dict[str, dict[str, Any]]) -> Path:
    """A tree of 32-bit records over IPv4, with one record of data for each network."""
    nodes: list[list[tuple[str, int] | None]] = [[None, None]]
    data, offsets = b"", []
    for text, record in networks.items():
        network, at = ip_network(text), 0
        bits = f"{int(network.network_address):032b}"[: network.prefixlen]
        for bit in bits[:-1]:
            found = nodes[at][int(bit)]
            if found is None:
                nodes.append([None, None])
                found = nodes[at][int(bit)] = ("node", len(nodes) - 1)
            at = found[1]
        nodes[at][int(bits[-1])] = ("data", len(offsets))
        offsets.append(len(data))
        data += encoded(record)
    tree = b""
    for node in nodes:
        for side in node:
            number = len(nodes)
            if side is not None:
                number = side[1] if side[0] == "node" else len(nodes) + 16 + offsets[side[1]]
            tree += number.to_bytes(4, "big")
    about = {
        "binary_format_major_version": 2, "binary_format_minor_version": 0, "build_epoch": 1_793_577_600,
        "database_type": "Test", "description": {"en": "of a test"}, "ip_version": 4, "languages": ["en"],
        "node_count": len(nodes), "record_size": 32,
    }  # fmt: skip
    path.write_bytes(tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + encoded(about))
    return path


BERLIN = {
    "city": {"names": {"en": "Berlin"}},
    "country": {"iso_code": "DE", "names": {"en": "Germany"}},
    "location": {"latitude": 52.5, "longitude": 13.4, "accuracy_radius": 100},
}


@pytest.fixture
def places(tmp_path: Path) -> Path:
    return database(
        tmp_path / "city.mmdb",
        {
            "203.0.113.0/24": BERLIN,
            "198.51.100.0/25": {
                "country": {"iso_code": "US"},
                "location": {"latitude": 37.8, "longitude": -122.4},
            },
            "192.0.2.0/24": {"location": {"latitude": 999.0, "longitude": 1.0}},
            "192.0.3.0/24": {"location": "nowhere", "city": 7},
        },
    )


def test_places_are_found(places: Path):
    lookup = lookup_in(places, None)
    network, spot = lookup("203.0.113.77")
    assert network == "" and spot is not None
    assert (spot.latitude, spot.longitude, spot.radius, spot.name) == (52.5, 13.4, 100.0, "Berlin, Germany")
    abroad = lookup("198.51.100.9")[1]
    assert abroad is not None and abroad.radius == 50.0 and abroad.name == "US"


@pytest.mark.parametrize("source", ["198.51.100.200", "192.0.2.1", "192.0.3.1", "2001:db8::1", "10.0.0.1"])
def test_what_is_not_known_is_nowhere(places: Path, source: str):
    assert lookup_in(places, None)(source) == ("", None)


def test_providers_are_networks(tmp_path: Path, places: Path):
    asn = database(tmp_path / "asn.mmdb", {"203.0.0.0/8": {"autonomous_system_number": 64500}})
    locate = locate_by(24, (), lookup_in(places, asn))
    assert locate("203.0.113.1").network == locate("203.9.9.9").network == "AS64500"
    assert locate("198.51.100.1").network == "198.51.100.0/24"


def test_what_cannot_be_read_is_told(tmp_path: Path):
    broken = tmp_path / "broken.mmdb"
    broken.write_bytes(b"no database")
    for path in (broken, tmp_path / "absent.mmdb"):
        with pytest.raises(NoDatabase, match=path.name):
            lookup_in(path, None)


def test_without_the_library_it_is_told_how_to_get_it(places: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "maxminddb", None)
    with pytest.raises(NoDatabase, match="pip install"):
        lookup_in(places, None)
    assert lookup_in(None, None)("203.0.113.1") == ("", None)
