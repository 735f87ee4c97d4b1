"""Sealed backups: what goes in comes out, nothing else is taken, nothing is overwritten."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyrage
import pytest

from bastion import age
from bastion.ca import backup
from bastion.ca.backup import Member
from bastion.ca.identities import identities_in
from bastion.ca.ledger import Entry, KeyName, Ledger
from bastion.errors import ConfigError
from bastion.wire.keys import PrivateKey
from tests.unit.wire.keygen import keygen, make_key

IDENTITY = pyrage.x25519.Identity.generate()
RECIPIENTS = backup.recipients_for([str(IDENTITY.to_public())])
KEY = PrivateKey.generate_ed25519()
MEMBERS = {
    "keys/ca": Member(KEY.openssh_bytes(), 0o600, KEY.public.fingerprint()),
    "keys/keys.toml": Member(b"# ledger\n", 0o644),
}


def sealed(members: dict[str, Member] = MEMBERS) -> bytes:
    return backup.seal(members, RECIPIENTS, 1_800_000_000, "root")


def test_what_goes_in_comes_out() -> None:
    data = sealed()
    assert data.startswith(b"age-encryption.org/v1") and KEY.openssh_bytes()[:60] not in data
    opened = backup.unseal(data, [IDENTITY], "b.age")
    assert opened == backup.Sealed(1_800_000_000.0, "root", MEMBERS)


def test_an_openssh_key_is_a_recipient_too(tmp_path: Path) -> None:
    path = make_key(tmp_path, "ed25519", "-t", "ed25519")
    recipients = backup.recipients_for(["# comment", "", path.with_name("ed25519.pub").read_text()])
    data = backup.seal(MEMBERS, recipients, 1, "root")
    assert backup.unseal(data, identities_in(path), "b").members == MEMBERS


def test_an_identity_comes_from_a_file_that_is_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "age.key"
    path.write_text(f"# created: today\n{IDENTITY}\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="lets others in"):
        identities_in(path)
    path.chmod(0o600)
    assert backup.unseal(sealed(), identities_in(path), "b").members == MEMBERS
    path.write_text("nothing\n")
    with pytest.raises(ConfigError, match="holds no age identity"):
        identities_in(path)


@pytest.mark.parametrize("lines", [[], ["# only a comment"], ["age1nonsense"], ["ssh-ed25519 AAAA"]])
def test_without_a_good_recipient_there_is_no_backup(lines: list[str]) -> None:
    with pytest.raises(ConfigError, match="recipient"):
        backup.recipients_for(lines)


def packed(entries: list[tuple[Any, bytes]]) -> bytes:
    """A sealed tar with these members, as somebody makes who knows a recipient."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in entries:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return age.seal(out.getvalue(), RECIPIENTS)


def manifest(*files: dict[str, Any], kind: str = backup.FORMAT) -> tuple[str, bytes]:
    return backup.MANIFEST, json.dumps({"format": kind, "made": 1, "by": "x", "files": files}).encode()


def link() -> tarfile.TarInfo:
    info = tarfile.TarInfo("link")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/shadow"
    return info


HOSTILE = {
    "no age": (b"plain", "cannot be opened"),
    "cut": (sealed()[:-40], "cannot be opened"),
    "for somebody else": (
        pyrage.encrypt(b"x", [pyrage.x25519.Identity.generate().to_public()]),
        "the identity of a recipient",
    ),
    "no tar": (age.seal(b"x" * 2000, RECIPIENTS), "is no backup of this kind"),
    "no manifest": (packed([("a", b"1")]), "is no backup of this kind"),
    "a manifest of something else": (packed([("manifest.json", b"[1]")]), "is no backup of this kind"),
    "another format": (packed([manifest(kind="x")]), "of another format"),
    "a file more": (packed([manifest(), ("a", b"1")]), "other files than its manifest lists"),
    "a link": (packed([manifest(), (link(), b"")]), "something that no backup holds"),
    "another content": (
        packed([manifest({"name": "a", "mode": 420, "sha256": "00", "fingerprint": ""}), ("a", b"1")]),
        "a is not what its manifest says",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_nothing_else_is_taken(case: str) -> None:
    data, words = HOSTILE[case]
    with pytest.raises(ConfigError) as fault:
        backup.unseal(data, [IDENTITY], "b.age")
    assert str(fault.value).startswith("b.age: ") and words in str(fault.value), str(fault.value)


def test_another_key_under_the_fingerprint_of_one_is_found() -> None:
    other = PrivateKey.generate_ed25519().openssh_bytes()
    with pytest.raises(ConfigError, match="keys/ca holds another key than its manifest says"):
        backup.unseal(
            sealed({"keys/ca": Member(other, 0o600, KEY.public.fingerprint())}), [IDENTITY], "b.age"
        )


def test_a_private_key_comes_back_closed_to_others() -> None:
    opened = backup.unseal(
        sealed({"ca": Member(KEY.openssh_bytes(), 0o644, KEY.public.fingerprint())}), [IDENTITY], "b"
    )
    assert opened.members["ca"].mode == 0o600


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [("-t", "ed25519", "-N", "words"), ("-t", "ecdsa"), ("-t", "rsa", "-m", "PEM")]
)
def test_every_private_key_has_its_fingerprint(options: tuple[str, ...], tmp_path: Path) -> None:
    """Of OpenSSH's format without the passphrase: the public half stands before what is encrypted."""
    path = tmp_path / "key"
    keygen("-q", *options, *(() if "-N" in options else ("-N", "")), "-f", path)
    assert backup.member_of(path).fingerprint in keygen("-l", "-f", f"{path}.pub")
    assert backup.member_of(tmp_path / "key.pub").fingerprint == ""


def test_what_the_ledger_says_of_the_keys() -> None:
    entry = Entry(KeyName.UPSTREAM_CA, KEY.public, 1, "root", 1)
    assert backup.unknown_in(MEMBERS, Ledger()) == ["keys/ca"]
    assert backup.unknown_in(MEMBERS, Ledger((entry,))) == []
    assert backup.retired_in(MEMBERS, Ledger((entry,))) == []
    assert backup.retired_in(MEMBERS, Ledger((entry,)).changed(KEY.public, retired=2.0)) == ["keys/ca"]


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    two.write_bytes(b"mine")
    members = {one: Member(b"1", 0o600), two: Member(b"2", 0o600)}
    with pytest.raises(ConfigError, match="two: is there already, and is another file: nothing was written"):
        backup.place(members)
    assert not one.exists() and two.read_bytes() == b"mine"
    two.write_bytes(b"2")
    assert backup.place(members) == [one]
    assert backup.place(members) == []
    two.unlink()
    two.symlink_to(one)
    with pytest.raises(ConfigError, match="is there already"):
        backup.place(members)
