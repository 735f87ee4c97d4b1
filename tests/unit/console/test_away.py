"""Recordings in a real bucket, read where they lie or copied: what was uploaded, in time, or nothing."""

from __future__ import annotations

import io
import random
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from bastion.clock import SystemClock
from bastion.console import away as away_module
from bastion.console.away import COPY_SECONDS, PAGE_SECONDS, Away
from bastion.console.readers import HEAD_SECONDS, Object
from bastion.errors import StoreFault, StoreReason
from bastion.recording.pieces import PIECE, pieces_of
from tests.support.hostile_s3 import HostileS3
from tests.support.s3 import BUCKET, S3Server, s3_missing

pytestmark = [pytest.mark.slow, pytest.mark.interop]

DATA = random.Random(4).randbytes(3 * PIECE + 99)
PROOF = pieces_of(io.BytesIO(DATA))
ONE = Object(f"s3://{BUCKET}/k.rec", "", len(DATA), PROOF.whole)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    if s3_missing():
        pytest.skip(s3_missing())
    made = S3Server()
    try:
        made.start().make_buckets()
        made.client.put_object(Bucket=BUCKET, Key="k.rec", Body=DATA)
        yield made
    finally:
        made.close()


@pytest.fixture
def front(server: S3Server) -> Iterator[HostileS3]:
    with HostileS3(server.port) as made:
        yield made
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0, "nothing is waited for any more"


@pytest.fixture
def away(server: S3Server, front: HostileS3) -> Away:
    return Away(server.place(front.port), SystemClock())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where copies are, and none is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def middle(away: Away) -> bytes:
    """Some bytes of the third piece."""
    with away.pieces(ONE, PROOF) as source:
        source.seek(2 * PIECE + 5)
        return source.read(50)


def whole(away: Away) -> bytes:
    with away.copied(ONE, True) as (source, changed):
        assert changed is None
        return source.read()


def fault_of(away: Away, how: object = middle) -> StoreFault:
    with pytest.raises(StoreFault) as caught:
        how(away)  # type: ignore[operator]
    return caught.value


def test_what_is_looked_at_is_fetched_and_no_more(away: Away, front: HostileS3) -> None:
    assert middle(away) == DATA[2 * PIECE + 5 :][:50]
    assert [method for method, _ in front.requests] == ["GET"]


def test_a_copy_is_the_same(away: Away, folder: Path) -> None:
    with away.copied(ONE, True) as (source, changed):
        assert source.read() == DATA and changed is None
        assert list(folder.iterdir()) == [], "it has no name"


@pytest.mark.parametrize(
    ("fault", "pieces", "copied"),
    [
        ("body", StoreReason.CHECKSUM, StoreReason.CHECKSUM),
        ("less", StoreReason.BAD_ANSWER, StoreReason.CHECKSUM),
        ("more", StoreReason.BAD_ANSWER, StoreReason.CHECKSUM),
        ("broken", StoreReason.BAD_ANSWER, StoreReason.UNREACHABLE),
        ("cut", StoreReason.UNREACHABLE, StoreReason.UNREACHABLE),
        ("403", StoreReason.REFUSED, StoreReason.REFUSED),
        ("500", StoreReason.SERVER_ERROR, StoreReason.SERVER_ERROR),
    ],
)
def test_another_answer_is_a_fault(
    away: Away, front: HostileS3, fault: str, pieces: StoreReason, copied: StoreReason
) -> None:
    front.fault, front.applies = fault, lambda method, path: method == "GET"
    assert fault_of(away).reason is pieces
    assert fault_of(away, whole).reason is copied


@pytest.mark.parametrize("fault", ["trickle", "hang", "endless"])
@pytest.mark.parametrize("how", [middle, whole])
def test_a_slow_answer_has_its_time_and_no_more(
    away: Away, front: HostileS3, monkeypatch: pytest.MonkeyPatch, fault: str, how: object
) -> None:
    for name in ("PAGE_SECONDS", "COPY_SECONDS"):
        monkeypatch.setattr(away_module, name, 0.3)
    front.fault, front.applies = fault, lambda method, path: method == "GET"
    found = fault_of(away, how)
    assert found.reason is StoreReason.TIMEOUT and "no answer in time" in found.text
    front.heal()
    monkeypatch.undo()
    assert whole(away) == DATA, "and nothing of it stays behind"


def test_one_that_was_changed_is_given_to_be_verified_alone(away: Away, server: S3Server) -> None:
    other = replace(ONE, sha256=sha256(b"another").hexdigest())
    with pytest.raises(StoreFault, match="is not what was uploaded"), away.copied(other, True):
        raise AssertionError("it was shown")
    with away.copied(other, True, changed_too=True) as (source, changed):
        assert source.read() == DATA and changed is not None and changed.reason is StoreReason.CHECKSUM
    two = replace(ONE, sha256=f"{other.sha256} {ONE.sha256}")
    with away.copied(two, True) as (source, changed):
        assert changed is None, "while it is being replaced it is the one or the other"


def test_what_is_too_large_in_another_bucket_or_gone_is_told(
    away: Away, front: HostileS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, words in (
        (f"s3://{BUCKET}/gone.rec", "no such object"),
        ("s3://another/k.rec", "names no such bucket"),
        ("k.rec", "names no such bucket"),
    ):
        with pytest.raises(StoreFault, match=words), away.copied(replace(ONE, url=url), True):
            raise AssertionError("it was shown")
    monkeypatch.setattr(away_module, "PAGE_MAX", len(DATA) - 1)
    with pytest.raises(StoreFault, match="`bastion index` reads it in"), away.copied(ONE, False):
        raise AssertionError("it was copied")
    monkeypatch.setattr(away_module, "COPY_MAX", len(DATA) - 1)
    with pytest.raises(StoreFault, match="`bastion export` fetches it"), away.copied(ONE, True):
        raise AssertionError("it was copied")
    assert not any(method == "GET" for method, _ in front.requests)


def test_our_words_come_before_the_console_gives_up() -> None:
    assert PAGE_SECONDS < COPY_SECONDS < HEAD_SECONDS - 5
