"""A real S3 server on loopback: versitygw over a folder, with versions and object lock, gone after `close`.

`.ci/go-programs` builds it once for each user (`make s3-server`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from bastion.archive.place import S3Place
from tests.support.net import LOOPBACK, free_port, wait_until_listening

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bastion-tests"
PROGRAM = CACHE / "versitygw-1.8.0"
ACCESS_KEY, SECRET = "AKIDFORTESTS", "not-much-of-a-secret-0123456789"
BUCKET, LOCKED = "recordings", "locked"


def s3_missing() -> str:
    """Why there is no S3 server here, or ""."""
    return "" if PROGRAM.exists() else "versitygw is missing: make s3-server builds it"


class S3Server:
    """Listens on `port`. `stop` and `start` are a store that goes and comes back with what it had."""

    def __init__(self, users: bool = False) -> None:
        """With `users` there may be others than the one whom everything is allowed (`add_user`)."""
        self.users = users
        self.folder = Path(tempfile.mkdtemp(prefix="bastion-s3-"))
        for name in ("data", "versions", "users"):
            (self.folder / name).mkdir()
        self.secret_file = self.folder / "secret"
        self.secret_file.write_text(SECRET + "\n")
        self.secret_file.chmod(0o600)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> S3Server:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    PROGRAM, "--port", f"{LOOPBACK}:{self.port}", "--quiet",
                    *(("--iam-dir", self.folder / "users") if self.users else ()),
                    "posix", "--versioning-dir", self.folder / "versions", self.folder / "data",
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET},
            )  # fmt: skip
        wait_until_listening(self.port)
        return self

    def make_buckets(self) -> S3Server:
        """`recordings`, and `locked` with object lock."""
        self.client.create_bucket(Bucket=BUCKET)
        self.client.create_bucket(Bucket=LOCKED, ObjectLockEnabledForBucket=True)
        return self

    def add_user(self, access_key: str, secret: str) -> None:
        """Somebody who may do what policies of buckets allow."""
        admin = [PROGRAM, "admin", "-a", ACCESS_KEY, "-s", SECRET, "--er", f"http://{LOOPBACK}:{self.port}"]
        made = [*admin, "create-user", "-a", access_key, "-s", secret, "-r", "user"]
        subprocess.run(made, check=True, capture_output=True, timeout=30)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(10)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def client(self) -> Any:
        """boto3's own client, to look at what there is."""
        return client_of(self.port)

    def client_as(self, access_key: str, secret: str) -> Any:
        """The same of another user."""
        return client_of(self.port, access_key, secret)

    def place(self, port: int = 0, bucket: str = BUCKET, **more: Any) -> S3Place:
        """A bucket of it; through `port`, for a proxy before it."""
        return S3Place(
            bucket,
            endpoint=f"http://{LOOPBACK}:{port or self.port}",
            path_style=True,
            access_key=ACCESS_KEY,
            secret_file=self.secret_file,
            **more,
        )

    def section(self, port: int = 0, bucket: str = BUCKET, more: str = "", prefix: str = "gw1/") -> str:
        """`[recording.store]` of a configuration."""
        return f"""
[recording.store]
kind = "s3"
bucket = "{bucket}"
prefix = "{prefix}"
endpoint = "http://{LOOPBACK}:{port or self.port}"
path_style = true
access_key = "{ACCESS_KEY}"
secret_file = "{self.secret_file}"
{more}
"""

    def names(self, bucket: str = BUCKET) -> set[str]:
        """The names of all objects."""
        return {one["Key"] for one in self.client.list_objects_v2(Bucket=bucket).get("Contents", ())}

    def get(self, key: str, bucket: str = BUCKET) -> bytes:
        """What an object holds."""
        body: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return body


def client_of(port: int, access_key: str = ACCESS_KEY, secret: str = SECRET) -> Any:
    return boto3.session.Session().client(
        "s3",
        region_name="us-east-1",
        endpoint_url=f"http://{LOOPBACK}:{port}",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 3}),
    )
