"""SSHFP records are those that ssh-keygen makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.ca.keys import load_public_keys
from bastion.setup_texts.facts import ClientFacts
from bastion.setup_texts.sshfp import sshfp
from tests.unit.wire.keygen import keygen

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "kind", [("-t", "ed25519"), ("-t", "ecdsa", "-b", "256"), ("-t", "rsa", "-b", "2048")]
)
def test_the_same_as_ssh_keygens(kind: tuple[str, ...], tmp_path: Path) -> None:
    keygen("-q", *kind, "-N", "", "-f", tmp_path / "host")
    keys = load_public_keys(tmp_path / "host.pub")
    facts = ClientFacts("bastion.example.com", 22, "", (), (*keys, *keys))
    record = sshfp(facts).splitlines()
    assert len(record) == 2
    theirs = keygen("-r", "bastion.example.com.", "-f", tmp_path / "host.pub").splitlines()
    assert record[0] in theirs
