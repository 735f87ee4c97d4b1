"""`bastion verify --all`: recordings that are gone or were replaced, and a ledger that was rolled back, are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from click.testing import CliRunner, Result

from bastion.cli.verify import verify
from bastion.cli.verify_ledger import told_in_audit
from bastion.clock import FixedClock, SystemClock
from bastion.recording import verifying
from bastion.recording.booking import Books
from bastion.recording.format import Header
from bastion.recording.ledger import Entry, Head, LedgerEvent
from bastion.recording.ledger_file import LedgerFile, ledger_path
from bastion.recording.store import Store
from bastion.recording.verifying import Verdict
from bastion.state.changes import apply
from bastion.state.database import Database, Place
from bastion.state.rows import Writer, ledger_head, session_started
from bastion.state.runs import FILE_NAME, left_runs
from bastion.state.schema_version import check_schema
from bastion.state.stored import Stored, mark_stored
from tests.support.world import poll
from tests.unit.cli.made import FIRST, SECOND, header, start_and_end
from tests.unit.config.site import Site
from tests.unit.recording.sealed import NODE


class Made(Site):
    """A site with two recordings and their ledger, whose head the audit log was told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "node.pub").write_text(NODE.signer.public.line() + "\n")
        self.recordings = folder / "recordings"
        self.make(header(FIRST, "alice", "web1"), header(SECOND, "bob", "web2"))
        self.tell()

    def make(self, *headers: Header) -> None:
        books = Books(self.recordings, "gw1", SystemClock())
        self.recordings.mkdir(exist_ok=True)
        store = Store(self.recordings, disk_floor_bytes=0, books=books, sealing=lambda: NODE)
        for one in headers:
            start_and_end(store, one)
        assert store.close()

    @property
    def ledger(self) -> Path:
        return ledger_path(self.recordings, "gw1")

    def head(self) -> Head:
        return LedgerFile(self.ledger, "gw1").head()

    def tell(self) -> None:
        head = self.head()
        line = {"event": "ledger_head", "node": "gw1", "serial": head.serial, "digest": head.digest}
        with (self.folder / "audit.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n" + '{"event":"ledger_head","node":7}\n' + "garbage\n")

    def file(self, session: str) -> Path:
        (found,) = self.recordings.glob(f"*/{session}.rec")
        return found

    def verify(self, *words: str) -> Result:
        keys = ("--keys", str(self.folder / "node.pub"))
        return CliRunner().invoke(verify, ["--all", "--config", str(self.config), *keys, *words])

    def faults(self) -> list[tuple[str, str]]:
        done = self.verify("--json")
        found: list[dict[str, Any]] = [one for one in json.loads(done.stdout) if "fault" in one]
        assert (done.exit_code == 3) == bool(found)
        return [(one["fault"], one["session"]) for one in found]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_all_there(made: Made) -> None:
    done = made.verify()
    assert done.exit_code == 0, done.output
    assert "2 of 2 are good" in done.output and "ledger" not in done.output
    lines = (made.folder / "audit.jsonl").read_text().splitlines()
    assert sum('"recordings_read"' in line for line in lines) == 1  # one command, one line


def test_one_that_is_gone_is_named(made: Made) -> None:
    made.file(FIRST).unlink()
    assert made.faults() == [("vanished", FIRST)]
    assert f"ledger: {FIRST} vanished" in made.verify().output


def test_one_that_was_made_anew_under_its_name_is_named(made: Made, tmp_path: Path) -> None:
    """Root has the node's key: the file is good for itself."""
    other = Store(tmp_path / "other", disk_floor_bytes=0, sealing=lambda: NODE)
    recorder, writer = other.start(header(FIRST, "alice", "web1"))
    path = writer.path
    writer.close(recorder.finish("client_closed"))
    assert other.close()
    path.rename(made.file(FIRST))
    assert made.faults() == [("replaced", FIRST)]


def test_one_without_its_end_is_named_twice(made: Made) -> None:
    data = made.file(FIRST).read_bytes()
    made.file(FIRST).write_bytes(data[:-20])
    done = made.verify("--json")
    assert done.exit_code == 3
    assert [one["fault"] for one in json.loads(done.stdout) if "fault" in one] == ["cut"]


def test_one_that_no_ledger_knows_is_named(made: Made) -> None:
    books_less = Store(made.recordings, disk_floor_bytes=0, sealing=lambda: NODE)
    third = "cccccccccccccccc"
    start_and_end(books_less, header(third, "carol", "web1"))
    assert books_less.close()
    assert made.faults() == [("unknown", third)]


def test_a_ledger_that_was_rolled_back_with_its_files_is_found_by_its_head(made: Made) -> None:
    whole = made.ledger.read_bytes()
    made.file(SECOND).unlink()
    kept = [line for line in whole.splitlines(keepends=True) if SECOND.encode() not in line]
    made.ledger.write_bytes(b"".join(kept))  # of alice's lines one does not follow any more
    assert "broken" in {fault for fault, _ in made.faults()}
    made.ledger.write_bytes(whole.splitlines(keepends=True)[0])
    made.file(FIRST).unlink()
    made.make(header(FIRST, "alice", "web1"))
    assert made.faults() == [("rolled_back", "")]


