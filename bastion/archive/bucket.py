"""One bucket, through boto3 (L2). Everything here blocks; any thread may call it.

Invariants: whatever goes wrong is a `StoreFault`, whose text has nothing that the other side has written but a code of
letters, and no credential; a request has a timer for connecting and for each silence, and one with a body ends when
`progress` says so; nothing is tried twice in here (`archive.schedule` decides when).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import boto3
from botocore import exceptions as boto
from botocore.config import Config
from botocore.parsers import ResponseParserError

from bastion.archive.measure import Slice
from bastion.archive.place import S3Place
from bastion.ca.secrets import read_secret_file
from bastion.errors import StoreFault, StoreReason

CONNECT_SECONDS: Final = 5.0
SILENT_SECONDS: Final = 30.0
"""Without a byte of an answer, or of ours being taken."""

CHUNK: Final = 1 << 20
PARTS_PAGE: Final = 1000
PAGES_MAX: Final = 100

_CODE = re.compile(r"[A-Za-z0-9.]{1,60}")

_UNREACHABLE: Final = (
    boto.EndpointConnectionError,
    boto.ConnectionClosedError,
    boto.SSLError,
    boto.ProxyConnectionError,
    boto.ResponseStreamingError,
    boto.IncompleteReadError,
    boto.HTTPClientError,
)
_CREDENTIALS: Final = (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)


@dataclass(frozen=True, slots=True)
class Found:
    """An object. `checksum` is the SHA-256 that S3 keeps of it, "" when it keeps none; `until` (seconds since the
    epoch) and `held` say what object lock does, as far as the credentials may know it."""

    key: str
    size: int
    checksum: str = ""
    version: str = ""
    lock: str = ""
    until: float | None = None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A part that has arrived."""

    number: int
    size: int
    etag: str
    checksum: str


