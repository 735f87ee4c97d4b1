"""What comes out of a real bucket is what was put in, or nothing."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from bastion.archive import fetching
from bastion.archive import measure as measuring
from bastion.archive.bucket import Bucket
from bastion.archive.fetching import fetch
from bastion.archive.upload import Upload
from bastion.clock import SystemClock
from bastion.errors import StoreFault, StoreReason
from tests.support.hostile_s3 import HostileS3
from tests.support.s3 import S3Server
from tests.unit.archive.made import noise

pytestmark = [pytest.mark.slow, pytest.mark.interop]


@pytest.fixture
def data(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An object of two parts at `x.rec`."""
    monkeypatch.setattr(measuring, "PART", 5 << 20)
    path = noise(tmp_path / "source", (5 << 20) + 9)
    fd = os.open(path, os.O_RDONLY)
    Upload(Bucket(server.place()), fd, "x.rec", SystemClock()).run()
    os.close(fd)
    return path.read_bytes()


def test_it_is_the_same_and_for_its_owner_only(server: S3Server, tmp_path: Path, data: bytes) -> None:
    heard: list[tuple[int, int]] = []
    for number, digest in enumerate(("", sha256(data).hexdigest())):
        into = tmp_path / f"copy{number}"
        fetch(Bucket(server.place()), "x.rec", into, digest=digest, progress=lambda *at: heard.append(at))
        assert into.read_bytes() == data and into.stat().st_mode & 0o077 == 0
    assert heard[-1] == (len(data), len(data))


@pytest.mark.parametrize("known", [True, False])
def test_another_byte_leaves_no_file(server: S3Server, tmp_path: Path, data: bytes, known: bool) -> None:
    with HostileS3(server.port) as hostile:
        hostile.fault, hostile.applies = "body", lambda method, path: method == "GET"
        digest = sha256(data).hexdigest() if known else ""
        with pytest.raises(StoreFault) as caught:
            fetch(Bucket(server.place(hostile.port)), "x.rec", tmp_path / "copy", digest=digest)
    assert caught.value.reason is StoreReason.CHECKSUM and not (tmp_path / "copy").exists()


def test_what_is_not_there_or_has_no_room_is_told(
    server: S3Server, tmp_path: Path, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreFault, match="no such object"):
        fetch(Bucket(server.place()), "y.rec", tmp_path / "copy")
    monkeypatch.setattr(fetching, "ROOM", 1 << 60)
    with pytest.raises(StoreFault, match="set TMPDIR"):
        fetch(Bucket(server.place()), "x.rec", tmp_path / "copy")
    assert not (tmp_path / "copy").exists() and data
