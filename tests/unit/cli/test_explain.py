"""`bastion explain REF`: the right lines, from every file, in plain words."""

import gzip
import json
import os
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner

from bastion.cli.advice import ADVICE, advice
from bastion.cli.explain import explain
from bastion.clock import FixedClock
from bastion.errors import (
    AuthReason,
    EndReason,
    HandshakeResult,
    LimitReason,
    PolicyReason,
    RecorderReason,
    UpstreamReason,
)
from bastion.observe.audit import AuditLog
from bastion.observe.events import EVENTS, About, sentence
from bastion.observe.meters import Meters
from tests.support.audit_lines import Told

SESSION = "7f3k2aqqqqqqqqqq"
OTHER = "zzzzzzqqqqqqqqqq"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def log(tmp_path):
    opened = AuditLog(str(tmp_path / "audit.jsonl"), FixedClock(), Meters())
    yield opened
    opened.close()


def run(log, *arguments):
    return CliRunner().invoke(explain, ["--log", log.path, *arguments])


def tell_a_refusal(log, session=SESSION):
    ref = session[:6]
    log.emit(
        Told(
            "auth",
            connection=session,
            user="alice+deploy+web1",
            method="certificate",
            result="ok",
            reason="ok",
            source="203.0.113.9",
            certificate_id="alice@corp",
            certificate_serial=7,
        )
    )
    log.emit(
        Told(
            "authorise",
            result="ok",
            reason="allowed",
            user="alice",
            target="web1",
            login="deploy",
            rules="developers",
        ),
        About(session=session, ref=ref),
    )
    log.emit(
        Told(
            "refused",
            what="session",
            user="alice",
            target="web1",
            reason="connection_refused",
            text="web1: connection refused",
        ),
        About(session=session, ref=ref),
    )


def test_a_refusal_is_told_in_plain_words(log):
    tell_a_refusal(log)
    tell_a_refusal(log, OTHER)
    done = run(log, "7f3k2a")
    assert done.exit_code == 0
    assert SESSION in done.output and OTHER not in done.output
    assert (
        "alice+deploy+web1 from 203.0.113.9 logged in by certificate, key id alice@corp, serial 7"
        in done.output
    )
    assert "policy let alice go to web1 as deploy by developers" in done.output
    assert "the session was refused: web1: connection refused [connection_refused]" in done.output
    assert "is its sshd running?" in done.output
    assert "`bastion target test web1 deploy`" in done.output
    assert "2027-01-15 (UTC)" in done.output


def test_the_whole_id_and_capitals_work_too(log):
    tell_a_refusal(log)
    assert run(log, SESSION).exit_code == 0
    assert run(log, SESSION.upper()).exit_code == 0


def test_json_has_the_events_and_nothing_else_on_stdout(log):
    tell_a_refusal(log)
    document = json.loads(run(log, "7f3k2a", "--json").stdout)
    assert [event["event"] for event in document["events"]] == ["auth", "authorise", "refused"]
    assert document["reference"] == "7f3k2a"


def test_unknown_is_1_nonsense_is_2_no_log_is_3(log, tmp_path):
    tell_a_refusal(log)
    assert run(log, "aaaaaa").exit_code == 1
    assert json.loads(run(log, "aaaaaa", "--json").stdout)["events"] == []
    for nonsense in ("7f3k", "7f3k2a;", "0189!!", "a" * 17):
        assert run(log, nonsense).exit_code == 2
    missing = CliRunner().invoke(explain, ["--log", str(tmp_path / "none" / "audit"), "7f3k2a"])
    assert missing.exit_code == 3


def test_rotated_and_packed_logs_are_read_oldest_first(log, tmp_path):
    packed = zstandard.ZstdCompressor().compress
    names = ["audit.jsonl-20261101.zst", "audit.jsonl.2.gz", "audit.jsonl.1", "audit.jsonl"]
    for age, name in enumerate(names):
        line = json.dumps(
            {"ts": f"2027-01-1{age}T00:00:00.000Z", "event": "request", "ref": "7f3k2a", "name": name}
        )
        data = line.encode() + b"\n"
        if name.endswith(".gz"):
            data = gzip.compress(data)
        elif name.endswith(".zst"):
            data = packed(data)
        (tmp_path / name).write_bytes(data)
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    (tmp_path / "audit.jsonl.bak").write_bytes(b"{}")
    (tmp_path / "audit.jsonl.swp").mkdir()
    events = json.loads(run(log, "7f3k2a", "--json").stdout)["events"]
    assert [event["name"] for event in events] == names


def test_a_broken_packed_log_is_named_and_passed_over(log, tmp_path):
    tell_a_refusal(log)
    (tmp_path / "audit.jsonl.1.gz").write_bytes(gzip.compress(os.urandom(1000))[:500])
    done = run(log, "7f3k2a")
    assert done.exit_code == 0
    assert "audit.jsonl.1.gz: cannot be read to its end" in done.output


def test_torn_lines_are_left_out_and_counted(log):
    tell_a_refusal(log)
    with open(log.path, "ab") as file:
        file.write(b'{"ref":"7f3k2a","event":\n[1,"7f3k2a"]\n"7f3k2a"\n{"event":7,"ref":"7f3k2a"}\n')
    done = run(log, "7f3k2a")
    assert done.exit_code == 0
    assert "4 torn" in done.stderr


def test_the_connection_of_a_session_belongs_to_its_story_and_its_other_sessions_do_not(log):
    carrier = "cccccccccccccccc"
    log.emit(Told("auth", connection=carrier, user="alice", method="publickey", result="ok", reason="ok"))
    log.emit(
        Told("session_started", connection=carrier, user="alice", target="web1"),
        About(SESSION, "7f3k2a"),
    )
    log.emit(
        Told("session_started", connection=carrier, user="alice", target="web2"),
        About(session=OTHER, ref="zzzzzz"),
    )
    events = json.loads(run(log, "7f3k2a", "--json").stdout)["events"]
    assert [(event["event"], event.get("target")) for event in events] == [
        ("auth", None),
        ("session_started", "web1"),
    ]


def test_text_of_a_peer_cannot_act_on_the_terminal(log):
    raw = {"ts": "2027\x1b[2J", "event": "e\x1b[31m", "ref": "7f3k2a", "name": "\x9b31m\u202e"}
    with open(log.path, "ab") as file:
        file.write(json.dumps(raw).encode() + b"\n")
    output = run(log, "7f3k2a").output
    assert not set("\x1b\x9b\u202e") & set(output)


def test_an_event_of_another_version_is_shown_as_it_is():
    event = {"ts": "x", "event": "something_new", "ref": "r", "colour": "red"}
    assert sentence(event) == "something_new: colour=red"
    assert sentence({"event": "bare"}) == "bare"


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.__name__)
def test_every_sentence_survives_missing_fields(kind):
    name = kind.event
    told = sentence({"event": name, "what": kind.what})
    assert told and "None" not in told
    assert sentence({"event": name, "result": "ok", "what": "channel", "reason": [], "host": {}})


def test_advice_is_for_reasons_that_exist():
    reasons = {
        str(r)
        for kind in (
            AuthReason,
            PolicyReason,
            UpstreamReason,
            RecorderReason,
            LimitReason,
            HandshakeResult,
            EndReason,
        )
        for r in kind
    }
    assert set(ADVICE) <= reasons
    for reason in UpstreamReason:
        if reason not in (UpstreamReason.OK, UpstreamReason.ADDRESS_REFUSED, UpstreamReason.CLOSED):
            assert advice({"reason": str(reason)})
    assert "{" not in "".join(advice({"reason": reason}) for reason in ADVICE)
