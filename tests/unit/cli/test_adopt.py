"""`bastion adopt` on the disk of a gateway that died here: rows, ends, ledger and log, and what it refuses to touch."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bastion.archive.spool import LOCK_NAME
from bastion.assembly import uploading
from bastion.assembly.inheriting import seen_at
from bastion.ca.keys import write_private_key
from bastion.cli.adopt import adopt
from bastion.cli.state import state
from bastion.cli.verify import verify
from bastion.clock import SystemClock
from bastion.config.start import read_sections
from bastion.recording.booking import Books
from bastion.recording.keys import Sealing
from bastion.recording.listing import day_of
from bastion.recording.store import Store
from bastion.state.changes import apply
from bastion.state.database import Database, Place
from bastion.state.journal import Journal
from bastion.state.rows import TunnelStart, Writer, node_seen, session_started, tunnel_started
from bastion.state.schema import LEDGER_HEADS, SESSIONS
from bastion.state.schema_version import check_schema
from bastion.state.store import home_of
from bastion.wire.keys import PrivateKey
from tests.support.net import LOOPBACK, free_port
from tests.support.sinks import Receiver
from tests.support.state import rows
from tests.support.world import poll
from tests.unit.cli.made import FIRST, SECOND, THIRD, header
from tests.unit.config.site import Site
from tests.unit.recording.disk import say

pytestmark = pytest.mark.slow


LOST = Writer("gw1", "elsewhere.1")


class Left(Site):
    """The disk of gw1, which died with FIRST and SECOND open, and owes the rows of SECOND. THIRD had ended."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.recordings, self.state = folder / "recordings", folder / "recordings" / "state"
        self.write("bastion.toml", self.config.read_text() + '[state]\nnode = "gw1"\n')
        self.instance = f"{home_of(self.state)}.1.dead"
        key = PrivateKey.generate_ed25519()
        write_private_key(self.state / "recording_key", key)
        self.database = Database(Place.chosen(self.recordings, None, None, None), "")
        check_schema(self.database)
        books = Books(self.recordings, "gw1", SystemClock())
        store = Store(self.recordings, disk_floor_bytes=0, books=books, sealing=lambda: Sealing(key, "gw1"))
        self.owed = Journal(self.state, self.instance)
        self.owed.open()
        for name in (FIRST, SECOND, THIRD):
            about = header(name, "alice", "web1", SystemClock().time())
            recorder, writer = store.start(about)
            path = str(writer.path.relative_to(self.recordings))
            changes = session_started(about, path, Writer("gw1", self.instance))
            if name == SECOND:
                self.owed.append([change.line() for change in changes], 0.0)
            else:
                with self.database.write() as connection:
                    apply(connection, changes)
            say(recorder, writer, b"hello")
            if name == THIRD:
                writer.close(recorder.finish("client_closed"), recorder.link)
            else:
                writer.close()
            poll(lambda writer=writer: writer.closed)
        assert store.close()

    def die(self) -> Left:
        """Its lock on what it owes goes with it."""
        os.close(self.owed._fd)
        return self

    @property
    def day(self) -> str:
        return day_of(SystemClock().time())

    def adopt(self, *words: str) -> Result:
        return CliRunner().invoke(adopt, ["--config", str(self.config), *words])

    def done(self) -> dict[str, Any]:
        result = self.adopt("--json")
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    def sessions(self) -> dict[str, tuple[str, str]]:
        return {row["id"]: (row["state"], row["reason"]) for row in rows(self.database, SESSIONS)}

    def lines(self, event: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in (self.folder / "audit.jsonl").read_text().splitlines()]
        return [line for line in found if line["event"] == event]

    def file(self, session: str) -> Path:
        (found,) = self.recordings.glob(f"*/{session}.rec")
        return found


@pytest.fixture
def left(tmp_path: Path) -> Left:
    return Left(tmp_path)


def test_rows_ends_ledger_and_log_are_brought_to_an_end_once(left: Left) -> None:
    left.die()
    assert left.done() == {
        "node": "gw1",
        "rows": 2,
        "sessions": 3,
        "recordings": 2,
        "unended": [],
        "sinks": {},
    }
    assert left.sessions() == {
        FIRST: ("ended", "gateway_died"),
        SECOND: ("ended", "gateway_died"),
        THIRD: ("ended", "client_closed"),
    }
    assert {line["session"] for line in left.lines("session_ended")} == {FIRST, SECOND}
    (line,) = left.lines("node_adopted")
    assert (line["rows"], line["sessions"], line["recordings"], line["unended"]) == (2, 3, 2, 0)
    (head,) = rows(left.database, LEDGER_HEADS)
    told = left.lines("ledger_head")[-1]
    assert (head["node"], head["serial"], head["digest"]) == ("gw1", told["serial"], told["digest"])
    checked = CliRunner().invoke(verify, ["--all", "--config", str(left.config)])
    assert checked.exit_code == 0, checked.output
    assert CliRunner().invoke(state, ["check", "--config", str(left.config)]).exit_code == 0
    again = left.done()
    assert again == {"node": "gw1", "rows": 0, "sessions": 0, "recordings": 0, "unended": [], "sinks": {}}
    assert len(left.lines("session_ended")) == 2
    assert "0 recordings have got their end" in left.adopt().stdout


