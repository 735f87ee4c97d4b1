"""Recordings in the bucket that are kept no longer (L2): for `bastion prune`. Blocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from bastion.archive.bucket import Bucket
from bastion.archive.place import parse_url
from bastion.clock import Clock
from bastion.errors import StoreFault, StoreReason
from bastion.state.pruning import Objects, Stays
from bastion.state.retention import Going
from bastion.state.stored import Stored


def objects_of(bucket: Bucket, clock: Clock, refused: Callable[[Going, str], None]) -> Objects:
    """What removes from this bucket; `refused` hears of what it kept."""

    def check(stored: Stored) -> None:
        try:
            found = bucket.head(_key(bucket, stored), stored.version)
        except StoreFault as fault:
            raise Stays(fault.text) from None
        if found is None:
            return
        if found.held:
            raise Stays("a legal hold of the bucket keeps it")
        if found.until is not None and found.until > clock.time():
            day = datetime.fromtimestamp(found.until, UTC).strftime("%Y-%m-%d %H:%M UTC")
            raise Stays(f"object lock ({found.lock.lower() or 'of the bucket'}) keeps it until {day}")

    def drop(stored: Stored) -> None:
        try:
            bucket.delete(_key(bucket, stored), stored.version)
        except StoreFault as fault:
            raise Stays(_words(fault)) from None

    return Objects(check, drop, refused)


def _key(bucket: Bucket, stored: Stored) -> str:
    place = parse_url(stored.url)
    if place is None or place[0] != bucket.place.bucket:
        raise Stays(f"it is at {stored.url}, and [recording.store] names the bucket {bucket.place.bucket}")
    return place[1]


def _words(fault: StoreFault) -> str:
    if fault.reason is StoreReason.REFUSED:
        return f"{fault.text}: the credentials may not delete (s3:DeleteObject, s3:DeleteObjectVersion)"
    return fault.text
