"""The trace of messages: every leg, names and sizes, and nothing of what anybody said."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.jump import JumpWorld
from tests.support.world import PASSWORD, poll, running

pytestmark = pytest.mark.interop

LINE = re.compile(
    r"\S+ \[bastion\.trace#info\] (?P<id>[a-z2-7]{16}) (?P<leg>front|inner|target) (?P<way>in|out)"
    r" (?P<message>[A-Z]+(?:_[A-Z]+)*(?:_\d\d)?|number \d+)(?P<size> \d+)?(?P<channel> channel \d+)?"
)
COMMAND = "cat; echo said-by-the-target; : a-word-of-the-command"
TYPED = b"typed-by-the-engineer\n"
UNSAID = (PASSWORD, "typed-by", "said-by", "a-word-of", "alice", "root")


@pytest.fixture
def world() -> Iterator[JumpWorld]:
    made = JumpWorld()
    made.serve_options = ("--trace-messages",)
    try:
        made.start()
        yield made
    finally:
        made.close()


def traced(world: JumpWorld) -> list[re.Match[str]]:
    """The lines so far. Every one of them has the form, and so has no room for anything else."""
    lines = [line for line in world.log.read_text().splitlines() if "bastion.trace" in line]
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return [match for match in found if match]


def test_a_session_is_traced_on_both_legs_and_tells_no_secret(world: JumpWorld) -> None:
    options = ("-o", "PreferredAuthentications=password")
    done = world.ssh(COMMAND, key=None, password=PASSWORD, options=options, stdin=TYPED)
    assert done.stdout == TYPED + b"said-by-the-target\n"
    (ended,) = poll(lambda: world.audit("session_ended"))
    found = traced(world)
    assert {match["id"] for match in found} == {ended["session"]}
    seen = {(match["leg"], match["way"], match["message"]) for match in found}
    assert seen >= {
        ("front", "in", "KEXINIT"),
        ("front", "in", "USERAUTH_REQUEST"),
        ("front", "out", "USERAUTH_SUCCESS"),
        ("front", "in", "CHANNEL_DATA"),
        ("target", "out", "CHANNEL_DATA"),
        ("target", "in", "CHANNEL_REQUEST"),
        ("front", "out", "CHANNEL_CLOSE"),
    }
    assert not any(match["size"] for match in found if match["message"] == "USERAUTH_REQUEST")
    data = [match for match in found if match["message"] == "CHANNEL_DATA"]
    assert all(match["channel"] == " channel 0" and int(match["size"]) > 9 for match in data)
    log = world.log.read_text()
    assert [word for word in UNSAID if word in log] == []


def test_a_jump_is_traced_outside_inside_and_at_the_target(world: JumpWorld) -> None:
    assert world.jump("true").returncode == 0
    (outer,) = poll(lambda: world.audit("outer_ended"))
    (inner,) = poll(lambda: world.audit("session_ended"))
    assert {(match["leg"], match["id"]) for match in traced(world)} == {
        ("front", outer["connection"]),
        ("inner", inner["session"]),
        ("target", inner["session"]),
    }


def test_nothing_is_traced_unless_it_is_asked_for() -> None:
    with running() as world:
        assert world.ssh("true").returncode == 0
        assert "bastion.trace" not in world.log.read_text()
