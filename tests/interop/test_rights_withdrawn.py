"""Who is removed opens nothing new on a connection that is open, and loses the sessions whose rules say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sshd import sshd_missing
from tests.support.world import DEFAULT_POLICY, World, poll, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

ENDS = DEFAULT_POLICY + "end_withdrawn = true\n"
GONE = b"bastion: your account has been locked or removed (ref "


@pytest.fixture
def world() -> Iterator[World]:
    with running(policy=ENDS) as made:
        yield made


def disable(world: World, name: str = "alice") -> None:
    text = world.users.read_text()
    world.users.write_text(text.replace(f"[users.{name}]\n", f"[users.{name}]\ndisabled = true\n"))
    world.reload()


def test_a_session_of_a_disabled_account_ends_with_a_line_that_says_so(world: World) -> None:
    """On a terminal as a line, for everybody as the DISCONNECT."""
    with world.client("-tt", "cat") as client:
        client.echo(b"here\r")
        disable(world)
        assert client.wait() == 255
        assert GONE in client.out
        assert GONE.removeprefix(b"bastion: ") in client.err
    (ended,) = world.new_audit("session_ended")
    assert ended["reason"] == "rights_withdrawn"
    assert world.metric('bastion_sessions_ended_total{door="direct",reason="rights_withdrawn"}') == 1


def test_a_session_that_no_rule_allows_any_more_ends(world: World) -> None:
    with world.client("cat") as client:
        client.echo(b"here")
        world.policy_file.write_text(ENDS.replace('"ops"', '"nobody"'))
        world.reload()
        assert client.wait() == 255
        assert b"bastion: no rule lets you do this any more (ref " in client.err


def test_without_the_rule_a_session_keeps_what_it_began_with(world: World) -> None:
    world.policy_file.write_text(DEFAULT_POLICY)
    world.reload()
    with world.client("cat") as client:
        client.echo(b"here")
        disable(world)
        client.echo(b"still here")
        client.end_input()
        assert client.wait() == 0


def test_an_old_connection_of_a_disabled_account_ends(world: World, tmp_path: Path) -> None:
    control = ("-o", f"ControlPath={tmp_path}/c")
    with world.client("-N", user="alice", options=("-o", "ControlMaster=yes", *control)) as master:
        poll(lambda: (tmp_path / "c").exists(), text="no master connection")
        assert world.ssh("whoami", user="alice", options=control).returncode == 0
        disable(world)
        assert master.wait() == 255 and GONE.removeprefix(b"bastion: ") in master.err
    with world.refuses("publickey", "account_locked"):
        assert world.ssh("whoami", user="alice").returncode == 255
