"""What lies in the bucket under the gateway's prefix, whatever an index says (L2). Blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bastion.archive.bucket import Bucket
from bastion.recording.format import SESSION_ID_LENGTH

_PATH: Final = re.compile(rf"\d{{4}}-\d{{2}}-\d{{2}}/([a-z2-7]{{{SESSION_ID_LENGTH}}})\.rec").fullmatch


@dataclass(frozen=True, slots=True)
class Lying:
    """One object that is called as a recording is. `path` is that of the folder it was uploaded from."""

    session: str
    path: str
    key: str
    size: int


def contents(bucket: Bucket) -> Iterator[Lying]:
    """Every recording under the prefix, a thousand at a time; what is called otherwise is somebody else's. Raises
    StoreFault."""
    prefix = bucket.place.prefix
    for one in bucket.under(prefix):
        path = one.key.removeprefix(prefix)
        if (found := _PATH(path)) is not None:
            yield Lying(found[1], path, one.key, one.size)
