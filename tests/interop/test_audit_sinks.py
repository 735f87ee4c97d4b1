"""The audit log to a real rsyslog over TLS, to a real journald, and out of a whole gateway."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.net import LOOPBACK
from tests.support.pki import Authority
from tests.support.sinks import PATIENCE, Log, Receiver, Rsyslog, Sender, lines_of, rsyslog_missing
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

pytestmark = [pytest.mark.slow, pytest.mark.interop]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / "audit.jsonl")
    yield made
    made.close()


# -- rsyslog -----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(bool(rsyslog_missing()), reason=rsyslog_missing() or "available")
def test_rsyslog_over_tls_has_every_line_through_an_outage(tmp_path: Path, log: Log) -> None:
    pki = Authority(tmp_path / "pki")
    own = pki.issue("gw1")
    server = Rsyslog(
        tmp_path / "rsyslog", pki.certificate, pki.issue("logs.example.com", LOOPBACK), client="gw1"
    )
    section = (
        f'[audit.sinks.siem]\nkind = "syslog"\naddress = "{LOOPBACK}:{server.port}"\nca_file = "{pki.certificate}"\n'
        f'server_name = "logs.example.com"\nclient_certificate = "{own.certificate}"\nclient_key = "{own.key}"\n'
        "batch = 7\n"
    )
    try:
        with Sender(tmp_path, section) as sender:
            log.write(30, padding="Grüße]\\" * 500)
            sender.wait("siem", lambda one: one.sent == 30, "rsyslog did not confirm")
            server.kill()
            log.write(10)
            sender.wait("siem", lambda one: one.failing and one.lines == 10, "the outage was not noticed")
            first = log.rotate(".1")
            log.write(10)
            sender.kill()
            server.start()
            sender.start()
            sender.wait("siem", lambda one: one.sent == 21, "the rest was not confirmed")
            assert sender.stop() == 0
        wanted = lines_of(first, log.path)
        poll(lambda: len({row[0] for row in server.kept()}) >= len(wanted), PATIENCE, "not all was written")
        kept = server.kept()
        assert len(kept) == len(wanted), (
            "killed before anything came, and read to the end: nothing comes twice here"
        )
        assert list(dict.fromkeys(text for _, _, text in kept)) == [line.text for line in wanted]
        assert all(f'id="{line.id}"' in data for line, (data, _, _) in zip(wanted, kept, strict=True))
        assert {event for _, event, _ in kept} == {"lobby", "audit_continued"}
        verified(tmp_path / "kept.jsonl", [text for _, _, text in kept])
    finally:
        server.close()


KILLS, DELIVERY = 6, 40


@pytest.mark.skipif(bool(rsyslog_missing()), reason=rsyslog_missing() or "available")
def test_a_sender_that_is_killed_in_a_delivery_sends_that_one_twice_and_no_other(
    tmp_path: Path, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each time as soon as rsyslog has written the first line of a delivery that nobody has confirmed yet."""
    pki = Authority(tmp_path / "pki")
    server = Rsyslog(tmp_path / "rsyslog", pki.certificate, pki.issue(LOOPBACK))
    section = (
        f'[audit.sinks.siem]\nkind = "syslog"\naddress = "{LOOPBACK}:{server.port}"\n'
        f'ca_file = "{pki.certificate}"\nbatch = {DELIVERY}\n'
    )
    twice = []
    try:
        log.write(1)
        with Sender(tmp_path, section) as sender:
            sender.wait("siem", lambda one: one.sent == 1, "rsyslog did not confirm")
            for _ in range(KILLS):
                before, size = server.kept(), server.file.stat().st_size
                texts = {text for _, _, text in before}
                log.write(2 * DELIVERY, padding="x" * 60_000)
                poll(lambda size=size: server.file.stat().st_size > size, PATIENCE, "nothing came")
                sender.kill()
                sender.start()
                log.write(1)
                sender.wait("siem", lambda one: one.sent > 0 and not one.lines, "the rest was not confirmed")
                come = server.kept()[len(before) :]
                again = len(come) - len({text for _, _, text in come})
                assert not texts & {text for _, _, text in come}, "what was confirmed before"
                twice.append(again)
            assert sender.stop() == 0
        wanted = [line.text for line in lines_of(log.path)]
        kept = server.kept()
        assert list(dict.fromkeys(text for _, _, text in kept)) == wanted, "each, in order"
        assert len({data for data, _, _ in kept}) == len(wanted), "and known by its id"
        assert max(twice) <= DELIVERY and any(twice)
    finally:
        server.close()
    with capsys.disabled():
        print(f"\nlines that came twice after each of {KILLS} kills, {DELIVERY} in a delivery: {twice}")