class Bucket:
    """The bucket of `place`."""

    def __init__(self, place: S3Place) -> None:
        """Asks nobody. Raises ConfigError for the file of the secret, StoreFault for what boto3 does not take."""
        self.place = place
        given: dict[str, Any] = {}
        if place.secret_file is not None:
            secret = read_secret_file(place.secret_file, "S3 secret access key").decode("ascii", "replace")
            given = {"aws_access_key_id": place.access_key, "aws_secret_access_key": secret}
        with _told(f"the bucket {place.bucket}"):
            self._client: Any = boto3.session.Session().client(
                "s3",
                region_name=place.region,
                endpoint_url=place.endpoint or None,
                verify=str(place.ca_file) if place.ca_file is not None else None,
                config=_config(place),
                **given,
            )

    # -- one object --------------------------------------------------------------------------------------

    def head(self, key: str, version: str = "") -> Found | None:
        """What is there under `key`; None when nothing is."""
        wanted = {**self._named(key), "ChecksumMode": "ENABLED", **_version(version)}
        try:
            with _told(key):
                answer = self._client.head_object(**wanted)
        except _Missing:
            return None
        until = answer.get("ObjectLockRetainUntilDate")
        return Found(
            key,
            _size(answer.get("ContentLength")),
            _text(answer.get("ChecksumSHA256")),
            _text(answer.get("VersionId")),
            _text(answer.get("ObjectLockMode")),
            until.timestamp() if isinstance(until, datetime) else None,
            answer.get("ObjectLockLegalHoldStatus") == "ON",
        )

    def put(self, key: str, body: Slice, checksum: str, now: float) -> None:
        """Send an object at once. S3 refuses it when its SHA-256 is another than `checksum` (base64)."""
        with _told(key):
            self._client.put_object(
                **self._named(key), **self._kept(now), Body=body, ContentLength=len(body), ChecksumSHA256=checksum
            )  # fmt: skip

    def read(self, key: str, version: str = "") -> Iterator[bytes]:
        """The object, a MiB at a time."""
        try:
            with _told(key):
                body = self._client.get_object(**self._named(key), **_version(version))["Body"]
                try:
                    while data := body.read(CHUNK):
                        yield data
                finally:
                    body.close()
        except _Missing:
            raise StoreFault(StoreReason.BAD_ANSWER, f"{key}: there is no such object") from None

    def piece(self, key: str, start: int, size: int, version: str = "") -> bytes:
        """`size` bytes of the object from `start` on, fewer where it ends. Asks for these alone, and takes no more."""
        wanted = {**self._named(key), **_version(version), "Range": f"bytes={start}-{start + size - 1}"}
        try:
            with _told(key):
                body = self._client.get_object(**wanted)["Body"]
                try:
                    data: bytes = body.read(size + 1)
                finally:
                    body.close()
        except _Missing:
            raise StoreFault(StoreReason.BAD_ANSWER, f"{key}: there is no such object") from None
        if len(data) > size:
            raise StoreFault(StoreReason.BAD_ANSWER, f"{key}: more was sent than was asked for")
        return data

    def delete(self, key: str, version: str = "") -> None:
        """For good, where `version` is said. Raises StoreFault(LOCKED) when S3 says that it may not."""
        try:
            with _told(key):
                self._client.delete_object(**self._named(key), **_version(version))
        except _Missing:
            return

    def under(self, prefix: str) -> Iterator[Found]:
        """The key and size of every object whose key begins so, a thousand at a time."""
        after = ""
        while True:
            more = {"StartAfter": after} if after else {}
            with _told(prefix):
                answer = self._client.list_objects_v2(Bucket=self.place.bucket, Prefix=prefix, **more)
            found = [
                Found(_text(one.get("Key")), _size(one.get("Size"))) for one in answer.get("Contents", ())
            ]
            yield from found
            if not answer.get("IsTruncated") or not found or found[-1].key <= after:
                return
            after = found[-1].key

    def versions(self, key: str) -> list[str]:
        """The versions that there are of an object, at most a thousand; one without versions has none."""
        with _told(key):
            answer = self._client.list_object_versions(Bucket=self.place.bucket, Prefix=key)
        found = [_text(one.get("VersionId")) for one in answer.get("Versions", ()) if one.get("Key") == key]
        return [version for version in found if version not in ("", "null")]

    # -- in parts ----------------------------------------------------------------------------------------

    def begin(self, key: str, now: float) -> str:
        """Begin a multipart upload; its id."""
        with _told(key):
            answer = self._client.create_multipart_upload(
                **self._named(key), **self._kept(now), ChecksumAlgorithm="SHA256"
            )
        return _text(answer.get("UploadId"))

    def unfinished(self, key: str) -> list[str]:
        """The multipart uploads of `key` that were begun and not ended, the newest first."""
        with _told(key):
            answer = self._client.list_multipart_uploads(Bucket=self.place.bucket, Prefix=key)
        found = [one for one in answer.get("Uploads", ()) if one.get("Key") == key]
        found.sort(key=lambda one: str(one.get("Initiated")), reverse=True)
        return [_text(one.get("UploadId")) for one in found]

    def parts(self, key: str, upload: str) -> dict[int, Part]:
        """What has arrived of it, by number."""
        found: dict[int, Part] = {}
        after = 0
        for _ in range(PAGES_MAX):
            with _told(key):
                answer = self._client.list_parts(
                    **self._named(key), UploadId=upload, MaxParts=PARTS_PAGE, PartNumberMarker=after
                )
            page = answer.get("Parts", ())
            for one in page:
                part = Part(_size(one.get("PartNumber")), _size(one.get("Size")), _text(one.get("ETag")),
                            _text(one.get("ChecksumSHA256")))  # fmt: skip
                found[part.number] = part
            if not answer.get("IsTruncated") or not page or max(found) <= after:
                break
            after = max(found)
        return found

    def put_part(self, key: str, upload: str, number: int, body: Slice, checksum: str) -> Part:
        """Send one part."""
        with _told(key):
            answer = self._client.upload_part(
                **self._named(key), UploadId=upload, PartNumber=number, Body=body, ContentLength=len(body),
                ChecksumSHA256=checksum,
            )  # fmt: skip
        return Part(number, len(body), _text(answer.get("ETag")), checksum)

    def complete(self, key: str, upload: str, parts: Mapping[int, Part]) -> None:
        """Make the object of its parts."""
        told = [
            {"PartNumber": number, "ETag": parts[number].etag, "ChecksumSHA256": parts[number].checksum}
            for number in sorted(parts)
        ]
        with _told(key):
            self._client.complete_multipart_upload(
                **self._named(key), UploadId=upload, MultipartUpload={"Parts": told}
            )

    def abort(self, key: str, upload: str) -> None:
        """Give it up; its parts cost nothing any more."""
        try:
            with _told(key):
                self._client.abort_multipart_upload(**self._named(key), UploadId=upload)
        except _Missing:
            return

    # -- the bucket --------------------------------------------------------------------------------------

    def lock_rule(self) -> tuple[bool, str]:
        """(is object lock on, the mode that the bucket itself gives to everything, "" for none)."""
        try:
            with _told(f"the bucket {self.place.bucket}"):
                answer = self._client.get_object_lock_configuration(Bucket=self.place.bucket)
        except _Missing:
            return False, ""
        rule = answer.get("ObjectLockConfiguration") or {}
        mode = ((rule.get("Rule") or {}).get("DefaultRetention") or {}).get("Mode")
        return rule.get("ObjectLockEnabled") == "Enabled", _text(mode)

    # -- options of requests -----------------------------------------------------------------------------

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self.place.bucket, "Key": key}

    def _kept(self, now: float) -> dict[str, Any]:
        """Encryption and object lock of what is made at `now`."""
        place, options = self.place, dict[str, Any]()
        if place.encryption:
            options["ServerSideEncryption"] = place.encryption
        if place.kms_key:
            options["SSEKMSKeyId"] = place.kms_key
        if place.lock is not None:
            options["ObjectLockMode"] = place.lock.mode
            options["ObjectLockRetainUntilDate"] = datetime.fromtimestamp(now + place.lock.seconds, UTC)
        return options


