"""One recording into a real bucket: what is sent, what is not sent again, and what proves that it is there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.archive import measure as measuring
from bastion.archive.bucket import Bucket
from bastion.archive.measure import Slice, measure
from bastion.archive.place import Lock
from bastion.archive.upload import REQUEST_SECONDS, SLOWEST, Deadline, Upload
from bastion.clock import FixedClock, SystemClock
from bastion.errors import StoreFault, StoreReason
from tests.support.hostile_s3 import SECRET_ECHO, HostileS3
from tests.support.s3 import LOCKED, SECRET, S3Server
from tests.unit.archive.made import noise

pytestmark = [pytest.mark.slow, pytest.mark.interop]

LEAST_PART = 5 << 20  # of S3


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "PART", LEAST_PART)


@pytest.fixture
def hostile(server: S3Server) -> Iterator[HostileS3]:
    with HostileS3(server.port) as made:
        yield made


class File:
    """A file, and its uploads."""

    def __init__(self, path: Path, size: int, seed: int = 1) -> None:
        self.data = noise(path, size, seed).read_bytes()
        self.fd = os.open(path, os.O_RDONLY)

    def upload(self, bucket: Bucket, key: str) -> Upload:
        return Upload(bucket, self.fd, key, SystemClock())


@pytest.fixture
def small(tmp_path: Path) -> Iterator[File]:
    made = File(tmp_path / "small", 1000)
    yield made
    os.close(made.fd)


@pytest.fixture
def large(tmp_path: Path) -> Iterator[File]:
    """Three parts."""
    made = File(tmp_path / "large", 2 * LEAST_PART + 7)
    yield made
    os.close(made.fd)


@pytest.mark.parametrize("size", [0, 1, LEAST_PART, LEAST_PART + 1])
def test_what_arrives_is_what_lies_in_the_spool(server: S3Server, tmp_path: Path, size: int) -> None:
    file, bucket = File(tmp_path / "file", size), Bucket(server.place())
    kept = file.upload(bucket, f"a/{size}.rec").run()
    assert (kept.size, kept.sent, kept.sha256) == (size, size, measure(file.fd).sha256)
    assert server.get(f"a/{size}.rec") == file.data
    os.close(file.fd)


def test_what_is_there_is_not_sent_again_and_what_is_another_is(
    server: S3Server, tmp_path: Path, large: File
) -> None:
    bucket = Bucket(server.place())
    assert large.upload(bucket, "b.rec").run().sent == len(large.data)
    assert large.upload(bucket, "b.rec").run().sent == 0
    other = File(tmp_path / "other", len(large.data), seed=2)
    assert other.upload(bucket, "b.rec").run().sent == len(other.data)
    assert server.get("b.rec") == other.data
    os.close(other.fd)


def test_a_part_that_arrived_before_a_crash_is_not_sent_again_unless_it_is_another(
    server: S3Server, large: File
) -> None:
    bucket, pieces = Bucket(server.place()), measure(large.fd).pieces
    upload = bucket.begin("c.rec", 0)
    bucket.put_part("c.rec", upload, 2, Slice(large.fd, pieces[1].start, pieces[1].size), pieces[1].checksum)
    wrong = Slice(large.fd, 1, pieces[0].size)
    bucket.put_part("c.rec", upload, 1, wrong, _checksum(wrong))
    kept = large.upload(bucket, "c.rec").run()
    assert kept.sent == len(large.data) - LEAST_PART and server.get("c.rec") == large.data
    assert bucket.unfinished("c.rec") == []


def _checksum(body: Slice) -> str:
    from base64 import b64encode
    from hashlib import sha256

    data = body.read()
    body.seek(0)
    return b64encode(sha256(data).digest()).decode()


def test_a_connection_that_is_cut_is_gone_on_with(server: S3Server, hostile: HostileS3, large: File) -> None:
    bucket = Bucket(server.place(hostile.port))
    hostile.fault, hostile.applies = "cut", lambda method, path: "partNumber=2" in path
    with pytest.raises(StoreFault) as caught:
        large.upload(bucket, "d.rec").run()
    assert caught.value.reason is StoreReason.UNREACHABLE
    hostile.heal()
    kept = large.upload(bucket, "d.rec").run()
    assert kept.sent == len(large.data) - LEAST_PART and server.get("d.rec") == large.data


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("500", StoreReason.SERVER_ERROR),
        ("503", StoreReason.SERVER_ERROR),
        ("403", StoreReason.REFUSED),
        ("cut", StoreReason.UNREACHABLE),
        ("garbage", StoreReason.SERVER_ERROR),
        ("checksum", StoreReason.CHECKSUM),
    ],
)
def test_a_store_on_a_bad_day_has_its_reason_and_no_word_of_its_own(
    server: S3Server, hostile: HostileS3, small: File, fault: str, reason: StoreReason
) -> None:
    bucket, key = Bucket(server.place(hostile.port)), f"e-{fault}.rec"
    hostile.fault = fault
    if fault in ("garbage", "cut"):  # a HEAD has no body
        hostile.applies = lambda method, path: method == "PUT"
    with pytest.raises(StoreFault) as caught:
        small.upload(bucket, key).run()
    assert caught.value.reason is reason
    assert hostile.met.is_set()
    for word in (SECRET_ECHO, SECRET, "\x1b"):
        assert word not in caught.value.text
    assert caught.value.__cause__ is None
    hostile.heal()
    assert small.upload(bucket, key).run().size == 1000 and server.get(key) == small.data


def test_a_server_that_keeps_no_checksum_is_read_back(
    server: S3Server, hostile: HostileS3, small: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket(server.place(hostile.port))
    from bastion.archive.bucket import Found

    whole = bucket.head
    monkeypatch.setattr(
        bucket,
        "head",
        lambda key, version="": (found := whole(key, version)) and Found(found.key, found.size),
    )
    assert small.upload(bucket, "f.rec").run().sent == 1000
    assert ("GET", "/recordings/f.rec") in hostile.requests
    hostile.fault, hostile.applies = "body", lambda method, path: method == "GET"
    with pytest.raises(StoreFault) as caught:
        small.upload(bucket, "f.rec").run()
    assert caught.value.reason is StoreReason.CHECKSUM


def test_a_recording_is_locked_from_its_upload_on(server: S3Server, small: File, large: File) -> None:
    bucket = Bucket(server.place(bucket=LOCKED, lock=Lock("COMPLIANCE", 86400.0)))
    for file, key in ((small, "g.rec"), (large, "h.rec")):
        kept = file.upload(bucket, key).run()
        found = bucket.head(key, kept.version)
        assert found is not None and found.lock == "COMPLIANCE" and found.until is not None
        assert 86000 < found.until - SystemClock().time() < 86800
        with pytest.raises(StoreFault) as caught:
            bucket.delete(key, kept.version)
        assert caught.value.reason is StoreReason.LOCKED


def test_a_bucket_that_is_not_there_and_a_file_that_cannot_be_read_are_told_apart(
    server: S3Server, small: File
) -> None:
    with pytest.raises(StoreFault) as caught:
        small.upload(Bucket(server.place(bucket="nowhere")), "i.rec").run()
    assert caught.value.reason is StoreReason.NO_BUCKET
    closed = os.open("/", os.O_RDONLY)
    with pytest.raises(StoreFault) as caught:
        Upload(Bucket(server.place()), closed, "i.rec", SystemClock()).run()
    os.close(closed)
    assert caught.value.reason is StoreReason.LOCAL_FILE


def test_what_is_taken_too_slowly_is_given_up() -> None:
    clock = FixedClock()
    deadline = Deadline(clock)
    deadline.start(10 * SLOWEST)
    clock.advance(REQUEST_SECONDS + 9)
    deadline.check()
    clock.advance(2)
    assert 0 < deadline.overdue < 2
    with pytest.raises(StoreFault) as caught:
        deadline.check()
    assert caught.value.reason is StoreReason.TIMEOUT


def test_a_body_whose_time_is_over_ends_the_request(server: S3Server, small: File) -> None:
    clock = FixedClock()
    upload = Upload(Bucket(server.place()), small.fd, "j.rec", clock)
    body = upload._body(measure(small.fd).pieces[0])
    clock.advance(REQUEST_SECONDS + 1)
    with pytest.raises(StoreFault) as caught:
        Bucket(server.place()).put("j.rec", body, measure(small.fd).checksum, 0)
    assert caught.value.reason is StoreReason.TIMEOUT