def test_the_state_store_is_asked_too(made: Made) -> None:
    place = Place.chosen(made.recordings, None, None, None)
    database = Database(place, "")
    check_schema(database)
    with database.write() as connection:
        apply(connection, [ledger_head("gw1", 2, "b" * 64, FixedClock().time())])
    database.close()
    assert made.faults() == [("rolled_back", "")]
    assert "the state store was told" in made.verify().output


def test_what_another_gateway_has_told_a_shared_store_is_not_about_this_ledger(made: Made) -> None:
    database = Database(Place.chosen(made.recordings, None, None, None), "")
    check_schema(database)
    with database.write() as connection:
        apply(connection, [ledger_head("gw2", 7, "b" * 64, FixedClock().time())])
    database.close()
    assert made.faults() == []
    LedgerFile(ledger_path(made.recordings, "gw2"), "gw2").append(
        [Entry(0, 1.0, LedgerEvent.AUDIT, digest="c" * 64)], 1.0
    )
    assert made.faults() == [("rolled_back", "")], "its ledger is here, and is another"


def test_one_that_is_in_the_bucket_is_not_missed(made: Made) -> None:
    moved = header(FIRST, "alice", "web1")
    database = Database(Place.chosen(made.recordings, None, None, None), "")
    check_schema(database)
    with database.write() as connection:
        apply(connection, session_started(moved, f"2027-01-15/{FIRST}.rec", Writer("gw1", "")))
    assert mark_stored(database, Stored(FIRST, f"s3://kept/{FIRST}.rec", "", 5, "0" * 64), 1.0)
    database.close()
    made.file(FIRST).unlink()
    assert made.faults() == [("vanished", FIRST)]  # no bucket is named: nobody could fetch it
    made.edit(
        "[recording]\n",
        '[recording]\nstore.kind = "s3"\nstore.bucket = "kept"\nstore.endpoint = "http://127.0.0.1:1"\n'
        'store.access_key = "AKID"\nstore.secret_file = "secret"\n',
    )
    made.write("secret", "none of yours\n", 0o600)
    done = made.verify("--json")  # a bucket that does not answer: the index is believed, and that is no proof
    assert done.exit_code == 3 and not any("fault" in one for one in json.loads(done.stdout))
    assert "what is in the bucket is not known" in done.stderr


def test_a_removed_one_is_no_fault(made: Made) -> None:
    entry = Entry(0, SystemClock().time(), LedgerEvent.REMOVED, FIRST, detail="retention")
    LedgerFile(made.ledger, "gw1").append([entry], SystemClock().time())
    made.file(FIRST).unlink()
    assert made.faults() == []


def test_what_happens_while_the_files_are_read_is_no_fault(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    third, fourth = "cccccccccccccccc", "dddddddddddddddd"
    books = Books(made.recordings, "gw1", SystemClock())
    store = Store(made.recordings, disk_floor_bytes=0, books=books, sealing=lambda: NODE, sync_seconds=0.05)
    recorder, writer = store.start(header(third, "carol", "web1"))
    before = made.head().serial
    poll(lambda: made.head().serial > before, text="the ledger was not told")
    read = []

    def reading(source: BinaryIO, name: str, *more: Any) -> Verdict:
        found = verifying.verify(source, name, *more)
        read.append(name)
        if name == third and not recorder.finished:  # has been read as one that is being written
            writer.close(recorder.finish("client_closed"), recorder.link)
            assert store.close()
            made.make(header(fourth, "carol", "web1"))  # begins and ends, unlisted
            made.tell()
        return found

    monkeypatch.setattr("bastion.cli.verify.verify_file", reading)
    assert made.faults() == []
    assert third in read and fourth not in read
    assert made.faults() == []


def test_an_empty_file_that_never_began_is_no_fault_and_one_that_was_emptied_is(made: Made) -> None:
    never = made.file(FIRST).with_name("cccccccccccccccc.rec")
    never.touch()
    done = made.verify()
    assert done.exit_code == 0 and "2 of 2 are good" in done.output
    assert f"{never}: is empty" in done.stderr
    made.file(FIRST).write_bytes(b"")
    assert made.faults() == [("replaced", FIRST)]
    made.ledger.unlink()
    never.write_bytes(b"")
    assert made.verify().exit_code == 3  # without a ledger nobody can say


def test_lines_of_the_audit_log_that_are_none_are_passed_over(made: Made) -> None:
    assert [one.head for one in told_in_audit(made.folder / "audit.jsonl")] == [made.head()]


def test_the_gateway_s_metrics_hear_of_it(made: Made) -> None:
    state = made.folder / "recordings" / "state"
    state.mkdir(exist_ok=True)
    assert made.verify().exit_code == 0
    assert left_runs(state)["verify"].faults == 0
    next(made.folder.glob("recordings/*/*.rec")).unlink()
    done = made.verify()
    assert done.exit_code == 3
    run = left_runs(state)["verify"]
    assert run.faults > 0 and run.at > 1_700_000_000
    (state / FILE_NAME).unlink()
    (state / FILE_NAME).mkdir()
    done = made.verify()
    assert done.exit_code == 3 and "metrics do not tell of this run" in done.stderr
