"""The section about the review console: what would show passwords, or let nobody in, is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.config.console import Console
from bastion.config.load import load
from bastion.config.recording_store import RecordingStore
from bastion.errors import ConfigError
from tests.unit.config.site import Site


def read(folder: Path, lines: str) -> object:
    site = Site(folder)
    site.write("bastion.toml", site.config.read_text() + "[console]\n" + lines)
    return load(site.config).console


@pytest.mark.parametrize(
    ("lines", "origin"),
    [
        ("", "http://127.0.0.1:9743"),
        ('listen = "127.0.0.1:80"\nurl = "http://localhost"', "http://localhost"),
        ('listen = "0.0.0.0:443"\ntls_certificate = "c"\ntls_key = "k"\nurl = "https://console.example.com"',
         "https://console.example.com"),
        ('listen = "[::1]:9"\ntls_certificate = "c"\ntls_key = "k"', "https://[::1]:9"),
        ('socket = "run/http.sock"\nurl = "https://console.example.com:8443"', "https://console.example.com:8443"),
    ],
)  # fmt: skip
def test_where_it_is(tmp_path: Path, lines: str, origin: str) -> None:
    assert read(tmp_path, lines).origin == origin  # type: ignore[attr-defined]


def test_the_bucket_is_that_of_recordings_with_a_key_of_its_own_or_without(tmp_path: Path) -> None:
    store = RecordingStore(kind="s3", bucket="recordings", access_key="A", secret_file=Path("s"))
    assert Console().bucket(RecordingStore()) is None
    assert Console().bucket(store) == store.place()
    own = read(tmp_path, 'bucket_access_key = "B"\nbucket_secret_file = "own"')
    assert isinstance(own, Console)
    place = own.bucket(store)
    assert place is not None and (place.bucket, place.access_key) == ("recordings", "B")
    assert place.secret_file == tmp_path / "own"


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ('listen = "0.0.0.0:9743"', "console.listen"),
        ('require = [["passkey"]]', "console.require[1]"),
        ('require = [["passkey"]]\nurl = "http://127.0.0.1:9743"', "console.require[1]"),
        (
            'require = [["password"], ["passkey", "password"]]\nurl = "http://localhost:9743"',
            "console.require[2]",
        ),
        ('token_lifetime = "1m"', "console.token_lifetime"),
        ('listen = "192.0.2.1:9743"\nurl = "https://console.example.com"', "console.listen"),
        ('listen = "0.0.0.0:443"\ntls_certificate = "c"\ntls_key = "k"', "console.url"),
        ('tls_certificate = "c"', "console.tls_key"),
        ('socket = "s"', "console.url"),
        ('url = "http://console.example.com"', "console.url"),
        ('url = "https://console.example.com:443"', "console.url"),
        ('url = "https://console.example.com/"', "console.url"),
        ('url = "https://Console.example.com"', "console.url"),
        ('url = "http://localhost.evil.example"', "console.url"),
        ('tls_certificate = "c"\ntls_key = "k"\nurl = "http://localhost"', "console.url"),
        ('require = [["password", "password"]]', "console.require[1]"),
        ("require = []", "console.require"),
        ('require = [["publickey"]]', "console.require[1][1]"),
        ('user_header = "X-Remote-User"', "console.user_header"),
        ('idle = "1s"', "console.idle"),
        ('metrics = "0.0.0.0:9744"', "console.metrics"),
        ('state_url = "sqlite:///x"', "console.state_url"),
        ('state_url = "postgresql://console:secret@db/bastion"', "console.state_url"),
        ('state_password_file = "p"', "console.state_password_file"),
        ('bucket_access_key = "A"', "console.bucket_secret_file"),
        ('bucket_secret_file = "s"', "console.bucket_access_key"),
    ],
)
def test_what_is_refused(tmp_path: Path, lines: str, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, lines)
    assert f"{key}:" in str(refused.value), str(refused.value)


def test_passkeys_are_for_a_console_with_a_name(tmp_path: Path) -> None:
    found = read(tmp_path, 'require = [["passkey"], ["totp", "password"]]\nurl = "http://localhost:9743"')
    assert found.require == (("passkey",), ("totp", "password"))  # type: ignore[attr-defined]


def test_groups_are_in_the_form_that_accounts_have(tmp_path: Path) -> None:
    console = read(tmp_path, 'auditor_groups = ["Security", "CN=Audit,DC=example,DC=org"]')
    groups = console.groups  # type: ignore[attr-defined]
    assert groups["auditor"] == {"security", "cn=audit,dc=example,dc=org"} and not groups["admin"]
