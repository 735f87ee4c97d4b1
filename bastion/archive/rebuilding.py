"""The index made again from what the bucket holds (L2): for a gateway that lost its disk. Blocks.

Of each recording its head, its end and the beginning of what was run are read, no more; several at once. What is in the
index already stays as it is, and what it says was deleted stays deleted. For a ledger that is lost too, how each began
is read; that is all that a ledger can be told behind it, for who vouches for an end is the recording itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bastion.archive.bucket import Bucket
from bastion.archive.contents import Lying, contents
from bastion.archive.ranged import open_object
from bastion.recording.framing import began_of
from bastion.recording.listing import Recordings, SessionEntry
from bastion.recording.ran import Asked
from bastion.state.changes import Change
from bastion.state.checking import AT_ONCE, Rebuilt, rows_of, write
from bastion.state.database import Database
from bastion.state.rows import DELETED, Writer, session_ran
from bastion.state.stored import Stored, known_files, stored_change


@dataclass(frozen=True, slots=True)
class _Seen:
    path: str
    stored: Stored
    entry: SessionEntry
    ran: tuple[Asked, ...]


def rebuild(
    bucket: Bucket,
    database: Database,
    node: str,
    files: Collection[str],
    now: float,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> Rebuilt:
    """Give every recording under the prefix a row that says where it is. `files` are sessions that are in the folder:
    theirs are its uploader's. `told` hears how many of how many are done.

    The SHA-256 is the one that S3 keeps of the whole object; of one that went there in parts it has none, and then a
    reader holds what it fetches against those of the parts. Raises StateDown and StoreFault; what was written until
    then stays.
    """
    known, done, waiting = known_files(database), Rebuilt(), list[Change]()
    lying = [one for one in contents(bucket) if one.session not in files and _is_news(known.get(one.session))]
    pool = ThreadPoolExecutor(max(1, bucket.place.uploads))
    try:
        for number, seen in enumerate(pool.map(partial(_look, bucket), lying), 1):
            if seen is None or seen.entry.state == "damaged":
                done.unreadable += 1
            else:
                is_new = seen.stored.session not in known
                if is_new:
                    waiting += rows_of(seen.entry, seen.path, Writer(node, ""))
                    waiting += session_ran(seen.stored.session, seen.ran)
                waiting.append(stored_change(seen.stored, now))
                done.added += is_new
                done.corrected += not is_new
            if len(waiting) >= AT_ONCE:
                write(database, waiting)
            told(number, len(lying))
    finally:
        pool.shutdown(cancel_futures=True)
        write(database, waiting)
    return done


def began(bucket: Bucket, wanted: Collection[Lying]) -> Iterator[tuple[str, bytes]]:
    """Of each of these the chain behind its header, as the ledger has it; b"" for one of format 1, which is in none,
    and for one that cannot be read. Raises StoreFault."""
    pool = ThreadPoolExecutor(max(1, bucket.place.uploads))
    try:
        yield from pool.map(partial(_began, bucket), wanted)
    finally:
        pool.shutdown(cancel_futures=True)


def _began(bucket: Bucket, one: Lying) -> tuple[str, bytes]:
    with open_object(bucket, one.key, one.size) as source:
        return one.session, began_of(source)


def _is_news(row: tuple[str, str] | None) -> bool:
    return row is None or (row[0] != DELETED and not row[1])


def _look(bucket: Bucket, one: Lying) -> _Seen | None:
    """What one tells of itself; None when it has gone since it was listed. Raises StoreFault."""
    found = bucket.head(one.key)
    if found is None:
        return None
    recordings = Recordings(Path())
    with open_object(bucket, one.key, found.size, found.version) as source:
        entry = recordings.entry_of(source, Path(one.path))
        ran = () if entry.state == "damaged" else recordings.ran_of(source, one.session).kinds
    url = bucket.place.url(one.key)
    stored = Stored(one.session, url, found.version, found.size, _hex(found.checksum))
    return _Seen(one.path, stored, entry, ran)


def _hex(checksum: str) -> str:
    """S3's base64 of a SHA-256 as hex; "" for one of parts (`...-3`), or none."""
    try:
        digest = base64.b64decode(checksum, validate=True)
    except binascii.Error:
        return ""
    return digest.hex() if len(digest) == 32 else ""
