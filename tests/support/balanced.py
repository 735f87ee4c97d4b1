"""Two gateways of two workers behind a real HAProxy, with a real PostgreSQL and a real S3 server, as one.

Engineers come through `front`. `agree` holds against each other what was done, the index, the ledgers and the bucket.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bastion.state.database import Database, Place
from bastion.state.schema import RECORDINGS, SESSIONS
from tests.support.haproxy import Balancer, put_behind_balancer
from tests.support.killing import KillWorld
from tests.support.nodes import NAMES, Pair
from tests.support.postgres import PASSWORD, Postgres
from tests.support.s3 import BUCKET, S3Server
from tests.support.state import rows
from tests.support.world import poll

PATIENCE = 60.0
"""Seconds until a recording that has ended is in the bucket: a look every 5 s, on a busy machine."""


class Balanced:
    """Use `balanced()`."""

    def __init__(self, server: Postgres, s3: S3Server) -> None:
        self.server, self.s3 = server, s3
        self.pair = Pair(server, more={name: s3.section(prefix=f"{name}/") for name in NAMES})
        self.one, self.two = self.pair.one, self.pair.two
        self.two.policy_file.write_text(self.one.policy_file.read_text())
        for world in self.worlds:
            put_behind_balancer(world)
        self._balancer: Balancer[KillWorld] | None = None

    @property
    def worlds(self) -> list[KillWorld]:
        return self.pair.worlds

    @property
    def balancer(self) -> Balancer[KillWorld]:
        assert self._balancer is not None
        return self._balancer

    @property
    def front(self) -> KillWorld:
        """What engineers reach."""
        return self.balancer.front

    def start(self) -> Balanced:
        self.pair.start()
        self._balancer = Balancer(self.worlds).start()
        self._all_up()
        return self

    def _all_up(self) -> None:
        for name in NAMES:
            poll(lambda name=name: self.balancer.is_up(name), 20, f"{name} is not up")

    def start_again(self) -> None:
        """Whichever does not run."""
        for world in self.worlds:
            if not world.running:
                world.start()
        self.pair.together()
        self._all_up()

    def close(self) -> None:
        if self._balancer is not None:
            self._balancer.close()
        self.pair.close()

    # -- what was done, and what is known of it ----------------------------------------------------------

    def table(self, table: Any) -> list[dict[str, Any]]:
        """Its rows."""
        database = Database(Place(self.one.folder, self.server.url), PASSWORD)
        try:
            return [dict(row) for row in rows(database, table)]
        finally:
            database.close()

    def rows_written(self) -> None:
        """Wait until no gateway owes a row."""
        for world in self.worlds:
            poll(lambda w=world: w.metric("bastion_state_owed_rows") == 0, PATIENCE, "rows are owed still")

    def uploaded(self, *worlds: KillWorld) -> None:
        """Wait until nothing of these waits for the bucket."""
        for world in worlds or self.worlds:
            poll(lambda w=world: not local(w), PATIENCE, "local copies stay")

    def rows_agree(self, world: KillWorld, name: str) -> dict[str, dict[str, Any]]:
        """Every session of this gateway is told once by its log, and by one row that says the same. Those rows, by
        session."""
        began = [line["session"] for line in world.audit("session_started")]
        over = {line["session"]: line for line in world.audit("session_ended")}
        assert Counter(began) == Counter(line["session"] for line in world.audit("session_ended"))
        rows = {
            row["id"]: row for row in self.table(SESSIONS) if (row["node"], row["kind"]) == (name, "session")
        }
        assert rows.keys() == set(began)
        for session, row in rows.items():
            told = over[session]
            assert (row["state"], row["reason"]) == ("ended", told["reason"]), session
            moved = row["bytes_in"], row["bytes_out"], row["channels"]
            assert moved == (told["bytes_in"], told["bytes_out"], told["channels"]), session
        return rows

    def agree(self, world: KillWorld, name: str) -> int:
        """The same, and its recordings are in the bucket, once and whole, as its ledger has them. How many sessions
        that are."""
        rows = self.rows_agree(world, name)
        files = {row["session_id"]: row["stored"] for row in self.table(RECORDINGS) if row["node"] == name}
        objects = {key for key in self.s3.names() if key.startswith(f"{name}/")}
        assert {f"s3://{BUCKET}/{key}" for key in objects} == set(files.values())
        assert files.keys() == rows.keys() and len(objects) == len(rows) and not local(world)
        done = command(world, "verify", "--store", "--json")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        states = {Path(one["file"]).stem: one["state"] for one in json.loads(done.stdout)}
        assert len(json.loads(done.stdout)) == len(states)
        assert states == {
            session: "incomplete" if row["reason"] == "gateway_died" else "whole"
            for session, row in rows.items()
        }
        done = command(world, "state", "check")
        assert done.returncode == 0, done.stdout
        return len(rows)


def command(world: KillWorld, *words: str) -> subprocess.CompletedProcess[bytes]:
    """A `bastion` command with that gateway's configuration."""
    return subprocess.run(
        [sys.executable, "-m", "bastion", *words, "--config", str(world.config)],
        capture_output=True,
        timeout=300,
    )


def local(world: KillWorld) -> list[Path]:
    """Recordings that are in its folder."""
    return sorted(world.recordings.glob("*/*.rec"))


@contextlib.contextmanager
def balanced() -> Iterator[Balanced]:
    """Two gateways that reach each other, and HAProxy reaches."""
    with Postgres() as server, contextlib.closing(S3Server().start().make_buckets()) as s3:
        made = Balanced(server, s3)
        try:
            yield made.start()
        finally:
            made.close()
