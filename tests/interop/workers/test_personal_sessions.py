"""A rule's `max_sessions` on a gateway of two workers."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.sshd import sshd_missing
from tests.support.world import DEFAULT_POLICY, poll, running

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())]


def test_one_person_has_no_more_than_the_rule_says_on_either_worker() -> None:
    with running(workers=2, policy=f"{DEFAULT_POLICY}max_sessions = 2\n") as world:
        held = [
            subprocess.Popen(
                world.ssh_command("echo in; cat"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=world.environment(),
            )
            for _ in range(2)
        ]
        for one in held:
            assert one.stdout is not None and one.stdout.readline() == b"in\n"
        for _ in range(4):  # whichever worker takes it
            done = world.ssh("true")
            assert done.returncode == 255 and b"you may have 2 sessions at a time there" in done.stderr
        assert world.audit("refused")[-1]["reason"] == "user_sessions"
        held[0].communicate()
        poll(lambda: len(world.audit("session_ended")) == 1)
        assert poll(lambda: world.ssh("true").returncode == 0)
        held[1].communicate()
