"""`[redact]`: what is masked, and faults told by line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from bastion.config.outputs import read_section
from bastion.config.redact import Redact
from bastion.errors import ConfigError
from bastion.recording.redacting import KNOWN, MOST_PATTERNS


def section(folder: Path, text: str) -> Redact:
    file = folder / "bastion.toml"
    file.write_text(f"[redact]\n{text}\n")
    return read_section(file, Redact)


def test_without_a_word_all_that_is_known_is_masked(tmp_path: Path) -> None:
    assert set(section(tmp_path, "").redaction.patterns) == set(KNOWN)
    assert Redact().redaction.mask("password=x") == "password=[redacted:password]"


def test_own_patterns_stand_beside_the_known_or_alone(tmp_path: Path) -> None:
    chosen = section(tmp_path, "known = ['token']\npatterns = { ticket = 'TCK-[0-9]{4}' }").redaction
    assert chosen.mask("password=x TCK-1234") == "password=x [redacted:ticket]"
    assert section(tmp_path, "known = []").redaction.digest == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("patterns = { bad = '(' }", "redact.patterns.bad: '(' is no pattern of RE2: missing )"),
        ("patterns = { bad = 'a*' }", "finds something in an empty text"),
        ("patterns = { bad = 7 }", "must be a string"),
        ("patterns = { Bad = 'x' }", "is not a valid key"),
        ("patterns = { password = 'x' }", "redact.patterns.password: is the name of one that is known"),
        (f"patterns = {{ bad = '{'a' * 1001}' }}", "longer than 1000 characters"),
        ("known = ['passwords']", "password"),
        ("unredacted_group = 'A B'", "redact.unredacted_group"),
        (
            "patterns = { " + ", ".join(f"p{n} = 'x{n}'" for n in range(MOST_PATTERNS + 1)) + " }",
            f"has {MOST_PATTERNS + 1} patterns",
        ),
    ],
)
def test_faults_are_told_by_line_and_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        section(tmp_path, text)
    assert words in str(caught.value) and "bastion.toml:2" in str(caught.value)
