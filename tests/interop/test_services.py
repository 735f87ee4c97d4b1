"""A program's account on a real gateway: from its network, to what names it, until it expires."""

from __future__ import annotations

import json

import pytest

from tests.support.sshd import sshd_missing
from tests.support.world import World

pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())]

POLICY = """
[[rule]]
name = "everybody"
groups = ["*"]
targets = ["*"]
logins = ["deploy", "root"]
verbs = ["shell", "exec"]
[[rule]]
name = "backup-job"
users = ["backup"]
targets = ["web1"]
logins = ["root"]
verbs = ["exec"]
"""
USER = """[users.backup]
kind = "service"
keys = [{key}]
owner = "alice"
expires = {end}
sources = ["127.0.0.1"]
"""
ELSEWHERE = ("-b", "127.0.0.2")
HERE = "backup+root+web1"


def test_a_service_is_bound_to_its_network_its_rules_and_its_time() -> None:
    world = World(policy=POLICY)
    try:
        key = json.dumps((world.keys / "alice.pub").read_text().strip())
        world.users.write_text(USER.format(key=key, end="2999-01-01"))
        world.start()
        done = world.ssh("echo in", user=HERE)
        assert (done.returncode, done.stdout) == (0, b"in\n"), done.stderr
        assert world.audit("session_started")[-1]["rules"] == "backup-job", (
            "what is for everybody is for people"
        )
        denied = world.ssh("true", user="backup+deploy+web1")
        assert b'login "deploy" is not yours on web1; yours: root' in denied.stderr
        assert world.ssh("true", user=HERE, options=ELSEWHERE).returncode == 255
        assert world.audit("auth")[-1]["reason"] == "service_source"
        world.certify("alice", ("backup",))
        world.users.write_text(USER.format(key="", end="2999-01-01"))
        world.reload()
        assert world.ssh("true", user=HERE).returncode == 0
        assert world.audit("auth")[-1]["method"] == "certificate"
        assert world.ssh("true", user=HERE, options=ELSEWHERE).returncode == 255
        assert world.audit("auth")[-1]["reason"] == "service_source"
        call = ("services", "--config", str(world.config), "--expiring", "30d", "--json")
        assert world.bastion(*call).returncode == 0
        world.users.write_text(USER.format(key=key, end="2020-01-01"))
        world.reload()
        assert world.ssh("true", user=HERE).returncode == 255
        assert world.audit("auth")[-1]["reason"] == "account_expired"
        listed = world.bastion(*call)
        (row,) = json.loads(listed.stdout)
        assert listed.returncode == 1
        assert (row["name"], row["owner"], row["state"]) == ("backup", "alice", "expired")
    finally:
        world.close()
