"""Files of recipients and identities: faults are named with their file and line."""

from __future__ import annotations

from pathlib import Path

import pyrage
import pytest

from bastion.ca.identities import MAX_FILE, identities_in, read_recipients
from bastion.errors import ConfigError

IDENTITY = pyrage.x25519.Identity.generate()


def test_recipients_are_read(tmp_path: Path) -> None:
    file = tmp_path / "r.txt"
    file.write_text(f"# the team\n\n{IDENTITY.to_public()}\n")
    assert [one.text for one in read_recipients(file)] == [str(IDENTITY.to_public())]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# nobody\n", "r.txt: names nobody"),
        ("\nage1nonsense\n", "r.txt:2: is no age recipient"),
        ("x" * (MAX_FILE + 1), "longer than"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "r.txt"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_recipients(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recipients(tmp_path / "missing")


def test_an_identity_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key.txt"
    file.write_text(f"{IDENTITY}\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="lets others in"):
        identities_in(file)
    file.chmod(0o600)
    assert len(identities_in(file)) == 1
