"""Which bucket, and how it is spoken to: values (L2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SCHEME: Final = "s3://"
"""As `recording.listing.SCHEME`, which a supervisor would not load for it."""

_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([\x21-\x7e]{1,900})")


@dataclass(frozen=True, slots=True)
class Lock:
    """Object lock of what is uploaded: GOVERNANCE or COMPLIANCE, for so many seconds."""

    mode: str
    seconds: float


@dataclass(frozen=True, slots=True)
class S3Place:
    """A bucket, and where in it. `endpoint` "" is AWS; `secret_file` None: what boto3 finds by itself (the role of the
    machine, the environment)."""

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = "us-east-1"
    path_style: bool = False
    ca_file: Path | None = None
    access_key: str = ""
    secret_file: Path | None = None
    encryption: str = ""  # "", AES256 or aws:kms
    kms_key: str = ""
    lock: Lock | None = None
    uploads: int = 4  # at once

    def key(self, path: str) -> str:
        """The object of a recording, by its path in the folder of recordings."""
        return self.prefix + path

    def url(self, key: str) -> str:
        """What the index says of an object."""
        return f"{SCHEME}{self.bucket}/{key}"


def parse_url(url: str) -> tuple[str, str] | None:
    """(bucket, key) of `s3://bucket/key`; None for anything else."""
    found = _URL.fullmatch(url)
    return None if found is None else (found[1], found[2])
