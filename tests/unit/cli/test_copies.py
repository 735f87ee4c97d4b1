"""Recordings in a real bucket, read by every command that reads a folder of them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

import click
import pyrage
import pytest
from click.testing import CliRunner, Result

from bastion.age import recipients_of
from bastion.archive.bucket import Bucket
from bastion.archive.upload import Upload
from bastion.cli.commands import commands
from bastion.cli.evidence import evidence
from bastion.cli.index import index
from bastion.cli.rewrap import rewrap
from bastion.cli.search import search
from bastion.cli.sessions import sessions
from bastion.cli.state import state
from bastion.cli.verify import verify
from bastion.clock import SystemClock
from bastion.recording.booking import Books
from bastion.recording.bulk import RecordingPolicy
from bastion.recording.data_keys import DataKeyStock
from bastion.recording.format import Header
from bastion.recording.ledger_file import LedgerFile, ledger_path
from bastion.recording.listing import Recordings
from bastion.recording.store import Store
from bastion.sides import Side
from bastion.state.checking import rebuild
from bastion.state.database import Database, Place
from bastion.state.schema_version import check_schema
from bastion.state.stored import Stored, mark_stored
from tests.support.s3 import BUCKET, S3Server, s3_missing
from tests.unit.cli.made import FIRST, SECOND, START, THIRD, header
from tests.unit.config.site import Site
from tests.unit.recording.sealed import NODE

pytestmark = [pytest.mark.slow, pytest.mark.interop]

DAY = "2027-01-15"
ANNA = pyrage.x25519.Identity.generate()


def ran(store: Store, about: Header, command: str) -> None:
    """An exec that answers a line."""
    recorder, writer = store.start(about, RecordingPolicy())
    recorder.note("channel_opened", 1, {"kind": "session"})
    recorder.note("request_forwarded", 1, {"name": "exec", "detail": {"command": command}})
    recorder.data(1, Side.TARGET, 0, f"{about.identity} is sorry\r\n".encode())
    recorder.note("exit_status", 1, {"status": 1})
    recorder.note("channel_closed", 1, {})
    writer.write(recorder.take())
    writer.close(recorder.finish("client_closed"), recorder.link)


class Gone(Site):
    """Three recordings and their ledger: THIRD in the folder, the others in the bucket, the SECOND one encrypted."""

    def __init__(self, folder: Path, server: S3Server) -> None:
        super().__init__(folder)
        self.server = server
        self.make_key("recording")
        self.write("bastion.toml", self.config.read_text() + server.section() + '[state]\nnode = "gw1"\n')
        self.write("node.pub", NODE.signer.public.line() + "\n")
        self.write("anna", f"{ANNA}\n", 0o600)
        self.recordings = folder / "recordings"
        stock = DataKeyStock(recipients_of([str(ANNA.to_public())]), 1)
        books = Books(self.recordings, "gw1", SystemClock())
        store = Store(self.recordings, disk_floor_bytes=0, books=books, sealing=lambda: NODE)
        for number, (name, user) in enumerate(((FIRST, "alice"), (SECOND, "bob"), (THIRD, "carol"))):
            store.use(stock if name == SECOND else None)
            ran(store, header(name, user, f"web{number}", START + number), f"rm -rf /of/{user}")
        assert store.close()
        stock.stop()
        with_index = self.database()
        rebuild(with_index, Recordings(self.recordings), "gw1")
        with_index.close()

    def database(self) -> Database:
        database = Database(Place.chosen(self.recordings, None, None, None), "")
        check_schema(database)
        return database

    def file(self, session: str) -> Path:
        return self.recordings / DAY / f"{session}.rec"

    def url(self, session: str) -> str:
        return f"s3://{BUCKET}/gw1/{DAY}/{session}.rec"

    def put(self, session: str, data: bytes) -> None:
        self.server.client.put_object(Bucket=BUCKET, Key=f"gw1/{DAY}/{session}.rec", Body=data)

    def move(self, *sessions: str) -> Gone:
        """As an uploader does."""
        database = self.database()
        for name in sessions:
            fd = os.open(self.file(name), os.O_RDONLY)
            kept = Upload(Bucket(self.server.place()), fd, f"gw1/{DAY}/{name}.rec", SystemClock()).run()
            os.close(fd)
            assert mark_stored(
                database, Stored(name, self.url(name), kept.version, kept.size, kept.sha256), 1.0
            )
            self.file(name).unlink()
        database.close()
        return self

    def move_away(self, session: str) -> None:
        """Somebody takes an object."""
        self.server.client.delete_object(Bucket=BUCKET, Key=f"gw1/{DAY}/{session}.rec")

    def run(self, command: click.Command, *words: str) -> Result:
        return CliRunner().invoke(command, [*words, "--config", str(self.config)])

    def verify(self, *words: str) -> tuple[int, list[dict[str, Any]]]:
        done = self.run(verify, "--keys", str(self.folder / "node.pub"), "--json", *words)
        return done.exit_code, json.loads(done.stdout)

    def commands(self, *words: str) -> list[str]:
        done = self.run(commands, "--json", "--kind", "exec", "-i", str(self.folder / "anna"), *words)
        assert done.exit_code == (0 if done.stdout else 1), done.output
        return [json.loads(line)["text"] for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    if s3_missing():
        pytest.skip(s3_missing())
    made = S3Server()
    try:
        yield made.start().make_buckets()
    finally:
        made.close()


@pytest.fixture
def made(tmp_path: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gone]:
    get_temp_dir()  # multiprocessing keeps one for as long as the process lives: not among the copies
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    yield Gone(tmp_path, server).move(FIRST, SECOND)
    assert [
        one for one in copies.iterdir() if one.name.startswith("bastion-")
    ] == []  # a copy goes with its command
    for key in server.names():
        server.client.delete_object(Bucket=BUCKET, Key=key)


def test_one_is_verified_by_its_id_or_its_url_and_all_with_the_store(made: Gone) -> None:
    for name in (FIRST[:5], FIRST, made.url(FIRST)):
        code, (one,) = made.verify(name)
        assert (code, one["file"], one["state"]) == (0, made.url(FIRST), "whole")
    assert made.verify(FIRST, FIRST[:5])[0] == 0
    code, found = made.verify("--all")
    assert (code, [one["session_id"] for one in found]) == (0, [THIRD])
    code, found = made.verify("--store")
    assert code == 0 and {one["file"] for one in found} == {
        str(made.file(THIRD)),
        made.url(FIRST),
        made.url(SECOND),
    }


def test_what_has_neither_file_nor_object_is_named(made: Gone) -> None:
    made.server.client.delete_object(Bucket=BUCKET, Key=made.url(FIRST).partition(f"{BUCKET}/")[2])
    made.file(THIRD).unlink()
    for option in ("--all", "--store"):
        code, found = made.verify(option)
        faults = {one["session"]: one["fault"] for one in found if "fault" in one}
        assert (code, faults) == (3, {FIRST: "vanished", THIRD: "vanished"})


def test_what_was_changed_there_is_named(made: Gone) -> None:
    made.put(FIRST, b"short")
    code, found = made.verify("--all")
    assert code == 3 and [(one["fault"], one["session"]) for one in found if "fault" in one] == [
        ("replaced", FIRST)
    ]
    made.move(THIRD)
    data = made.server.get(made.url(THIRD).partition(f"{BUCKET}/")[2])
    made.put(THIRD, data[:-200] + b"x" + data[-199:])  # of the same size: its content tells
    assert made.run(verify, THIRD, "--keys", str(made.folder / "node.pub")).exit_code == 3
    done = made.run(verify, "--keys", str(made.folder / "node.pub"), "--store")
    assert done.exit_code == 3 and f"{made.url(THIRD)}: is not what was uploaded" in done.stderr
    # and without an index that has its SHA-256, the signatures do
    shutil.rmtree(made.recordings / "state")
    assert made.run(state, "rebuild-index").exit_code == 0
    code, found = made.verify("--store")
    states = {one["session_id"]: one["state"] for one in found if "state" in one}
    assert (code, states[THIRD], states[SECOND]) == (3, "bad", "whole")


def test_commands_read_the_bucket_and_choose_by_the_index_first(made: Gone) -> None:
    assert made.commands() == [f"rm -rf /of/{user}" for user in ("carol", "bob", "alice")]
    assert made.commands("--grep", "alice") == ["rm -rf /of/alice"] == made.commands("--session", FIRST[:5])
    made.server.client.delete_object(Bucket=BUCKET, Key=made.url(FIRST).partition(f"{BUCKET}/")[2])
    assert made.commands("--user", "bob") == ["rm -rf /of/bob"] and made.commands("--target", "nowhere") == []
    done = made.run(commands, "--json")
    assert done.exit_code == 3 and f"{made.url(FIRST)}: there is no such object" in done.stderr


def test_the_reading_index_keeps_what_went_there_and_reads_what_it_has_not(made: Gone) -> None:
    words = ("--json", "-i", str(made.folder / "anna"))
    done = made.run(index, *words, "--jobs", "2")
    assert done.exit_code == 0, (done.output, done.exception)
    told = json.loads(done.stdout)
    assert (told["read"], told["problems"]) == (3, 0)
    made.move(THIRD)
    told = json.loads(made.run(index, *words).stdout)
    assert (told["read"], told["forgotten"]) == (0, 0)
    hits = [json.loads(line)["user"] for line in made.run(search, "sorry", "--json").stdout.splitlines()]
    assert hits == ["carol", "bob", "alice"]
    made.server.stop()
    try:
        assert made.commands("--grep", "rm") == [f"rm -rf /of/{user}" for user in ("carol", "bob", "alice")]
    finally:
        made.server.start()


def test_those_in_the_bucket_get_other_recipients(made: Gone) -> None:
    carl = pyrage.x25519.Identity.generate()
    made.write("carl", f"{carl}\n", 0o600)
    to, as_anna = (
        ["--drop", str(ANNA.to_public()), "--add", str(carl.to_public())],
        ["-i", str(made.folder / "anna")],
    )
    left = made.file(FIRST).with_name(f"{FIRST}.rec.rewrap")
    left.write_bytes(b"of a run that was cut off")
    done = made.run(rewrap, "--all", "--json", *to, *as_anna)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout) == {"rewrapped": 1, "looked_at": 3, "failed": {}}
    assert not left.exists() and "1 unfinished files" in done.stderr
    assert made.commands("--session", SECOND) == []
    mine = made.run(commands, "--json", "--session", SECOND, "-i", str(made.folder / "carl"))
    assert json.loads(mine.stdout)["text"] == "rm -rf /of/bob"
    assert made.verify("--store")[0] == 0 and made.run(state, "check").exit_code == 0
    done = made.run(rewrap, *to, *as_anna, made.url(SECOND))
    assert done.exit_code == 0 and "0 of 1" in done.stdout  # they are what was asked for
    done = made.run(rewrap, "--add", str(ANNA.to_public()), *as_anna, SECOND[:6])
    assert done.exit_code == 1 and f"{SECOND}: none of the identities opens it" in done.stderr
    assert made.run(rewrap, *to, *as_anna, made.url(THIRD)).exit_code == 1
    made.server.stop()
    try:
        done = made.run(rewrap, *to, *as_anna, FIRST, SECOND, "--json")
    finally:
        made.server.start()
    assert done.exit_code == 1 and json.loads(done.stdout)["failed"].keys() == {FIRST, SECOND}


def test_sessions_fetch_what_is_asked_for_by_command_line(made: Gone) -> None:
    done = made.run(sessions, "--json", "--command", "alice")
    assert done.exit_code == 0 and [one["session_id"] for one in json.loads(done.stdout)] == [FIRST]


def test_a_bundle_is_made_of_one(made: Gone) -> None:
    out = made.folder / "evidence.zip"
    done = made.run(evidence, FIRST[:5], "-o", str(out))
    assert done.exit_code == 3, done.output  # of a node whose key this configuration does not know
    with zipfile.ZipFile(out) as bundle:
        assert bundle.read(f"{FIRST}.rec") == made.server.get(made.url(FIRST).partition(f"{BUCKET}/")[2])


def test_the_index_is_made_again_from_the_bucket_by_small_requests(
    made: Gone, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads(made.run(sessions, "--json").stdout)
    shutil.rmtree(made.recordings)
    made.recordings.mkdir()
    monkeypatch.setattr(Bucket, "read", lambda *_: pytest.fail("a whole object was read"))
    done = made.run(state, "rebuild-index")
    assert done.exit_code == 0 and "2 rows added, 0 corrected, 0 recordings cannot be read" in done.stdout
    monkeypatch.undo()
    after = {one["session_id"]: one for one in json.loads(made.run(sessions, "--json").stdout)}
    for one in before:
        if one["session_id"] != THIRD:
            same = ("identity", "state", "file", "bytes", "duration", "reason")
            assert {key: one[key] for key in same} == {key: after[one["session_id"]][key] for key in same}
    assert "0 rows added, 0 corrected" in made.run(state, "rebuild-index").stdout.splitlines()[1]
    assert made.verify(FIRST)[0] == 0


def test_a_lost_ledger_is_written_again_and_what_cannot_be_proven_is_told(made: Gone) -> None:
    head = LedgerFile(ledger_path(made.recordings, "gw1"), "gw1").head()
    audit = made.folder / "audit.jsonl"
    told = {"event": "ledger_head", "node": "gw1", "serial": head.serial, "digest": head.digest}
    audit.write_text(json.dumps(told) + "\n")
    shutil.rmtree(made.recordings)  # with THIRD, which had not been uploaded
    made.recordings.mkdir()
    said = made.run(state, "rebuild-index").stdout
    assert "2 recordings in the bucket are in no ledger of" in said and not list(
        made.recordings.glob("ledger*")
    )
    said = made.run(state, "rebuild-index", "--ledger").stdout
    assert "2 recordings of the bucket are in it from now on" in said
    assert (
        "audit.jsonl knows of 7 lines of the ledger that is lost: these 2 recordings had two each, so 2 lines told of"
        " others, 1 recordings at most" in said
    )
    code, found = made.verify("--store")
    assert code == 3 and [one["fault"] for one in found if "fault" in one] == ["rolled_back"]
    audit.unlink()
    assert made.verify("--store")[0] == 0
    ledger = ledger_path(made.recordings, "gw1").read_bytes()
    assert "no ledger" not in made.run(state, "rebuild-index", "--ledger").stdout
    assert ledger_path(made.recordings, "gw1").read_bytes() == ledger
    made.move_away(FIRST)
    code, found = made.verify("--store")
    assert (code, {one["session"]: one["fault"] for one in found if "fault" in one}) == (
        3,
        {FIRST: "vanished"},
    )


def test_a_store_that_is_away_is_asked_once_and_said(made: Gone) -> None:
    made.server.stop()
    try:
        done = made.run(commands, "--json")
        assert done.exit_code == 3 and done.stdout.count("\n") == 1
        assert done.stderr.count("s3://") == 1 and "and 1 more were not read" in done.stderr
        code, found = made.verify("--all")
        assert code == 3 and not any("fault" in one for one in found)
        assert made.run(state, "rebuild-index").exit_code == 3
    finally:
        made.server.start()
