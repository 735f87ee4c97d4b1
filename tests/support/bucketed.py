"""A world whose recordings are in a bucket alone, and a console of another account whose key only reads there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.apart import CONFIG, Apart
from tests.support.hostile_s3 import HostileS3
from tests.support.s3 import BUCKET, S3Server
from tests.support.slapd import PASSWORD, Slapd
from tests.support.world import poll
from tests.unit.console.made import Browser

KEY, SECRET = "AKIDOFTHECONSOLE", "that-of-the-console-0123456789ab"
PATIENCE = 60.0  # a look every 5 s

POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": [KEY]},
            "Resource": f"arn:aws:s3:::{BUCKET}/gw1/*",
            "Action": ["s3:GetObject", "s3:GetObjectVersion"],
        },
        {
            "Effect": "Allow",
            "Principal": {"AWS": [KEY]},
            "Resource": f"arn:aws:s3:::{BUCKET}",
            "Action": ["s3:ListBucket"],
        },
    ],
}
"""What docs/recordings-store.md gives the console."""


class Bucketed(Apart):
    """Everything passes through `front`."""

    def __init__(self, slapd: Slapd, server: S3Server, front: HostileS3) -> None:
        own = f'bucket_access_key = "{KEY}"\nbucket_secret_file = "console/bucket.secret"\n'
        super().__init__(slapd, CONFIG + own + server.section(front.port))
        self.server, self.front = server, front
        secret = self.folder / "console" / "bucket.secret"
        secret.write_text(SECRET + "\n")
        secret.chmod(0o600)
        os.chown(secret, self.other.account.pw_uid, self.other.account.pw_gid)
        server.add_user(KEY, SECRET)
        server.client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(POLICY))

    def recorded(self, *words: str) -> str:
        """The session in which that was run, once its recording is in the bucket alone."""
        assert self.ssh(*words).returncode == 0
        return self.newest()

    def newest(self) -> str:
        """The newest session, once its recording is in the bucket alone."""
        session: str = self.sessions()[-1]["session_id"]
        poll(lambda: session in "".join(self.server.names()), PATIENCE, "it never came to the bucket")
        poll(lambda: not list(self.recordings.glob(f"*/{session}.rec")), PATIENCE, "the local copy stays")
        return session

    def read_in(self) -> int:
        """How many recordings `bastion index` of the console's account has read."""
        done = self.other.run("-m", "bastion", "index", "--config", str(self.config), "--json")
        assert done.returncode == 0, done.stderr
        return int(json.loads(done.stdout)["read"])

    def key(self, session: str) -> str:
        """Its object."""
        return next(name for name in self.server.names() if session in name)

    @contextmanager
    def changed(self, session: str, place: int = -300) -> Iterator[None]:
        """Another byte of it there, until the end of the block."""
        key = self.key(session)
        data = self.server.get(key)
        other = bytearray(data)
        other[place] ^= 1
        self.server.client.put_object(Bucket=BUCKET, Key=key, Body=bytes(other))
        try:
            yield
        finally:
            self.server.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def signed_in(self, name: str) -> Browser:
        browser = Browser(self.origin)
        got = browser.sign_in(name, PASSWORD, self.code(name))
        assert got.status == 303, got.text
        return browser
