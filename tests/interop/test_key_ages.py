"""A key that has logged in for too long: told once a day, shown by keys-of, and let in all the same."""

from __future__ import annotations

import json
import sqlite3

import pytest

from tests.support.sshd import keygen, sshd_missing
from tests.support.world import poll, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

LOGIN = '[login]\nkey_age = "90d"\n'


def test_an_old_key_is_told_of_once_a_day_by_all_workers_together() -> None:
    with running(config=LOGIN, workers=2) as world:
        print_ = keygen("-lf", str(world.keys / "alice.pub")).split()[1]
        assert world.ssh("true").returncode == 0
        database = world.recordings / "state" / "state.db"

        def rows() -> list[tuple[str, str]]:
            with sqlite3.connect(database) as connection:
                return connection.execute("SELECT uid, fingerprint FROM key_ages").fetchall()

        assert poll(rows, text="the login is not kept") == [("u-alice", print_)]
        assert world.audit("old_key") == []
        world.kill()
        with sqlite3.connect(database) as connection:
            connection.execute("UPDATE key_ages SET first_seen = first_seen - 100 * 86400")
        connection.close()
        world.start()
        for _ in range(6):  # on either worker
            assert world.ssh("true").returncode == 0
        (line,) = world.new_audit("old_key")
        assert (line["user"], line["uid"], line["key"], line["days"]) == ("alice", "u-alice", print_, 100)
        assert world.metric("bastion_old_keys_total") == 1 and len(world.audit("old_key")) == 1
        shown = world.bastion("keys-of", "alice", "--config", str(world.config))
        assert f"older than 90d (login.key_age): {print_}" in shown.stdout.decode()
        listed = world.bastion("keys-of", "alice", "--json", "--config", str(world.config))
        (key,) = json.loads(listed.stdout)["keys"]
        assert line["first_seen"] == pytest.approx(key["first_used"])
