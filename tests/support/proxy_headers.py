"""PROXY headers, written as a load balancer does."""

from __future__ import annotations

import ipaddress
import struct

from bastion.wire.proxy_header import SIGNATURE, crc32c

LOCAL = SIGNATURE + b"\x20\x00\0\0"
"""What a health check begins with, in version 2."""


def line(source: str, port: int = 40000, destination: str = "192.0.2.10") -> bytes:
    """Version 1."""
    return f"PROXY TCP{6 if ':' in source else 4} {source} {destination} {port} 22\r\n".encode()


def record(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def binary(source: str, destination: str, source_port: int, destination_port: int, *records: bytes) -> bytes:
    """Version 2."""
    one, other = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    body = one.packed + other.packed + struct.pack("!HH", source_port, destination_port) + b"".join(records)
    family = 0x11 if one.version == 4 else 0x21
    return SIGNATURE + bytes([0x21, family]) + struct.pack("!H", len(body)) + body


def checked(header: bytes, *records: bytes) -> bytes:
    """A binary header with these records, and among them its checksum."""
    more = [*records[:1], record(3, bytes(4)), *records[1:]]
    body = header[16:] + b"".join(more)
    zeroed = header[:14] + struct.pack("!H", len(body)) + body
    place = len(header) + len(b"".join(records[:1])) + 3
    return zeroed[:place] + struct.pack("!I", crc32c(zeroed)) + zeroed[place + 4 :]
