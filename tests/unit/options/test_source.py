"""Where a fault is: its line or that of the table around it, its path as people write it, a word it may have meant."""

from __future__ import annotations

import pytest

from bastion.errors import ConfigError
from bastion.options.source import (
    SHOWN_VALUE_MAX,
    At,
    ConfigErrors,
    Problems,
    Source,
    did_you_mean,
    dotted,
    nearest,
    shown,
)

LINES = {("rule",): 1, ("rule", 1): 7, ("rule", 1, "logins"): 9}


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("rule", 1, "logins"), 9),
        (("rule", 1, "logins", 3), 9),
        (("rule", 1, "name"), 7),
        (("rule", 5), 1),
        ((), 0),
        (("x",), 0),
    ],
)
def test_a_place_has_the_line_of_the_nearest_table(path: tuple[str | int, ...], line: int) -> None:
    assert Source("p", lines=LINES).line(path) == line


def test_faults_are_noted_in_their_order_and_told_together() -> None:
    problems = Problems()
    problems.raise_any()
    at = At(Source("policy.toml", lines=LINES), problems).child("rule").child(1)
    at.child("logins").wrong("is empty", "names")
    at.wrong("has no targets")
    with pytest.raises(ConfigErrors) as caught:
        problems.raise_any()
    told = [
        "policy.toml:9: rule[2].logins: is empty (allowed: names)",
        "policy.toml:7: rule[2]: has no targets",
    ]
    assert str(caught.value).splitlines() == told
    assert isinstance(caught.value, ConfigError) and caught.value.line == 9


def test_paths_count_from_one() -> None:
    assert dotted(("rule", 2, "logins")) == "rule[3].logins"
    assert dotted(()) == ""


def test_a_word_is_guessed_only_when_it_looks_like_one() -> None:
    known = ("targets", "logins", "verbs")
    assert nearest("Target", known) == "targets" and nearest("xyz", known) == ""
    assert did_you_mean("login", known) == ', did you mean "logins"?' and did_you_mean("xyz", known) == ""


def test_a_value_is_shown_printable_and_short() -> None:
    assert (shown("a"), shown(5), shown("\x1b[2J")) == ("'a'", "5", r"'\x1b[2J'")
    assert shown(["\u202e"]).isprintable()
    assert len(shown("x" * 500)) == SHOWN_VALUE_MAX and shown("x" * 500).endswith("...")
