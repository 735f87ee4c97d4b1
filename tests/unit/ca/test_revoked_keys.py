"""The file of revoked keys, in both of its forms, and every way in which it cannot be read."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from bastion.ca.revoked_keys import load_revoked_keys
from bastion.errors import ConfigError
from bastion.wire.certificates import CertificateKind, issue
from bastion.wire.keys import PrivateKey
from bastion.wire.krl import MAGIC
from tests.unit.wire.keygen import keygen, make_key, public_blob

CA, ONE, TWO = (PrivateKey.generate_ed25519() for _ in range(3))
CERTIFICATE = issue(
    CA, TWO.public, kind=CertificateKind.USER, serial=1, key_id="x", principals=("a",), valid_after=0, valid_before=9
)  # fmt: skip


def test_a_list_of_keys_and_certificates(tmp_path: Path) -> None:
    blob = base64.b64encode(CERTIFICATE.blob).decode()
    file = tmp_path / "revoked"
    file.write_text(f"# lost\n\n  {ONE.public.line('alice')}\r\n{CERTIFICATE.type} {blob} bob\n")
    revoked = load_revoked_keys(file)
    assert len(revoked) == 2 and revoked.has_key(ONE.public.blob) and revoked.has_key(TWO.public.blob)
    assert not revoked.has_key(CA.public.blob)


def test_a_krl(tmp_path: Path) -> None:
    key = make_key(tmp_path, "key", "-t", "ed25519")
    keygen("-q", "-k", "-f", tmp_path / "krl", f"{key}.pub")
    assert load_revoked_keys(tmp_path / "krl").has_key(public_blob(key))


def test_an_empty_file_revokes_nothing(tmp_path: Path) -> None:
    (tmp_path / "revoked").touch()
    assert len(load_revoked_keys(tmp_path / "revoked")) == 0


@pytest.mark.parametrize(
    "content, line, text",
    [
        (b"ssh-ed25519\n", 1, "a supported key type"),
        (ONE.public.line().encode() + b"\nssh-ed25519 AAAA\n", 2, "truncated"),
        (b"from=\"1.2.3.4\" " + ONE.public.line().encode(), 1, "a supported key type"),
        (b"\n\xff\xfe\n", 2, "a supported key type"),
        (MAGIC + b"x", 0, "is a KRL that cannot be read: message is truncated"),
        (b"#" * (17 << 20), 0, "is longer than 16 MiB"),
    ],
    ids=["no key", "half a key", "options", "no text", "half a list", "a long one"],
)  # fmt: skip
def test_what_cannot_be_read(tmp_path: Path, content: bytes, line: int, text: str) -> None:
    file = tmp_path / "revoked"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as fault:
        load_revoked_keys(file)
    assert fault.value.line == line and text in str(fault.value) and str(file) in str(fault.value)


def test_a_file_that_is_not_there_or_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("missing", "", "missing/x"):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_revoked_keys(tmp_path / name)
    with pytest.raises(ConfigError, match="is not a regular file"):  # and it holds nobody up
        load_revoked_keys(tmp_path / "fifo")