def _config(place: S3Place) -> Config:
    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=SILENT_SECONDS,
        retries={"total_max_attempts": 1},
        max_pool_connections=max(place.uploads, 1),
        # the SHA-256 is made here, of what the disk has: boto3 adds no checksum of its own
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if place.path_style else "auto"},
    )


class _Missing(Exception):
    """There is no such object, upload or rule."""


_MISSING_CODES: Final = frozenset(
    ("NoSuchKey", "NoSuchVersion", "NoSuchUpload", "404", "NotFound", "ObjectLockConfigurationNotFoundError")
)
_LOCKED_CODES: Final = frozenset(("ObjectLocked", "InvalidRequest.ObjectLocked", "WORMProtected"))
_CHECKSUM_CODES: Final = frozenset(
    (
        "BadDigest",
        "XAmzContentSHA256Mismatch",
        "InvalidDigest",
        "IncompleteBody",
        "XAmzContentChecksumMismatch",
    )
)
_TIMEOUT_CODES: Final = frozenset(("RequestTimeout", "RequestTimeoutException"))
_BUSY_CODES: Final = frozenset(("SlowDown", "Throttling", "RequestLimitExceeded"))


@contextmanager
def _told(about: str) -> Iterator[None]:
    """What goes wrong in here is a StoreFault without a cause: boto3's errors carry what the other side wrote."""
    try:
        yield
    except boto.ClientError as error:
        raise _answered(about, error.response) from None
    except (boto.ConnectTimeoutError, boto.ReadTimeoutError):
        raise StoreFault(StoreReason.TIMEOUT, f"{about}: no answer in time") from None
    except _CREDENTIALS:
        raise StoreFault(StoreReason.REFUSED, f"{about}: there are no credentials for S3") from None
    except _UNREACHABLE as error:
        inner = error.kwargs.get("error")
        if isinstance(inner, StoreFault):  # of the body that was being sent
            raise inner from None
        raise StoreFault(StoreReason.UNREACHABLE, f"{about}: {_why(error, inner)}") from None
    except (boto.BotoCoreError, ResponseParserError, ValueError) as error:
        raise StoreFault(StoreReason.BAD_ANSWER, f"{about}: {type(error).__name__}") from None
    except OSError as error:
        raise StoreFault(
            StoreReason.LOCAL_FILE, f"{about}: {error.strerror or type(error).__name__}"
        ) from None


def _why(error: Exception, inner: object) -> str:
    """The kind of failure, and what kind of cause: never their texts, which have URLs and answers in them."""
    cause = f" of {type(inner).__name__}" if isinstance(inner, Exception) else ""
    return type(error).__name__ + cause


def _answered(about: str, response: Mapping[str, Any]) -> Exception:
    """The fault that an answer of S3 stands for, by its code and status."""
    said = str((response.get("Error") or {}).get("Code", ""))
    code = said if _CODE.fullmatch(said) else "an unreadable code"
    status = _size((response.get("ResponseMetadata") or {}).get("HTTPStatusCode"))
    text = f"{about}: {code} (HTTP {status})"
    if code in _LOCKED_CODES or (status == 403 and _says_locked(response)):
        return StoreFault(StoreReason.LOCKED, f"{about}: object lock does not let it go")
    if code == "NoSuchBucket":
        return StoreFault(StoreReason.NO_BUCKET, text)
    if code in _MISSING_CODES:
        return _Missing()
    if code in _CHECKSUM_CODES:
        return StoreFault(StoreReason.CHECKSUM, text)
    if code in _TIMEOUT_CODES:
        return StoreFault(StoreReason.TIMEOUT, text)
    if status >= 500 or code in _BUSY_CODES:
        return StoreFault(StoreReason.SERVER_ERROR, text)
    if status in (401, 403):
        return StoreFault(StoreReason.REFUSED, text)
    return StoreFault(StoreReason.BAD_ANSWER, text)


def _says_locked(response: Mapping[str, Any]) -> bool:
    """AWS answers AccessDenied, "because object protected by object lock": the one place where words decide."""
    message = str((response.get("Error") or {}).get("Message", ""))[:500].lower()
    return "object lock" in message or "worm protected" in message


def _version(version: str) -> dict[str, str]:
    return {"VersionId": version} if version else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _size(value: object) -> int:
    return value if isinstance(value, int) else 0
