"""What patterns find, and that none can be made to cost."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.recording.redacting import (
    KNOWN,
    LONGEST_PATTERN,
    BadPattern,
    Redaction,
    compiled,
    shown,
    tally_text,
    unfinished,
)
from tests.support.examples import examples

ALL = Redaction.of()
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\nAAAA+/==\n-----END OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("id AKIAIOSFODNN7EXAMPLE.", "id [redacted:aws-key]."),
        ("aws_secret_access_key = " + "aB3/" * 10, "aws_secret_access_key = [redacted:aws-key]"),
        ("export DB_PASSWORD=hunter2; ls", "export DB_PASSWORD=[redacted:password]; ls"),
        ('password: "two words" x', 'password: "[redacted:password]" x'),
        (
            "tool --token abc --password 'x'",
            "tool --token [redacted:password] --password '[redacted:password]'",
        ),
        ("mysql -u root -psecret db", "mysql -u root -p[redacted:password] db"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted:authorization]"),
        ("psql postgres://me:pw@host/db", "psql postgres://me:[redacted:url-password]@host/db"),
        ("ghp_" + "a" * 36, "[redacted:token]"),
        (
            f"$ cat k\n{KEY}\n$ ls",
            "$ cat k\n-----BEGIN OPENSSH PRIVATE KEY-----[redacted:private-key]"
            "-----END OPENSSH PRIVATE KEY-----\n$ ls",
        ),
        ("Failed password for root from 10.0.0.1", "Failed password for root from 10.0.0.1"),
        ("deploy@web1's password: ", "deploy@web1's password: "),
        ("cat /etc/passwd; ls ~/.ssh/id_rsa.pub", "cat /etc/passwd; ls ~/.ssh/id_rsa.pub"),
        ("password=[redacted:password]", "password=[redacted:password]"),
    ],
)
def test_what_is_known(text: str, masked: str) -> None:
    tally = Counter[str]()
    assert ALL.mask(text, tally) == masked
    assert sum(tally.values()) == masked.count("[redacted:") - text.count("[redacted:")


def test_nothing_of_a_secret_tells_its_length() -> None:
    assert ALL.mask("password=a") == ALL.mask("password=" + "a" * 5000)


def test_own_patterns_and_their_groups() -> None:
    pin = r"(?i)(card|\(x) [[(] pin: *(?P<secret>[0-9]{4})(-(?P<secret>[0-9]))?"
    own = Redaction.of((), {"pin": pin, "t": "TCK[0-9]"})
    assert own.mask("Card ( PIN: 1234-5 TCK1") == f"Card ( PIN: {shown('pin')}-{shown('pin')} {shown('t')}"
    assert own.mask("password=x") == "password=x" and own.digest != ALL.digest
    assert (Redaction({}).digest, Redaction({}).mask("password=x")) == ("", "password=x")


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "no pattern of RE2"),
        ("a(?=b)", "no pattern of RE2"),
        (r"(a)\1", "no pattern of RE2"),
        (r"\Qa", "quotes"),
        ("((((x{100}){100}){100}){100})", "no pattern of RE2"),
        ("x{0,1000}" * 30 + "y{900}" * 90, "no pattern of RE2"),
        ("a*", "empty text"),
        ("", "empty text"),
        ("a" * (LONGEST_PATTERN + 1), f"longer than {LONGEST_PATTERN}"),
    ],
)
def test_a_pattern_that_cannot_be_used_says_why(pattern: str, why: str) -> None:
    with pytest.raises(BadPattern, match=why):
        compiled(pattern)


def test_begin_and_end_are_those_of_lines() -> None:
    assert Redaction.of((), {"x": "^[0-9]+$"}).mask("a\n12\nb 3") == f"a\n{shown('x')}\nb 3"


@pytest.mark.parametrize("pattern", ["(a+)+$b", "(a|a)*b", "(a|aa)+$c", "(.*a){20}b", "(x+x+)+y"])
def test_no_pattern_and_no_line_hold_it_up(pattern: str) -> None:
    began = time.process_time()
    assert Redaction({"bomb": (pattern,)}).spans("a" * 200_000 + "x" * 200_000) == []
    assert time.process_time() - began < 20  # with backtracking: for ever; this takes 0.1


def test_lone_surrogates_are_no_way_past() -> None:
    assert ALL.mask("\ud800 password=x") == "\ud800 password=[redacted:password]"


def test_a_key_goes_on_until_its_end() -> None:
    assert unfinished(KEY[:60]) and unfinished(KEY + KEY[:50])
    assert not unfinished(KEY) and not unfinished("no key")


def test_counts_in_words() -> None:
    assert tally_text(Counter()) == ""
    assert tally_text(Counter(password=1)) == "1 secret is masked (password 1)"
    assert tally_text(Counter(b=2, a=1), "!") == "3 secrets are masked (a 1, b 2)!"


@examples(300)
@given(st.text())
def test_masking_masked_text_changes_nothing(text: str) -> None:
    once = ALL.mask(f"{text} password={text}")
    assert ALL.mask(once) == once


def test_every_known_pattern_is_one() -> None:
    assert all(compiled(one) for several in KNOWN.values() for one in several)
