"""Checksums of files, whole and in parts, as S3 makes them; slices of a file as bodies."""

from __future__ import annotations

import os
import tempfile
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.archive import measure as measuring
from bastion.archive.measure import PART, PARTS_MAX, Slice, measure, part_size
from bastion.errors import StoreFault, StoreReason
from tests.support.examples import examples


def b64(data: bytes) -> str:
    return b64encode(sha256(data).digest()).decode()


@examples(50)
@given(data=st.binary(max_size=200), part=st.integers(1, 64), chunk=st.integers(1, 64))
def test_the_sums_are_those_of_the_whole_and_of_each_part(data: bytes, part: int, chunk: int) -> None:
    with tempfile.TemporaryFile() as file, pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "PART", part)
        patch.setattr(measuring, "CHUNK", chunk)
        file.write(data)
        file.flush()
        made = measure(file.fileno())
        assert (made.size, made.sha256, made.checksum) == (len(data), sha256(data).hexdigest(), b64(data))
        assert b"".join(data[one.start : one.start + one.size] for one in made.pieces) == data
        assert [one.checksum for one in made.pieces] == [
            b64(data[one.start : one.start + one.size]) for one in made.pieces
        ]
        assert [one.number for one in made.pieces] == list(range(1, len(made.pieces) + 1))
        assert all(one.size == part for one in made.pieces[:-1])
        read = b"".join(Slice(file.fileno(), one.start, one.size).read() for one in made.pieces)
        assert read == data


def test_of_one_part_s3_keeps_the_sum_of_the_whole_of_several_that_of_the_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "PART", 4)
    file = tmp_path / "file"
    for data, stored in ((b"abcd", b64(b"abcd")), (b"", b64(b"")), (b"abcdef", None)):
        file.write_bytes(data)
        fd = os.open(file, os.O_RDONLY)
        made = measure(fd)
        os.close(fd)
        whole = b64(sha256(b"abcd").digest() + sha256(b"ef").digest()) + "-2"
        assert made.stored_checksum == (stored or whole)
        assert made.in_parts is (stored is None)


def test_the_largest_recording_has_as_many_parts_as_s3_takes() -> None:
    assert part_size(1) == PART
    for size in (PART * PARTS_MAX, PART * PARTS_MAX + 1, 5 << 40):
        assert -(-size // part_size(size)) <= PARTS_MAX


def test_a_slice_is_read_again_from_its_beginning_and_asks_each_time_whether_it_may(tmp_path: Path) -> None:
    asked: list[None] = []
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    fd = os.open(file, os.O_RDONLY)
    body = Slice(fd, 2, 5, lambda: asked.append(None))
    assert (len(body), body.read(3), body.read(), body.read(1)) == (5, b"234", b"56", b"")
    assert (body.seek(0), body.tell(), body.read(2)) == (0, 0, b"23")
    assert (body.seek(-1, os.SEEK_END), body.read(), body.seek(99), body.read()) == (4, b"6", 5, b"")
    assert len(asked) == 6
    os.close(fd)
    with pytest.raises(StoreFault) as caught:
        body.seek(0)
        body.read()
    assert caught.value.reason is StoreReason.LOCAL_FILE
