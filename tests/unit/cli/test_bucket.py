"""As whom a command reaches bucket and store: as the gateway, or as the console where the gateway's key is closed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bastion.cli.bucket import store_of
from tests.support.rights import without_rights
from tests.unit.config.site import Site

SECTIONS = """
[recording.store]
kind = "s3"
bucket = "recordings"
access_key = "GATEWAY"
secret_file = "gateway.secret"
[console]
bucket_access_key = "CONSOLE"
bucket_secret_file = "console.secret"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives things away")
@pytest.mark.parametrize(
    ("open_ones", "whose"),
    [
        ({"gateway", "console"}, "GATEWAY"),
        ({"gateway"}, "GATEWAY"),
        ({"console"}, "CONSOLE"),
        (set(), "GATEWAY"),
    ],
)
def test_the_key_that_may_be_read_is_used(tmp_path: Path, open_ones: set[str], whose: str) -> None:
    site = Site(tmp_path)
    site.write("bastion.toml", site.config.read_text() + SECTIONS)
    for name in ("gateway", "console"):
        secret = tmp_path / f"{name}.secret"
        secret.write_text("secret\n")
        secret.chmod(0o644 if name in open_ones else 0o600)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    with without_rights():
        place = store_of(site.config)
    assert place is not None and place.access_key == whose
