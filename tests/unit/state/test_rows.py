"""What the gateway knows becomes rows, and rows become what was known."""

from __future__ import annotations

import json

from bastion.recording.format import Header
from bastion.state.changes import DROP, Change, apply, read_line
from bastion.state.database import Database
from bastion.state.rows import (
    ENDED,
    LIVE,
    Lock,
    Moved,
    TunnelStart,
    Writer,
    config_loaded,
    lock_added,
    lock_removed,
    node_seen,
    session_ended,
    session_started,
    tunnel_ended,
    tunnel_started,
)
from bastion.state.schema import CONFIGS, LOCKS, NODES, RECORDINGS, SESSIONS
from tests.support.state import rows

GW = Writer("gw1", "home.1.aa", "d1")
HEADER = Header(
    session_id="abcdefghijklmnop", identity="alice", uid="u1", target="web1", login="root", started_at=100.0,
    host="10.0.0.1", port=22, source_address="192.0.2.1", rules=("ops", "all"), door="jump",
    certificate_serial=(1 << 64) - 1,
)  # fmt: skip


def write(database: Database, *changes: Change) -> None:
    with database.write() as connection:
        apply(connection, [read_line(change.line()) for change in changes])


def test_a_session_is_a_row_from_its_start_and_complete_at_its_end(database: Database) -> None:
    write(database, *session_started(HEADER, "1970-01-01/abcdefghijklmnop.rec", GW))
    (row,), (file,) = rows(database, SESSIONS), rows(database, RECORDINGS)
    assert (row["state"], row["identity"], row["rules"], row["ended_at"]) == (LIVE, "alice", "ops,all", None)
    assert (row["node"], row["instance"], row["config"]) == ("gw1", "home.1.aa", "d1")
    assert Header.from_document(json.loads(row["header"])) == HEADER
    assert (file["path"], file["state"]) == ("1970-01-01/abcdefghijklmnop.rec", LIVE)
    moved = Moved(3, 4, 2, 1, {"exec": 2})
    write(database, *session_ended(HEADER.session_id, ENDED, 160.5, "idle", moved, 999))
    (row,), (file,) = rows(database, SESSIONS), rows(database, RECORDINGS)
    assert (row["state"], row["ended_at"], row["reason"]) == (ENDED, 160.5, "idle")
    assert (row["bytes_in"], row["bytes_out"], row["channels"], row["opaque"]) == (3, 4, 2, 1)
    assert json.loads(row["summary"]) == {"exec": 2}
    assert (file["size"], file["state"]) == (999, ENDED)


def test_a_start_that_comes_again_after_the_end_takes_nothing_back(database: Database) -> None:
    start = session_started(HEADER, "x", GW)
    end = session_ended(HEADER.session_id, ENDED, 160.5, "idle", Moved(1, 2), 3)
    write(database, *start, *end, *start)
    assert rows(database, SESSIONS)[0]["state"] == rows(database, RECORDINGS)[0]["state"] == ENDED


def test_a_tunnel_is_a_row_without_a_recording(database: Database) -> None:
    tunnel = TunnelStart(
        "conn/3", "conn", "alice", "u1", "db1", 5432, "10.0.0.9", "192.0.2.1", "forwards", 50.0
    )
    write(database, tunnel_started(tunnel, GW))
    write(database, tunnel_ended("conn/3", ENDED, 60.0, "far_closed", Moved(7, 8, 1, 1)))
    (row,) = rows(database, SESSIONS)
    assert (row["kind"], row["target"], row["host"], row["port"]) == ("tunnel", "db1", "10.0.0.9", 5432)
    assert (row["state"], row["bytes_in"], row["bytes_out"]) == (ENDED, 7, 8)
    assert rows(database, RECORDINGS) == []


def test_a_lock_takes_the_place_of_one_of_the_same_until_it_is_removed(database: Database) -> None:
    write(database, lock_added(Lock("user", "bob", "left", "carol", 1.0)))
    write(database, lock_added(Lock("user", "bob", "back on monday", "carol", 2.0, 9.0)))
    assert [Lock(**row) for row in rows(database, LOCKS)] == [
        Lock("user", "bob", "back on monday", "carol", 2.0, 9.0)
    ]
    write(database, lock_removed("user", "bob", 2.0), lock_removed("user", "nobody", 1.0))
    assert rows(database, LOCKS) == []


def test_of_two_locks_in_one_place_the_later_stays_whoever_writes_last(database: Database) -> None:
    later, earlier = Lock("user", "bob", "b", "carol", 2.0), Lock("user", "bob", "a", "dave", 1.0)
    write(database, lock_added(later), lock_added(earlier))
    assert [Lock(**row) for row in rows(database, LOCKS)] == [later]
    write(database, lock_removed("user", "bob", 1.0))  # which another gateway has owed for a while
    assert [Lock(**row) for row in rows(database, LOCKS)] == [later]
    write(database, Change(DROP, "locks", {"kind": "user", "value": "bob"}))  # as the version before had it
    assert rows(database, LOCKS) == []


def test_a_node_is_seen_and_a_configuration_keeps_who_loaded_it_first(database: Database) -> None:
    write(database, node_seen("gw1", "1", 1.0, 1.0), node_seen("gw1", "1", 1.0, 61.0))
    assert [row["seen_at"] for row in rows(database, NODES)] == [61.0]
    write(
        database, config_loaded("d", "gw1", 1.0, "start", "1"), config_loaded("d", "gw1", 2.0, "reload", "2")
    )
    assert [(row["loaded_at"], row["loaded_by"]) for row in rows(database, CONFIGS)] == [(1.0, "start")]
