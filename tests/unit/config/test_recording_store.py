"""`[recording.store]`: each fault at its key, and the bucket that comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.archive.place import Lock
from bastion.config.check import inspect
from bastion.config.outputs import Recording, read_section
from bastion.config.recording_store import RecordingStore, store_faults
from bastion.errors import ConfigError

WHOLE = """kind = "s3"
bucket = "recordings"
prefix = "gw1/prod/"
endpoint = "https://s3.example.com:9000/"
region = "eu-central-1"
path_style = true
access_key = "AKIA"
secret_file = "secret"
encryption = "kms"
kms_key = "alias/recordings"
lock = "compliance"
lock_for = "365d"
uploads = 8
"""


def read(folder: Path, text: str) -> RecordingStore:
    file = folder / "bastion.toml"
    file.write_text(f'[recording]\ndirectory = "{folder}"\n[recording.store]\n{text}')
    return read_section(file, Recording).store


def test_without_a_section_recordings_stay_in_their_folder(tmp_path: Path) -> None:
    store = read(tmp_path, "")
    assert store == RecordingStore() and store.kind == "folder" and store.place() is None


def test_a_bucket_with_all_of_it(tmp_path: Path) -> None:
    place = read(tmp_path, WHOLE).place()
    assert place is not None
    assert (place.bucket, place.prefix, place.endpoint) == (
        "recordings",
        "gw1/prod/",
        "https://s3.example.com:9000",
    )
    assert (place.region, place.path_style, place.access_key, place.uploads) == (
        "eu-central-1",
        True,
        "AKIA",
        8,
    )
    assert place.secret_file == tmp_path / "secret"
    assert (place.encryption, place.kms_key) == ("aws:kms", "alias/recordings")
    assert place.lock == Lock("COMPLIANCE", 365 * 86400.0)


def test_who_uploads_no_more_still_finds_what_is_there(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE.replace('"s3"', '"folder"')).place() is not None


@pytest.mark.parametrize(
    ("line", "key", "problem"),
    [
        ('kind = "s3"\n', "bucket", "is required"),
        ('bucket = "Recordings"\n', "bucket", "not a valid bucket"),
        ('prefix = "gw1"\n', "prefix", "not a valid prefix"),
        ('prefix = "/gw1/"\n', "prefix", "not a valid prefix"),
        ('endpoint = "s3.example.com"\n', "endpoint", "not the URL of a server"),
        ('endpoint = "https://user:pass@s3.example.com"\n', "endpoint", "not the URL of a server"),
        ('endpoint = "https://s3.example.com/bucket"\n', "endpoint", "not the URL of a server"),
        ('endpoint = "https://s3.example.com:99999"\n', "endpoint", "not a URL"),
        ('access_key = "AKIA"\n', "secret_file", "go together"),
        ('secret_file = "secret"\n', "access_key", "go together"),
        ('lock = "forever"\n', "lock", "not one of the choices"),
        ('lock_for = "1h"\n', "lock_for", "not a duration in range"),
        ("uploads = 0\n", "uploads", "not a whole number"),
        ('secret = "x"\n', "secret", "unknown key"),
    ],
)
def test_a_fault_names_its_key(tmp_path: Path, line: str, key: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, line)
    assert caught.value.key == f"recording.store.{key}" and problem in caught.value.problem


def test_what_the_files_are_and_what_would_be_given_away(tmp_path: Path) -> None:
    store = read(tmp_path, WHOLE + 'ca_file = "ca.pem"\n')
    assert {key: error for error, key, _, _ in store_faults(store)} == {"secret_file": True, "ca_file": True}
    (tmp_path / "secret").write_text("s\n")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "ca.pem").write_text("no certificate")
    assert [(key, problem) for _, key, problem, _ in store_faults(store)] == [
        ("ca_file", f"{tmp_path}/ca.pem has no certificate")
    ]
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    assert list(store_faults(store)) == []
    for host, warned in (
        ("s3.example.com", True),
        ("127.0.0.1", False),
        ("[::1]", False),
        ("localhost", False),
    ):
        plain = read(tmp_path, f'endpoint = "http://{host}:9000"\n')
        assert [error for error, *_ in store_faults(plain)] == [False] * warned


def test_a_key_that_is_not_used_is_told(tmp_path: Path) -> None:
    store = read(tmp_path, 'bucket = "recordings"\nkms_key = "alias/x"\n')
    assert [(error, key) for error, key, *_ in store_faults(store)] == [(False, "kms_key")]
    place = store.place()
    assert place is not None and place.kms_key == ""


def test_check_names_the_line(tmp_path: Path) -> None:
    read(tmp_path, WHOLE)
    report = inspect(tmp_path / "bastion.toml")
    assert report.config is None, "the rest of it is missing"
