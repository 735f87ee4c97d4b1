"""age recipients and identities: every mistyped one is told, and what is sealed is opened by each of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyrage
import pytest

from bastion import age
from bastion.errors import ConfigError
from tests.unit.wire.keygen import make_key

# From the age specification's README and from `age-keygen`.
GOOD = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
IDENTITY = pyrage.x25519.Identity.generate()
OTHER = pyrage.x25519.Identity.generate()

# bech32 of eight zero bytes with the names `age1toy` and `AGE-PLUGIN-TOY-` (BIP 173).
TOY = "age1toy1qqqqqqqqqqqqqdhr3z5"

PLUGIN = """\
#!{python}
# An age plugin (recipient-v1) that wraps by turning the bits around.
import base64, sys
def unpadded(data): return base64.b64encode(data).rstrip(b"=").decode()
keys, line = [], sys.stdin.readline()
while line.strip() != "-> done":
    if line.startswith("-> wrap-file-key"):
        body = sys.stdin.readline().strip()
        keys.append(base64.b64decode(body + "=" * (-len(body) % 4)))
    line = sys.stdin.readline()
sys.stdin.readline()
for number, key in enumerate(keys):
    sys.stdout.write(f"-> recipient-stanza {{number}} toy\\n{{unpadded(bytes(255 - b for b in key))}}\\n")
    sys.stdout.flush()
    sys.stdin.readline(), sys.stdin.readline()
sys.stdout.write("-> done\\n\\n")
"""


def test_what_age_keygen_prints_is_a_recipient() -> None:
    assert age.parse_recipient(GOOD).plugin == ""


@pytest.mark.parametrize("place", range(4, len(GOOD)))
def test_one_wrong_letter_anywhere_is_told(place: int) -> None:
    wrong = "q" if GOOD[place] != "q" else "p"
    with pytest.raises(ValueError, match="mistyped"):
        age.parse_recipient(GOOD[:place] + wrong + GOOD[place + 1 :])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no age recipient"),
        (GOOD[:-1], "no age recipient"),
        (GOOD + "q", "no age recipient"),
        ("ssh-ed25519 AAAA", "no age recipient"),
        (GOOD.replace("z", "b", 1), "no age recipient"),
        ("AGE-SECRET-KEY-1QQPQ", "secret key"),
        ("AGE-PLUGIN-YUBIKEY-1QQPQ", "secret key"),
    ],
)
def test_what_is_none_is_told_why(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        age.parse_recipient(text)


def test_a_list_names_its_file_and_line_and_takes_each_once() -> None:
    lines = ["# the team", "", GOOD, str(IDENTITY.to_public()), GOOD]
    assert [one.text for one in age.recipients_of(lines, "r.txt")] == [GOOD, lines[3]]
    with pytest.raises(ConfigError, match=r"r\.txt:2: is no age recipient"):
        age.recipients_of(["# x", "age1nonsense"], "r.txt")
    many = [str(pyrage.x25519.Identity.generate().to_public()) for _ in range(age.MAX_RECIPIENTS + 1)]
    with pytest.raises(ConfigError, match="more than 32"):
        age.recipients_of(many, "r.txt")


def test_each_recipient_opens_it_and_nobody_else(tmp_path: Path) -> None:
    path = make_key(tmp_path, "ed25519", "-t", "ed25519")
    ssh = path.with_name("ed25519.pub").read_text().strip()
    sealed = age.seal(b"secret", age.recipients_of([str(IDENTITY.to_public()), ssh]))
    assert b"secret" not in sealed
    assert age.unseal(sealed, age.identities_of(str(IDENTITY).encode(), "i")) == b"secret"
    assert age.unseal(sealed, age.identities_of(path.read_bytes(), "i")) == b"secret"
    with pytest.raises(ValueError, match="cannot be opened"):
        age.unseal(sealed, [OTHER])
    with pytest.raises(ValueError, match="cannot be opened"):
        age.unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), [IDENTITY])
    with pytest.raises(ValueError, match="nobody"):
        age.seal(b"secret", [])


@pytest.mark.parametrize("data", [b"", b"# none\n", b"nonsense\n", b"\xff\n", b"-----BEGIN nothing\n"])
def test_a_file_without_an_identity_is_named(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"key\.txt: holds no age identity"):
        age.identities_of(data, "key.txt")


def test_a_plugin_wraps_and_a_missing_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = age.parse_recipient(TOY)
    assert toy.plugin == "toy"
    with pytest.raises(ValueError, match="toy"):
        age.seal(b"secret", [toy])
    program = tmp_path / "age-plugin-toy"
    program.write_text(PLUGIN.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    sealed = age.seal(b"secret", [toy, *age.recipients_of([str(IDENTITY.to_public())])])
    assert b"-> toy" in sealed and age.unseal(sealed, [IDENTITY]) == b"secret"
