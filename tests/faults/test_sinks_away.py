"""Receivers of the audit log that go away in the middle: every line arrives, and once, whatever dies or is renamed."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from bastion.observe.labels import SinkReason
from bastion.sinks.section import HTTP
from tests.support.net import LOOPBACK
from tests.support.pki import Authority
from tests.support.sinks import Log, Receiver, Sender, SyslogServer, lines_of

pytestmark = [pytest.mark.slow, pytest.mark.interop]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / "audit.jsonl")
    yield made
    made.close()


@pytest.mark.parametrize("kind", HTTP)
def test_an_outage_a_rotation_and_a_death(tmp_path: Path, log: Log, kind: str) -> None:
    pki = Authority(tmp_path / "pki")
    with Receiver(pki.issue(LOOPBACK)) as receiver:
        section = (
            f'[audit.sinks.siem]\nkind = "{kind}"\nurl = "{receiver.url}"\nca_file = "{pki.certificate}"\n'
            "batch = 7"
        )
        log.write(20)
        with Sender(tmp_path, section) as sender:
            sender.wait(
                "siem", lambda one: one.sent == 20 and not one.lines, "the first lines did not arrive"
            )
            receiver.breaks = 1  # it has them, and nobody here knows
            log.write(10)
            sender.wait("siem", lambda one: one.failing, "the break was not noticed")
            sender.wait("siem", lambda one: one.sent == 30, "they were not sent again")
            receiver.stop()
            log.write(10)
            report = sender.wait(
                "siem", lambda one: one.failing and one.lines == 10, "the outage was not noticed"
            )
            assert report.reason is SinkReason.UNREACHABLE and report.oldest
            sender.kill()
            first = log.rotate(".1")
            log.write(10)
            second = log.rotate(".2")
            log.write(10)
            sender.start()
            report = sender.wait("siem", lambda one: one.failing, "the outage is over?")
            assert report.ending and report.lines == 10 + 11 + 11
            packed = first.with_name(first.name + ".gz")
            text = first.read_bytes()
            packed.write_bytes(gzip.compress(text))
            first.unlink()
            sender.kill()
            receiver.start()
            sender.start()
            sender.wait("siem", lambda one: one.sent == 32 and not one.lines, "the rest did not arrive")
            log.write(1)
            assert sender.stop() == 0
    first.write_bytes(text)
    wanted = [line.text for line in lines_of(first, second, log.path)]
    assert list(dict.fromkeys(receiver.got)) == wanted, "each, in order, with the last words"
    assert list(receiver.kept.values()) == wanted, "and once, by what the receiver knows doubles by"
    assert len(receiver.got) <= len(wanted) + 7 and "takes lines again" in sender.said()


def test_syslog_that_is_reset_and_one_sink_that_hangs_beside(tmp_path: Path, log: Log) -> None:
    """A sink that is ill holds up no other one."""
    pki = Authority(tmp_path / "pki")
    with SyslogServer(pki.issue(LOOPBACK)) as good, SyslogServer(pki.issue(LOOPBACK)) as ill:
        ill.never_closes = True
        section = "".join(
            f'[audit.sinks.{name}]\nkind = "syslog"\naddress = "{LOOPBACK}:{server.port}"\n'
            f'ca_file = "{pki.certificate}"\ntimeout = "1s"\n'
            for name, server in (("good", good), ("ill", ill))
        )
        with Sender(tmp_path, section) as sender:
            log.write(5)
            sender.wait("good", lambda one: one.sent == 5, "the good one waits for the ill one")
            report = sender.wait("ill", lambda one: one.failing, "the ill one is well?")
            assert (report.reason, report.lines, report.sent) == (SinkReason.TIMEOUT, 5, 0)
            good.resets_after = 10
            log.write(5)
            sender.wait("good", lambda one: one.reason is SinkReason.CLOSED, "a reset is no end")
            good.resets_after, ill.never_closes = None, False
            sender.wait("good", lambda one: one.sent == 10, "it never recovered")
            sender.wait("ill", lambda one: one.sent == 10, "it never recovered")
            assert sender.stop() == 0
    wanted = [line.raw for line in lines_of(log.path)]
    for server in (good, ill):
        kept = [message[message.index(b"] {") + 2 :] for message in server.messages]
        assert list(dict.fromkeys(kept)) == wanted


def test_two_processes_send_one_after_the_other(tmp_path: Path, log: Log) -> None:
    with Receiver() as receiver:
        section = f'[audit.sinks.siem]\nkind = "loki"\nurl = "{receiver.url}"'
        with Sender(tmp_path, section) as first:
            log.write(3)
            first.wait("siem", lambda one: one.sent == 3, "nothing arrived")
            with Sender(tmp_path, section) as second:
                log.write(2)
                first.wait("siem", lambda one: one.sent == 5, "it has stopped")
                assert not second.reports
                first.kill()
                log.write(2)
                second.wait("siem", lambda one: one.sent == 2, "nobody took over")
                assert second.stop() == 0
    assert receiver.got == [line.text for line in lines_of(log.path)]


def test_no_secret_is_told(tmp_path: Path, log: Log) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("s3cret-token\n")
    with Receiver() as receiver:
        receiver.answers = 403, {}, b"s3cret-answer"
        section = f'[audit.sinks.siem]\nkind = "loki"\nurl = "{receiver.url}"\ntoken_file = "{token}"'
        with Sender(tmp_path, section) as sender:
            log.write(1)
            report = sender.wait("siem", lambda one: one.reason is SinkReason.DENIED, "it was let in?")
            assert sender.stop() == 0
        assert receiver.headers[0]["Authorization"] == "Bearer s3cret-token"
    assert "s3cret" not in sender.said() + report.text + (tmp_path / "state" / "sinks.json").read_text()