def verified(file: Path, lines: list[str]) -> None:
    """What a receiver has kept is proved as the log itself, a file for each chain."""
    chains: dict[str, list[str]] = {}
    for line in lines:
        chains.setdefault(json.loads(line)["chain"], []).append(line)
    files = [file.with_name(f"{file.stem}.{number}") for number in range(len(chains))]
    for path, texts in zip(files, chains.values(), strict=True):
        path.write_text("".join(f"{text}\n" for text in texts))
    command = [sys.executable, "-m", "bastion", "audit", "verify", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(bool(rsyslog_missing()), reason=rsyslog_missing() or "available")
def test_rsyslog_that_does_not_know_the_client_has_confirmed_nothing(tmp_path: Path, log: Log) -> None:
    pki = Authority(tmp_path / "pki")
    other = pki.issue("somebody-else")
    server = Rsyslog(tmp_path / "rsyslog", pki.certificate, pki.issue(LOOPBACK), client="gw1")
    section = (
        f'[audit.sinks.siem]\nkind = "syslog"\naddress = "{LOOPBACK}:{server.port}"\nca_file = "{pki.certificate}"\n'
        f'client_certificate = "{other.certificate}"\nclient_key = "{other.key}"\n'
    )
    try:
        with Sender(tmp_path, section) as sender:
            log.write(3)
            report = sender.wait("siem", lambda one: bool(one.results), "nothing was tried")
            assert report.failing and report.sent == 0 and report.lines == 3 and server.kept() == []
    finally:
        server.close()


# -- journald ----------------------------------------------------------------------------------------------------------

JOURNALD = Path("/lib/systemd/systemd-journald")


def journald_missing() -> str:
    if not JOURNALD.exists() or shutil.which("journalctl") is None:
        return "systemd-journald is not installed"
    return "" if os.geteuid() == 0 else "a journald of its own needs root"


class Journald:
    """A real one, of a namespace of its own."""

    def __init__(self, log: Path) -> None:
        self.name, self._log = f"bastion-test-{os.getpid()}", log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([JOURNALD, self.name], stdout=log, stderr=log)
        socket = Path(f"/run/systemd/journal.{self.name}/socket")

        def is_there() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                pytest.skip(f"systemd-journald cannot run here: {self._log.read_text()[-200:]}")
            return socket.exists()

        poll(is_there, PATIENCE, "journald did not begin")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)
        Path(f"/run/systemd/journal.{self.name}/socket").unlink()

    def serials(self) -> list[str]:
        command = [
            "journalctl",
            f"--namespace={self.name}",
            "-q",
            "--no-pager",
            "-o",
            "json",
            "SYSLOG_IDENTIFIER=bastion",
        ]
        rows = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout.splitlines()
        return [json.loads(row)["MESSAGE"] for row in rows]

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(20)
        shutil.rmtree(f"/run/systemd/journal.{self.name}", ignore_errors=True)
        for folder in (Path("/run/log/journal"), Path("/var/log/journal")):
            for found in folder.glob(f"*.{self.name}"):
                shutil.rmtree(found)


@pytest.mark.skipif(bool(journald_missing()), reason=journald_missing() or "available")
def test_journald_has_every_line_once_through_an_outage(tmp_path: Path, log: Log) -> None:
    journald = Journald(tmp_path / "journald.log")
    section = f'[audit.sinks.journal]\nkind = "journald"\nnamespace = "{journald.name}"\nbatch = 50\n'
    try:
        journald.start()
        with Sender(tmp_path, section) as sender:
            log.write(120)
            sender.wait("journal", lambda one: one.sent == 120, "the journal does not show them")
            journald.kill()
            log.write(10)
            sender.wait("journal", lambda one: one.failing, "the outage was not noticed")
            first = log.rotate(".1")
            log.write(10)
            (state,) = (tmp_path / "state" / "sinks").glob("journal.json")
            before = state.read_bytes()
            sender.kill()
            journald.start()
            sender.start()
            sender.wait("journal", lambda one: one.sent == 21 and not one.lines, "the rest is not there")
            sender.kill()
            state.write_bytes(before)  # as if it had died just before it noted that
            sender.start()
            sender.wait("journal", lambda one: one.sent == 21 and not one.lines, "it did not find its place")
            assert sender.stop() == 0
        wanted = [line.text for line in lines_of(first, log.path)]
        assert journald.serials() == wanted, "each of them once, without dropping any"
    finally:
        journald.close()


# -- a whole gateway ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available")
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.soak), 2])
def test_a_gateway_sends_what_it_writes_and_says_how_it_is(workers: int) -> None:
    with Receiver() as receiver:
        section = f'[audit.sinks.siem]\nkind = "otlp"\nurl = "{receiver.url}"\n'
        world = World(config=section, workers=workers)
        try:
            world.start()
            assert world.ssh("true").returncode == 0
            receiver.wait(
                lambda: any('"session_ended"' in text for text in receiver.got), "the session did not arrive"
            )
            poll(lambda: "siem: nothing waits" in status(world), PATIENCE, "status does not say so")
            assert world.metric('bastion_audit_sink_lines_total{kind="otlp"}') == len(receiver.got)
            delivered = 'bastion_audit_sink_deliveries_total{kind="otlp",result="delivered"}'
            assert 1 <= world.metric(delivered) <= len(receiver.bodies)
            assert world.metric("bastion_audit_sink_process_starts_total") == 1
            receiver.stop()
            assert world.ssh("true").returncode == 0, "a session waits for no sink"
            poll(
                lambda: "siem: " in status(world) and "unreachable" in status(world),
                PATIENCE,
                "no word of the outage",
            )
            receiver.start()
            receiver.wait(
                lambda: any('"state":"failing"' in text for text in receiver.got), "it did not recover"
            )
            world.kill(signal.SIGTERM)
        finally:
            world.close()
        assert len(receiver.kept) == len(set(receiver.got)) and len(set(receiver.got)) > 5


@pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available")
def test_the_line_that_a_gateway_ends_with_is_sent_too() -> None:
    """It may never be started again."""
    with Receiver() as receiver:
        world = World(config=f'[audit.sinks.siem]\nkind = "loki"\nurl = "{receiver.url}"\n')
        try:
            world.start()
            receiver.wait(lambda: bool(receiver.got), "it sends nothing")
            world.kill(signal.SIGTERM)
            written = [line.text for line in lines_of(world.folder / "audit.jsonl")]
        finally:
            world.close()
        assert '"gateway_stopped"' in written[-1] and sorted(receiver.got) == sorted(written)


def status(world: World) -> str:
    command = [sys.executable, "-m", "bastion", "status", "--config", str(world.config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