def test_what_lives_or_is_not_there_is_not_touched(left: Left, tmp_path: Path) -> None:
    before = left.file(FIRST).read_bytes()
    refused = left.adopt()
    assert refused.exit_code == 1 and "runs here" in refused.output
    left.die()
    with (left.state / LOCK_NAME).open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = left.adopt()
        assert refused.exit_code == 1 and "somebody holds it" in refused.output
    left.edit('node = "gw1"', 'node = "gw9"')
    refused = left.adopt()
    assert refused.exit_code == 1 and "another gateway than gw9" in refused.output
    left.edit('node = "gw9"', 'node = "gw1"')
    (left.state / "recording_key").rename(tmp_path / "away")
    refused = left.adopt()
    assert refused.exit_code == 2 and "that gateway's own key" in refused.output
    shutil.move(tmp_path / "away", left.state / "recording_key")
    (left.state / "home").rename(tmp_path / "home")
    refused = left.adopt()
    assert refused.exit_code == 1 and "is its disk mounted there?" in refused.output
    assert left.file(FIRST).read_bytes() == before and left.sessions()[FIRST] == ("live", "")
    assert not (left.folder / "audit.jsonl").exists()
    left.edit("[policy]", "[polish]")
    refused = left.adopt()
    assert refused.exit_code == 2 and "polish" in refused.output


def test_one_that_is_damaged_is_named_and_holds_up_no_other(left: Left) -> None:
    left.die()
    file = left.file(FIRST)
    file.write_bytes(file.read_bytes()[:40] + b"\xff" * 400)
    result = left.adopt()
    assert result.exit_code == 3 and f"no end: {FIRST}: " in result.stdout
    assert "1 recordings have got their end" in result.stdout
    assert left.sessions()[SECOND] == ("ended", "gateway_died")
    assert left.sessions()[FIRST] == ("incomplete", "gateway_died"), "told, and not told again"
    assert left.adopt().exit_code == 0


def test_a_bucket_that_is_away_is_not_waited_for(left: Left, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "PATIENCE", 0.5)
    left.write("secret", "s\n", 0o600)
    left.write(
        "bastion.toml",
        left.config.read_text() + '[recording.store]\nkind = "s3"\nbucket = "recordings"\npath_style = true\n'
        f'endpoint = "http://{LOOPBACK}:{free_port()}"\naccess_key = "a"\nsecret_file = "secret"\n',
    )
    left.die()
    result = left.adopt("--json")
    assert result.exit_code == 3, result.output
    said = json.loads(result.stdout)
    assert (said["recordings"], said["uploaded"], said["waiting"]) == (2, 0, 3)
    assert "recordings wait in the spool (3)" in result.stderr
    assert left.sessions()[FIRST] == ("ended", "gateway_died") and left.file(FIRST).exists()
    sections = read_sections(left.config)
    assert sections is not None and sections.recording.store.kind == "s3"


def test_sinks_get_what_they_had_not_and_one_that_is_away_is_named(left: Left) -> None:
    with Receiver() as receiver:
        section = f'[audit.sinks.siem]\nkind = "loki"\nurl = "{receiver.url}"\n'
        left.write("bastion.toml", left.config.read_text() + section)
        left.die()
        assert left.done()["sinks"] == {"siem": 0}
        lines = (left.folder / "audit.jsonl").read_text().splitlines()
        assert [json.loads(text)["seq"] for text in receiver.got] == [
            json.loads(line)["seq"] for line in lines
        ]
        assert len(lines) >= 4, "two ends, who adopted them, the ledger's head"
    refused = left.adopt()
    assert refused.exit_code == 3 and "siem: 2 lines of the log wait: unreachable: " in refused.stdout
    receiver.start()
    try:
        done = left.adopt()
        assert done.exit_code == 0 and "siem: has the whole log" in done.stdout
    finally:
        receiver.stop()


def test_sessions_of_a_gateway_whose_disk_is_lost_are_live_no_more(left: Left) -> None:
    left.die()
    there = left.file(FIRST).parent.rename(left.folder / "lost")
    (left.owed._file).rename(left.folder / "lost.owed")
    left.edit('node = "gw1"', 'node = "gw2"')
    assert left.adopt("--lost", "gw2").exit_code == 1 and left.adopt("--lost", "gw1").exit_code == 1
    with left.database.write() as connection:
        apply(connection, [node_seen("gw1", "1", 5.0, 65.0)])
        apply(
            connection, [tunnel_started(TunnelStart("c/1", "c", "a", "u", "h", 1, "h", "s", "", 5.0), LOST)]
        )
    done = left.adopt("--lost", "gw1", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["sessions"] == 3
    assert left.sessions() == dict.fromkeys((FIRST, THIRD, "c/1"), ("incomplete", ""))
    assert left.lines("node_adopted")[-1]["node"] == "gw1"
    left.edit('node = "gw2"', 'node = "gw1"')  # the disk turns up
    there.rename(left.recordings / left.day)
    (left.folder / "lost.owed").rename(left.owed._file)
    assert left.done()["recordings"] == 2
    assert left.sessions()[FIRST] == left.sessions()[SECOND] == ("ended", "gateway_died")


def test_when_a_gateway_was_seen_last_is_asked_of_the_store(left: Left) -> None:
    assert seen_at(left.database, "gw1") == 0.0
    with left.database.write() as connection:
        apply(connection, [node_seen("gw1", "1", 5.0, 65.0)])
    assert (seen_at(left.database, "gw1"), seen_at(left.database, "gw2")) == (65.0, 0.0)
