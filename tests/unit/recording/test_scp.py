"""scp and rsync by their command lines, and scp's protocol from its bytes."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.scp import ScpStream, alone, transfer_of

STREAM = b"D0755 0 docs\nT1 0 1 0\nC0644 5 a\nhello\0C0600 0 empty\n\0E\n\x01scp: x: No such file\n"


def test_command_lines() -> None:
    assert transfer_of("scp -r -f /srv") == ("scp", "download")
    assert transfer_of("sudo /usr/bin/rsync --server -e.x . /srv") == ("rsync", "upload")
    assert transfer_of("scp a b") == transfer_of("cat scp") == ("", "")
    assert alone("scp -f /srv/a\\ b") and not alone("scp -f x; rm -rf /") and not alone("scp -t $(id)")


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_files_folders_and_complaints(size: int) -> None:
    stream = ScpStream()
    lines = [line for at in range(0, len(STREAM), size) for line in stream.feed(STREAM[at : at + size])]
    assert lines == [
        "folder docs, mode 0755",
        f"file a: 5 bytes, sha256 {hashlib.sha256(b'hello').hexdigest()}, mode 0644, ok",
        f"file empty: 0 bytes, sha256 {hashlib.sha256().hexdigest()}, mode 0600, ok",
        "end of folder",
        "refused: scp: x: No such file",
    ]
    assert not stream.broken


def test_bytes_that_were_not_kept_cost_the_digest_and_nothing_else() -> None:
    stream = ScpStream()
    stream.feed(b"C0644 100 big\n" + b"x" * 10)
    stream.missing(90)
    assert stream.feed(b"\0C0644 0 next\n\0")[0] == (
        "file big: 100 bytes, no sha256: not all of it was kept, mode 0644, ok"
    )
    stream.feed(b"C0644 1 b\n")
    stream.missing(2)
    assert stream.broken


@pytest.mark.parametrize("data", [b"uid=0(root)\n", b"C0644 x\n", b"x" * 10_000, b"C" * 10_000, b"Tea\n"])
def test_what_is_not_scp_is_found_out(data: bytes) -> None:
    stream = ScpStream()
    assert stream.feed(data) == [] and stream.broken


@given(st.lists(st.binary(max_size=20) | st.sampled_from([STREAM, b"C0644 9", b"\n", b"\0"]), max_size=8))
def test_any_bytes(parts: list[bytes]) -> None:
    stream = ScpStream()
    for part in parts:
        for line in stream.feed(part):
            assert line.isprintable()
        stream.missing(len(part) // 3)
