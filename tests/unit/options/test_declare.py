# ruff: noqa: RUF009 - `option` declares a field
from dataclasses import dataclass

import pytest

from bastion.errors import ConfigError
from bastion.options import (
    At,
    ConfigErrors,
    Problems,
    Scope,
    Source,
    Unreadable,
    declarations,
    dotted,
    option,
    read,
)
from bastion.options.kinds import BOOLEAN, duration, integer, list_of, optional, or_off, section


@dataclass(frozen=True, slots=True)
class Inner:
    count: int = option(integer(1, 9), "How many.", default=3)


@dataclass(frozen=True, slots=True)
class Outer:
    grace: float = option(duration(), "How long.", scope=Scope.RESTART)
    idle: float | None = option(or_off(duration()), "Silence.", default=None)
    flags: tuple[bool, ...] = option(list_of(BOOLEAN), "Flags.", default=())
    inner: Inner = option(section(Inner), "", default=Inner())
    other: Inner | None = option(optional(section(Inner)), "", default=None)

    def validate(self, at: At) -> None:
        if self.grace == 13:
            at.child("grace").wrong("brings bad luck")


def faults(table, lines=None):
    problems = Problems()
    with pytest.raises(Unreadable):
        read(Outer, table, At(Source("x.toml", lines=lines or {}), problems))
    return [str(error) for error in problems.errors]


def test_values_and_defaults():
    made = read(Outer, {"grace": "1m", "inner": {"count": 5}}, At(Source("x"), Problems()))
    assert made == Outer(grace=60.0, inner=Inner(count=5))
    assert made.other is None


def test_all_faults_are_noted_with_their_lines():
    lines = {("grace",): 2, ("flags",): 3, ("flags", 1): 4, ("inner",): 6}
    assert faults({"grace": [], "flags": [True, 1], "inner": {"cuont": 1}, "extra": 1}, lines) == [
        'x.toml: extra: unknown key "extra" (allowed: grace, idle, flags, inner, other)',
        'x.toml:2: grace: [] is not a duration in range (allowed: seconds or a string such as "30s", "15m", '
        '"1h30m", "2d")',
        "x.toml:4: flags[2]: 1 is not a boolean (allowed: true, false)",
        'x.toml:6: inner.cuont: unknown key "cuont", did you mean "count"? (allowed: count)',
    ]


def test_what_is_required_is_missed():
    assert faults({})[0].startswith("x.toml: grace: is required")
    assert faults({"grace": 1, "inner": 5})[0].startswith("x.toml: inner: must be a table")


def test_a_section_looks_at_its_keys_together():
    assert faults({"grace": 13}) == ["x.toml: grace: brings bad luck"]


def test_declarations_tell_what_was_declared():
    grace, idle, flags, inner, other = declarations(Outer)
    assert (grace.required, grace.default_text, grace.scope, grace.help) == (
        True,
        "required",
        "restart",
        "How long.",
    )
    assert (idle.default_text, flags.default_text) == ('"off"', "[]")
    assert (inner.kind.section, other.kind.section, other.default_text) == (Inner, Inner, "not set")


def test_keys_are_shown_counted_from_one():
    assert dotted(("rule", 0, "logins", 2)) == "rule[1].logins[3]"


def test_all_errors_are_one_config_error():
    errors = ConfigErrors([ConfigError("f", 1, "a", "bad"), ConfigError("f", 2, "b", "worse", "better")])
    assert isinstance(errors, ConfigError)
    assert (errors.line, errors.key) == (1, "a")
    assert str(errors) == "f:1: a: bad\nf:2: b: worse (allowed: better)"
