"""The commands that speak to the running gateway, with one that answers as the test says."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace

import pytest
from click.testing import CliRunner

from bastion.cli.live import kill, live
from bastion.cli.lock import lock, locks, unlock
from bastion.cli.status import log_level, penalties, status
from bastion.control import frames
from bastion.control.asking import Ended
from bastion.control.codec import to_json
from bastion.control.node import Live, LiveRow, NodeStatus, Part, Status
from bastion.control.orders import LevelSet, LockMade, Locks, LogLevel, Penalty, PenaltyList
from bastion.policy.locks import Lock, LockKind
from bastion.state.database import Database, Place
from bastion.state.findings import Mute, Row, add, mute
from bastion.state.schema_version import check_schema

DAY = 86400.0


class Gateway:
    """Answers each question with the next of `answers`: a value, an (reason, text), or bytes as they are."""

    def __init__(self, folder):
        self.config = folder / "bastion.toml"
        self.place = folder / "s"
        self.config.write_text(f'[control]\nsocket = "{self.place}"\n')
        self.questions, self.answers = [], []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self.place))
        self._listening.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client:
                reader = frames.FrameReader()
                while data := client.recv(65536):
                    for frame in reader.feed(data):
                        self.questions.append((frame["command"], frame["args"]))
                        if not self.answers:
                            return
                        client.sendall(self._answer(frame["id"], self.answers.pop(0)))

    def _answer(self, number, answer):
        if isinstance(answer, bytes):
            return answer
        if isinstance(answer, tuple):
            return frames.encode({"id": number, "error": {"reason": answer[0], "text": answer[1]}})
        return b"".join(frames.answer(number, to_json(answer)))

    def run(self, command, *words, **options):
        return CliRunner().invoke(command, ["--config", str(self.config), *words], **options)

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)


@pytest.fixture
def gateway(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    made = Gateway(tmp_path)
    yield made
    made.close()


def row(id, kind="session", user="alice"):
    return LiveRow(id, kind, user, "u", "192.0.2.1", "jump", 1.0, "web1", "root", "", 1, 10, 2048)


def test_who_is_here(gateway):
    gateway.answers = [
        Live((row("abc"), row("def", "connection"), row("x\x1b[2J", user="e\u202evil")), ("worker 2",))
    ]
    done = gateway.run(live, "--user", "alice", "--target", "web1")
    assert gateway.questions == [
        ("live", {"selection": {"id": "", "user": "alice", "target": "web1", "everything": True}})
    ]
    assert (
        done.exit_code == 0 and "abc" in done.output and "def" not in done.output and "2.0 KiB" in done.output
    )
    assert "\x1b" not in done.output and "\u202e" not in done.output
    assert "worker 2 gives no answer" in done.output


def test_who_is_here_for_programs(gateway):
    gateway.answers = [Live((row("abc"), row("def", "connection")))]
    document = json.loads(gateway.run(live, "--all", "--json").output)
    assert [one["id"] for one in document["live"]] == ["abc", "def"] and document["silent"] == []


@pytest.mark.slow
def test_a_very_long_list(gateway):
    gateway.answers = [Live(tuple(row(f"s{n}") for n in range(5000)))]
    assert len(json.loads(gateway.run(live, "--json").output)["live"]) == 5000


@pytest.mark.parametrize(
    ("words", "selection"),
    [
        (["--user", "alice"], {"id": "", "user": "alice", "target": "", "everything": False}),
        (["--target", "web1"], {"id": "", "user": "", "target": "web1", "everything": False}),
        (
            ["--user", "alice", "--target", "web1"],
            {"id": "", "user": "alice", "target": "web1", "everything": False},
        ),
        (["--all"], {"id": "", "user": "", "target": "", "everything": True}),
    ],
)
def test_ending(gateway, words, selection):
    gateway.answers = [Ended(1, 2, 0, ("abc",))]
    done = gateway.run(kill, *words, "--reason", "x")
    assert gateway.questions == [("kill", {"selection": selection, "reason": "x"})]
    assert (done.exit_code, done.output) == (0, "ended: 1 session, 2 tunnels, 0 connections\n")


@pytest.mark.parametrize("text", ["abcd", "ab"])
def test_ending_one_by_a_beginning_of_its_id(gateway, text):
    gateway.answers = [Live((row("abcd"), row("abcd.1", "tunnel"), row("b"))), Ended(1)]
    assert gateway.run(kill, text, "--reason", "x").exit_code == 0
    assert gateway.questions[1][1]["selection"]["id"] == "abcd"


@pytest.mark.parametrize(("text", "code"), [("z", 1), ("a", 2)])
def test_one_that_is_none_or_several_ends_nothing(gateway, text, code):
    gateway.answers = [Live((row("ab"), row("ac")))]
    assert gateway.run(kill, text, "--reason", "x").exit_code == code and len(gateway.questions) == 1


@pytest.mark.parametrize(
    "words", [[], ["--all", "--user", "alice"], ["abc", "--all"], ["abc", "--target", "x"]]
)
def test_what_is_to_be_ended_is_said_clearly(gateway, words):
    assert gateway.run(kill, *words, "--reason", "x").exit_code == 2 and gateway.questions == []
    assert gateway.run(kill, "--all").exit_code == 2  # without a reason


@pytest.mark.parametrize(
    ("words", "kind", "value"),
    [
        (["alice"], "user", "alice"),
        (["user", "alice"], "user", "alice"),
        (["source", "192.0.2.1"], "source", "192.0.2.1"),
    ],
)
def test_locking(gateway, words, kind, value):
    gateway.answers = [Ended(1, 0, 1)]
    done = gateway.run(lock, *words, "--reason", "x", "--for", "24h")
    assert gateway.questions == [("lock", {"kind": kind, "value": value, "reason": "x", "seconds": 86400.0})]
    assert done.output == f"locked {kind} {value}; ended: 1 session, 0 tunnels, 1 connection\n"


def test_a_lock_that_is_on_a_name_only_says_so(gateway):
    gateway.answers = [LockMade(on_name="the directory does not answer")]
    assert "on the name alice" in gateway.run(lock, "alice", "--reason", "x").output
    gateway.answers = [LockMade(uid="u-1")]
    assert "on the name" not in gateway.run(lock, "alice", "--reason", "x").output


@pytest.mark.parametrize("words", [["alice", "--for", "soon"], ["host", "web1"], ["a", "b", "c"]])
def test_locks_that_are_none(gateway, words):
    assert gateway.run(lock, *words, "--reason", "x").exit_code == 2 and gateway.questions == []


def test_what_is_locked(gateway):
    known = Locks((Lock(LockKind.USER, "alice", "why", "root (uid 0)", 1.0, None),))
    gateway.answers = [known, known, known]
    assert "alice" in gateway.run(locks).output
    assert json.loads(gateway.run(locks, "--json").output)["locks"][0]["value"] == "alice"
    assert gateway.run(unlock, "alice", "--reason", "x").output == "unlocked user alice\n"
    assert gateway.questions[-1] == ("unlock", {"value": "alice", "kind": None, "reason": "x"})


@pytest.mark.parametrize(
    ("node", "code"),
    [
        (NodeStatus("gateway", "running", "1", 2, 3.0, parts=(Part("audit", "ok"),)), 0),
        (NodeStatus("gateway", "running", "1", 2, 3.0, parts=(Part("audit", "degraded", "x"),)), 0),
        (NodeStatus("gateway", "running", "1", 2, 3.0, parts=(Part("recordings", "refusing", "disk"),)), 1),
        (NodeStatus("gateway", "draining"), 1),
        (NodeStatus("gateway", "silent"), 1),
    ],
)
def test_how_it_is(gateway, node, code):
    gateway.answers = [Status((node,)), Status((node,))]
    done = gateway.run(status)
    assert done.exit_code == code and node.state in done.output
    assert json.loads(gateway.run(status, "--json").output)["well"] is (code == 0)


FOUND = Row("gw1", "k3v2m5q7", "sftp_data", "alert", DAY, "alice", "web1", "", "", "", DAY)


def detects(gateway, *rows):
    """With a store that has these findings, a day after the first of them."""
    recordings = gateway.config.parent / "recordings"
    sections = (
        f'[recording]\ndirectory = "{recordings}"\n[audit]\nfile = "audit.jsonl"\n[detections]\nrun = true\n'
    )
    gateway.config.write_text(gateway.config.read_text() + sections)
    (recordings / "state").mkdir(parents=True)
    database = Database(Place(recordings / "state"))
    check_schema(database)
    with database.write() as connection:
        add(connection, rows)
    mute(database, Mute("m1", "sftp_data", "", "", "", "", 0.0, 3 * DAY), lambda: None)
    database.close()


def test_what_was_found_in_a_day(gateway, monkeypatch):
    monkeypatch.setattr("bastion.clock.SystemClock.time", staticmethod(lambda: 2 * DAY))
    others = [replace(FOUND, id=f"n{number}", kind="new_network", level="notice") for number in range(2)]
    covered = replace(FOUND, id="muted", mute="m1", at=1.5 * DAY)
    detects(gateway, FOUND, replace(FOUND, id="old", at=DAY - 1), covered, *others)
    gateway.answers = [Status((NodeStatus("gateway", "running"),))] * 2
    assert gateway.run(status).output.splitlines()[-3:] == [
        "findings of the last 24 h: 3 open, 1 muted; 1 mute in force",
        "  new_network:        2 notices",
        "  sftp_data:          1 alert, 1 muted",
    ]
    assert json.loads(gateway.run(status, "--json").output)["findings"] == {
        "since": "1970-01-02T00:00:00.000Z",
        "open": 3,
        "muted": 1,
        "mutes": 1,
        "kinds": {
            "new_network": {"alert": 0, "notice": 2, "muted": 0},
            "sftp_data": {"alert": 1, "notice": 0, "muted": 1},
        },
    }


def test_a_store_that_cannot_be_asked_for_findings_is_no_gateway_that_does_not_run(gateway):
    detects(gateway)
    Place(gateway.config.parent / "recordings" / "state").file.write_bytes(b"this is no database" * 999)
    gateway.answers = [Status((NodeStatus("gateway", "running"),))] * 2
    done = gateway.run(status)
    assert done.exit_code == 0 and "findings: not known: the state store cannot be asked" in done.output
    assert set(json.loads(gateway.run(status, "--json").output)["findings"]) == {"trouble"}


def test_where_nothing_detects_nothing_is_said_of_findings(gateway):
    gateway.answers = [Status((NodeStatus("gateway", "running"),))] * 2
    assert "findings" not in gateway.run(status).output
    assert json.loads(gateway.run(status, "--json").output)["findings"] is None


def test_penalties_are_listed_and_cleared(gateway):
    gateway.answers = [PenaltyList((Penalty("192.0.2.1", "alice", 12.0, 7), Penalty("", "bob", 1.0, 9)), 5)]
    done = gateway.run(penalties)
    assert (
        "192.0.2.1" in done.output and "anywhere new" in done.output and "3 more are not shown" in done.output
    )
    gateway.answers = [PenaltyList((), 2)]
    assert gateway.run(penalties, "clear", "--account", "alice").output == "cleared 2\n"
    assert gateway.questions[-1] == ("clear_penalties", {"source": "", "account": "alice", "reason": ""})
    for words in (["clear"], ["--all"]):
        assert gateway.run(penalties, *words).exit_code == 2


def test_the_level_of_the_log(gateway):
    gateway.answers = [LevelSet(LogLevel.WARN, LogLevel.DEBUG)]
    assert gateway.run(log_level, "warn").output == "log level warn, was debug\n"
    assert gateway.run(log_level, "loud").exit_code == 2


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (("no_role", "sec has auditor, which may not kill"), 1, "which may not kill"),
        (("timeout", "worker 1 did not answer in 10 s"), 3, "did not answer"),
        (("never heard of", "x\x1b[2J"), 3, "x\\x1b[2J"),
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", 3, "another protocol"),
        (Ended(), 3, "another version"),
        (None, 3, "closed the connection"),
    ],
)
def test_a_gateway_that_says_no_or_something_odd(gateway, answer, code, words):
    gateway.answers = [] if answer is None else [answer]
    done = gateway.run(live)
    assert done.exit_code == code and words in done.output and "\x1b" not in done.output


def test_no_gateway(tmp_path):
    config = tmp_path / "bastion.toml"
    config.write_text("")
    done = CliRunner().invoke(live, ["--config", str(config)])
    assert done.exit_code == 3 and "no gateway runs with this configuration: there is no" in done.output
    with socket.socket(socket.AF_UNIX) as dead:
        (tmp_path / "run").mkdir()
        dead.bind(str(tmp_path / "run" / "control.sock"))
    done = CliRunner().invoke(live, ["--config", str(config)])
    assert done.exit_code == 3 and "the one that made it is gone" in done.output
    config.write_text('[control]\nsocket = "off"\n')
    assert CliRunner().invoke(live, ["--config", str(config)]).exit_code == 3
    config.write_text("[control]\nsocket = 3\n")
    assert CliRunner().invoke(live, ["--config", str(config)]).exit_code == 2
    assert CliRunner().invoke(live, ["--config", str(tmp_path / "none.toml")]).exit_code == 2
