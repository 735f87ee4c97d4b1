"""The bucket of recordings (L4): is it there, what may be done in it, does object lock do what is wanted."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from bastion.archive.place import S3Place
from bastion.doctor.findings import Area, Finding, Level
from bastion.doctor.subject import Subject
from bastion.errors import ConfigError, StoreFault, StoreReason

if TYPE_CHECKING:
    from bastion.archive.bucket import Bucket

PROBE: Final = b"bastion doctor\n"


def examine_bucket(subject: Subject) -> Iterator[Finding]:
    """Nothing when recordings stay in their folder; else an object is made, read, proved and deleted again."""
    place = subject.config.recording.store.place()
    if place is None:
        return
    from bastion.archive.bucket import Bucket  # boto3, where there is a bucket

    about = place.url(place.prefix)
    try:
        bucket = Bucket(place)
        locked, rule = bucket.lock_rule()
    except ConfigError as error:
        yield Finding(Area.BUCKET, Level.FAIL, about, str(error))
        return
    except StoreFault as fault:
        if fault.reason is not StoreReason.REFUSED:
            yield Finding(Area.BUCKET, Level.FAIL, about, _words(fault))
            return
        text = f"whether object lock is on is not known: {fault.text} (s3:GetBucketObjectLockConfiguration)"
        yield Finding(Area.BUCKET, Level.WARN, about, text)
        locked, rule = place.lock is not None, ""
    yield from _lock(place, about, locked, rule)
    key = place.key(f".bastion-doctor-{secrets.token_hex(8)}")
    if rule or place.lock is not None:
        yield from _parts(bucket, about, key, subject)
    else:
        yield from _object(bucket, about, key, subject)


def _lock(place: S3Place, about: str, locked: bool, rule: str) -> Iterator[Finding]:
    if place.lock is not None and not locked:
        text = "has no object lock, and recording.store.lock asks for it: no upload will work"
        yield Finding(Area.BUCKET, Level.FAIL, about, text)
    elif place.lock is not None:
        text = f"object lock is on; recordings are locked by {place.lock.mode.lower()}"
        yield Finding(Area.BUCKET, Level.OK, about, text)
    elif rule:
        text = f"the bucket locks every object by itself ({rule.lower()}): bastion prune must wait for it"
        yield Finding(Area.BUCKET, Level.OK, about, text)
    else:
        text = "has no object lock: who has the right to delete can delete recordings"
        yield Finding(Area.BUCKET, Level.WARN, about, text)


def _object(bucket: Bucket, about: str, key: str, subject: Subject) -> Iterator[Finding]:
    """Put, look, read, delete."""
    from bastion.archive.upload import Upload, read_back

    with tempfile.TemporaryFile() as file:
        file.write(PROBE)
        file.flush()
        try:
            kept = Upload(bucket, file.fileno(), key, subject.clock).run()
            found = bucket.head(key)
            same = found is not None and read_back(bucket, found) == kept.sha256
        except StoreFault as fault:
            yield Finding(Area.BUCKET, Level.FAIL, about, f"a probe cannot be put and read: {_words(fault)}")
            return
    if not same:
        yield Finding(Area.BUCKET, Level.FAIL, about, "gives back other bytes than were put")
        return
    if found is not None and not found.checksum:
        text = "keeps no SHA-256 of objects: each recording is read back whole to prove it"
        yield Finding(Area.BUCKET, Level.WARN, about, text)
    try:
        bucket.delete(key, kept.version)
    except StoreFault as fault:
        text = f"a probe was put and read, and stays: {fault.text}; bastion prune cannot delete recordings"
        yield Finding(Area.BUCKET, Level.WARN, about, text)
        return
    yield Finding(Area.BUCKET, Level.OK, about, "a probe was put, proved, read and deleted")


def _parts(bucket: Bucket, about: str, key: str, subject: Subject) -> Iterator[Finding]:
    """Where an object could not be deleted again: a multipart upload is begun and given up, which leaves none."""
    try:
        bucket.abort(key, bucket.begin(key, subject.clock.time()))
    except StoreFault as fault:
        yield Finding(Area.BUCKET, Level.FAIL, about, f"no upload can be begun: {_words(fault)}")
        return
    yield Finding(
        Area.BUCKET, Level.OK, about, "an upload was begun and given up again, so that nothing is locked"
    )


def _words(fault: StoreFault) -> str:
    hints = {
        StoreReason.NO_BUCKET: "the bucket is not there; recording.store.bucket, region",
        StoreReason.REFUSED: "credentials or rights; docs/recordings-store.md has the policy",
        StoreReason.UNREACHABLE: "recording.store.endpoint, ca_file",
    }
    hint = hints.get(fault.reason)
    return f"{fault.text}: {hint}" if hint else fault.text
