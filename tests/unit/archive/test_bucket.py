"""A real bucket through boto3: credentials, listings, locks, and what a store that is not there is called."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bastion.archive.bucket import Bucket
from bastion.archive.measure import Slice, measure
from bastion.errors import ConfigError, StoreFault, StoreReason
from tests.support.hostile_s3 import HostileS3
from tests.support.net import LOOPBACK, free_port
from tests.support.s3 import LOCKED, S3Server
from tests.unit.archive.made import noise

pytestmark = [pytest.mark.slow, pytest.mark.interop]


def put(bucket: Bucket, path: Path, key: str) -> None:
    fd = os.open(noise(path, 100), os.O_RDONLY)
    made = measure(fd)
    bucket.put(key, Slice(fd, 0, 100), made.checksum, 0.0)
    os.close(fd)


def test_an_object_is_there_read_listed_and_deleted(server: S3Server, tmp_path: Path) -> None:
    bucket = Bucket(server.place())
    assert bucket.head("k/1.rec") is None
    for number in (1, 2):
        put(bucket, tmp_path / "file", f"k/{number}.rec")
    found = bucket.head("k/1.rec")
    assert found is not None and found.size == 100 and found.checksum and found.until is None
    assert b"".join(bucket.read("k/1.rec")) == (tmp_path / "file").read_bytes()
    assert [(one.key, one.size) for one in bucket.under("k/")] == [("k/1.rec", 100), ("k/2.rec", 100)]
    assert not list(bucket.under("l/"))
    data = (tmp_path / "file").read_bytes()
    assert bucket.piece("k/2.rec", 90, 20) == data[90:] and bucket.piece("k/2.rec", 3, 4) == data[3:7]
    bucket.delete("k/1.rec")
    bucket.delete("k/1.rec")
    assert bucket.head("k/1.rec") is None
    with pytest.raises(StoreFault, match="no such object"):
        list(bucket.read("k/1.rec"))
    with pytest.raises(StoreFault, match="no such object"):
        bucket.piece("k/1.rec", 0, 1)


def test_whether_object_lock_is_on(server: S3Server) -> None:
    assert Bucket(server.place()).lock_rule() == (False, "")
    assert Bucket(server.place(bucket=LOCKED)).lock_rule() == (True, "")


def test_a_wrong_digest_is_refused_by_the_server(server: S3Server, tmp_path: Path) -> None:
    fd = os.open(noise(tmp_path / "file", 100), os.O_RDONLY)
    with pytest.raises(StoreFault) as caught:
        Bucket(server.place()).put("m", Slice(fd, 0, 100), measure(fd).checksum.swapcase(), 0.0)
    os.close(fd)
    assert caught.value.reason is StoreReason.CHECKSUM


def test_nobody_there_nobody_who_answers_and_a_wrong_key(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreFault) as caught:
        Bucket(server.place(free_port())).head("k")
    assert caught.value.reason is StoreReason.UNREACHABLE
    monkeypatch.setattr("bastion.archive.bucket.SILENT_SECONDS", 0.2)
    with HostileS3(server.port) as hostile:
        hostile.fault = "hang"
        with pytest.raises(StoreFault) as caught:
            Bucket(server.place(hostile.port)).head("k")
        assert caught.value.reason is StoreReason.TIMEOUT
    wrong = tmp_path / "wrong"
    wrong.write_text("another secret\n")
    wrong.chmod(0o600)
    server_secret, server.secret_file = server.secret_file, wrong
    try:
        with pytest.raises(StoreFault) as caught:
            Bucket(server.place()).head("k")
    finally:
        server.secret_file = server_secret
    assert caught.value.reason is StoreReason.REFUSED and "another secret" not in caught.value.text


def test_a_server_without_tls_is_not_spoken_to_with_it(server: S3Server) -> None:
    from dataclasses import replace

    place = replace(server.place(), endpoint=f"https://{LOOPBACK}:{server.port}")
    with pytest.raises(StoreFault) as caught:
        Bucket(place).head("k")
    assert caught.value.reason is StoreReason.UNREACHABLE


def test_a_secret_that_others_can_read_is_not_used(server: S3Server, tmp_path: Path) -> None:
    from dataclasses import replace

    open_to_all = tmp_path / "secret"
    open_to_all.write_text("secret\n")
    open_to_all.chmod(0o644)
    with pytest.raises(ConfigError, match="lets others in"):
        Bucket(replace(server.place(), secret_file=open_to_all))


def test_an_answer_that_stops_in_the_middle_is_told(server: S3Server, tmp_path: Path) -> None:
    """A server that says a thousand bytes and sends ten."""
    listener = socket.create_server((LOOPBACK, 0))
    import threading

    def answer() -> None:
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n0123456789")
        connection.close()

    threading.Thread(target=answer, daemon=True).start()
    with listener, pytest.raises(StoreFault) as caught:
        list(Bucket(server.place(listener.getsockname()[1])).read("k"))
    assert caught.value.reason is StoreReason.UNREACHABLE
