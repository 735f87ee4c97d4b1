# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""`[recording.store]`: where recordings go when they are whole (L2)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bastion.archive.place import Lock, S3Place
from bastion.ca.secrets import read_secret_file
from bastion.errors import ConfigError
from bastion.options import At, Kind, option, shown
from bastion.options.kinds import BOOLEAN, choice, duration, integer, optional, quoted, text
from bastion.options.paths import FILE

BUCKET: Final = text(
    "bucket", re.compile(r"\A[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z"), "the name of a bucket: a-z, 0-9, . and -"
)
PREFIX: Final = text(
    "prefix",
    re.compile(r"\A(?:[A-Za-z0-9_=-][A-Za-z0-9_.=-]{0,62}/){0,8}\Z"),
    "folders that end with /, of letters, digits and _ . = -",
)
REGION: Final = text("region", re.compile(r"\A[a-z0-9][a-z0-9-]{0,40}\Z"), '"eu-central-1"')
ACCESS_KEY: Final = text("access key id", re.compile(r"\A[\x21-\x7e]{1,128}\Z"), "an access key id")
KMS_KEY: Final = text("key", re.compile(r"\A[\x21-\x7e]{1,2048}\Z"), "a key's id, alias or ARN")

SHORTEST_LOCK: Final = 86400.0


def _read_endpoint(value: object, at: At) -> str:
    if isinstance(value, str) and len(value) <= 256:
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError:
            raise at.wrong(f"{shown(value)} is not a URL", ENDPOINT.allowed) from None
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
        if parts.scheme in ("http", "https") and parts.hostname and parts.path in ("", "/") and plain:
            return value.rstrip("/") if port != 0 else value
    raise at.wrong(f"{shown(value)} is not the URL of a server", ENDPOINT.allowed)


ENDPOINT: Kind[str] = Kind("URL", "https://HOST:PORT", _read_endpoint, quoted)

LOCK_MODES: Final = {"governance": "GOVERNANCE", "compliance": "COMPLIANCE"}
ENCRYPTIONS: Final = {"off": "", "s3": "AES256", "kms": "aws:kms"}


@dataclass(frozen=True, slots=True)
class RecordingStore:
    """Where recordings go when their sessions have ended: nowhere, or to a bucket that speaks S3. They are written to
    the folder above in any case, which is then a spool (`docs/recordings-store.md`)."""

    kind: str = option(
        choice("folder", "s3"),
        '"s3" uploads each recording when its session has ended, and removes the local copy when the bucket has shown'
        ' its checksum. With "folder" nothing is uploaded; what is in the bucket already is still found there.',
        default="folder",
    )
    bucket: str | None = option(
        optional(BUCKET), "The bucket. It has to be there.", default=None, example='"recordings"'
    )
    prefix: str = option(
        PREFIX,
        "What the objects' names begin with; the rest is DAY/SESSION.rec.",
        default="",
        example='"gw1/"',
    )
    endpoint: str | None = option(
        optional(ENDPOINT),
        "The server. Not set: AWS, in that region.",
        default=None,
        example='"https://s3.example.com"',
    )
    region: str = option(REGION, "The bucket's region; some servers take any.", default="us-east-1")
    path_style: bool = option(
        BOOLEAN,
        "Write the bucket into the path (https://HOST/BUCKET/...) and not into the name of the host: what most servers"
        " but AWS want.",
        default=False,
    )
    ca_file: Path | None = option(
        optional(FILE),
        "CAs that the server's certificate may be of, as PEM. Not set: those that Python's boto3 brings.",
        default=None,
        example='"s3-ca.pem"',
    )
    access_key: str | None = option(
        optional(ACCESS_KEY),
        "The id of the access key whose secret is in secret_file.",
        default=None,
        example='"AKIAIOSFODNN7EXAMPLE"',
    )
    secret_file: Path | None = option(
        optional(FILE),
        "File with the secret access key in its first line, closed to others. Not set: what boto3 finds, the role of"
        " the machine or the variables of the environment.",
        default=None,
        example='"credential:s3-secret"',
    )
    encryption: str = option(
        choice(*ENCRYPTIONS),
        'Ask the server to encrypt: "s3" with keys of its own (SSE-S3), "kms" with one of its key service (SSE-KMS).',
        default="off",
    )
    kms_key: str | None = option(
        optional(KMS_KEY),
        'Which one, for "kms". Not set: the one that the bucket names.',
        default=None,
        example='"alias/recordings"',
    )
    lock: str = option(
        choice("off", *LOCK_MODES),
        "Object lock: nobody can delete a recording in the bucket before lock_for is over. Who has the right to can"
        ' with "governance", nobody at all with "compliance". The bucket must have been made for it.',
        default="off",
    )
    lock_for: float = option(
        duration(SHORTEST_LOCK), "How long, counted from the upload.", default=90 * 86400.0
    )
    uploads: int = option(integer(1, 32), "Uploads at the same time.", default=4)

    def validate(self, at: At) -> None:
        if self.kind == "s3" and self.bucket is None:
            at.child("bucket").wrong('is required with kind = "s3"', BUCKET.allowed)
        if (self.access_key is None) != (self.secret_file is None):
            missing = "access_key" if self.access_key is None else "secret_file"
            at.child(missing).wrong("access_key and secret_file go together", "both, or neither")

    def place(self) -> S3Place | None:
        """The bucket, also of a gateway that uploads no more; None when none is named."""
        if self.bucket is None:
            return None
        lock = None if self.lock == "off" else Lock(LOCK_MODES[self.lock], self.lock_for)
        return S3Place(
            bucket=self.bucket,
            prefix=self.prefix,
            endpoint=self.endpoint or "",
            region=self.region,
            path_style=self.path_style,
            ca_file=self.ca_file,
            access_key=self.access_key or "",
            secret_file=self.secret_file,
            encryption=ENCRYPTIONS[self.encryption],
            kms_key=(self.kms_key or "") if self.encryption == "kms" else "",
            lock=lock,
            uploads=self.uploads,
        )


def store_faults(store: RecordingStore) -> Iterator[tuple[bool, str, str, str]]:
    """(is an error, key, problem, what is allowed) of the files that it names, and what it would give away."""
    if store.secret_file is not None:
        try:
            read_secret_file(store.secret_file, "S3 secret access key")
        except ConfigError as error:
            yield True, "secret_file", str(error), ""
    if store.ca_file is not None:
        try:
            with open(store.ca_file, "rb") as file:
                if b"BEGIN CERTIFICATE" not in file.read(1 << 20):
                    yield True, "ca_file", f"{store.ca_file} has no certificate", "certificates as PEM"
        except OSError as error:
            yield True, "ca_file", f"{store.ca_file} cannot be read: {error.strerror}", ""
    if store.kms_key is not None and store.encryption != "kms":
        yield False, "kms_key", 'is of no use without encryption = "kms"', ""
    if store.endpoint is not None and store.endpoint.startswith("http:") and not _is_here(store.endpoint):
        yield False, "endpoint", "recordings cross the network as they are", "https://..."


def _is_here(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
