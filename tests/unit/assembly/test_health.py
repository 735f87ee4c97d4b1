"""/healthz, the operator's log and the metric say the same of every part, once per change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from bastion.archive.report import SILENT, Report, leave
from bastion.assembly.health import (
    ASK_EVERY,
    DISK_SILENT,
    FIRST_WORD,
    INTERVAL,
    DiskView,
    Finding,
    HealthWatch,
    State,
)
from bastion.auth.directory import Servers
from bastion.clock import FixedClock
from bastion.errors import HealthPart
from bastion.observe.audit import AuditLog
from bastion.observe.families.keys import CERTIFICATE_EXPIRES
from bastion.observe.families.recordings import TASK_FAULTS, TASK_LAST_RUN
from bastion.observe.labels import SinkReason
from bastion.observe.meters import HEALTH, Meters
from bastion.recording.store import Store
from bastion.sinks import report as sink_reports
from bastion.sinks.report import Report as SinkReport
from bastion.state.database import Place
from bastion.state.runs import Run
from tests.support.audit_lines import Told
from tests.support.state import closed_store
from tests.support.tls import make_certificate


class Directory:
    """As many servers as it is told, and a question that is answered when the test wants it."""

    def __init__(self) -> None:
        self.state = Servers(0, 0, local=True)
        self.asked: list[Deferred[None]] = []

    def servers(self) -> Servers:
        return self.state

    def holders_of(self, *_: object) -> Deferred[frozenset[str]]:
        return succeed(frozenset())

    def ask_again(self) -> Deferred[None]:
        self.asked.append(Deferred())
        return self.asked[-1]


class Log:
    """The operator's log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, form: str, **values: str) -> None:
        self.lines.append(form.format(**values))

    error = info


class Bench:
    """A watch over a real audit log and a real store, with a clock that is turned by hand."""

    def __init__(self, folder: Path, required: bool) -> None:
        self.folder = folder
        self.recordings = folder / "recordings"
        self.recordings.mkdir()
        self.key = folder / "host_key"
        self.key.touch()
        self.reactor = Clock()
        self.clock = FixedClock()
        self.meters = Meters()
        self.directory = Directory()
        self.log = Log()
        self.audit = AuditLog(str(folder / "audit.jsonl"), self.clock, self.meters, required)
        self.store = Store(self.recordings, disk_floor_bytes=1, clock=self.clock)
        self.store.look()
        self.state = closed_store()
        self.agents = SimpleNamespace(
            troubles={"upstream_ca": "", "front_host_ca": ""}, look_again=lambda: self.looked.append(True)
        )
        self.looked: list[bool] = []
        self.gateway: Any = SimpleNamespace(
            reactor=self.reactor,
            clock=self.clock,
            meters=self.meters,
            audit=self.audit,
            store=self.store,
            log=self.log,
            state=self.state,
            draining=False,
            locks_until=None,
            services=SimpleNamespace(auth=SimpleNamespace(directory=self.directory), agents=self.agents),
        )
        self.hung: list[Callable[[], None]] | None = None  # a list: the thread does not come back
        self.watch = HealthWatch(self.gateway, lambda: [self.key], self._in_thread)
        self.watch.start()

    def _in_thread(self, see: Callable[[], DiskView], seen: Callable[[DiskView], None]) -> None:
        if self.hung is None:
            seen(see())
        else:
            self.hung.append(lambda: seen(see()))

    def turn(self, seconds: float = INTERVAL) -> None:
        for _ in range(round(seconds / INTERVAL)):
            self.clock.advance(INTERVAL)
            self.reactor.advance(INTERVAL)

    def page(self) -> tuple[bool, dict[str, str]]:
        well, text = self.watch.page()
        first, *rest = text.splitlines()
        return well, {"": first} | dict(line.split(" ", 1) for line in rest)

    def break_audit(self) -> None:
        (self.folder / "audit.jsonl").rename(self.folder / "kept")
        (self.folder / "audit.jsonl").mkdir()
        self.audit.close()
        self.audit.note(Told("session_started"))

    def mend_audit(self) -> None:
        (self.folder / "audit.jsonl").rmdir()
        (self.folder / "kept").rename(self.folder / "audit.jsonl")


@pytest.fixture(params=[False, True], ids=["lenient", "required"])
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Bench:
    return Bench(tmp_path, request.param)


def test_all_is_well_and_every_part_is_named(bench: Bench) -> None:
    well, lines = bench.page()
    assert well and lines == {"": "ok"} | {str(part): "ok" for part in HealthPart}
    bench.turn(60)
    assert bench.log.lines == []
    bench.watch.stop()
    assert bench.reactor.getDelayedCalls() == []


def test_a_log_that_loses_lines_is_said_once_and_again_when_it_is_back(bench: Bench) -> None:
    bench.break_audit()
    well, lines = bench.page()
    word = "refusing" if bench.audit.required else "degraded"
    assert well is not bench.audit.required and lines[""] == word
    assert lines["audit"].startswith(f"{word}: lines are being lost: ") and "Is a directory" in lines["audit"]
    bench.turn(30)
    assert len(bench.log.lines) == 1 and "audit.jsonl" in bench.log.lines[0]
    assert bench.meters.value(HEALTH, "audit") == (2 if bench.audit.required else 1)
    bench.mend_audit()
    bench.turn()  # nobody logs in, and it recovers all the same
    assert bench.page()[0] and bench.page()[1]["audit"] == "ok"
    assert bench.log.lines[1:] == ["health: audit works again"]
    assert '"audit_resumed","lines_lost":1' in (bench.folder / "audit.jsonl").read_text()
    bench.turn(30)
    assert len(bench.log.lines) == 2


def test_recordings_that_cannot_be_made(bench: Bench) -> None:
    bench.recordings.rmdir()
    bench.recordings.touch()
    bench.turn(ASK_EVERY * INTERVAL)
    well, lines = bench.page()
    assert not well and lines["recordings"].startswith("refusing: no recordings folder at ")
    bench.recordings.unlink()
    bench.turn(ASK_EVERY * INTERVAL)  # the store makes its folder, as for a session
    assert bench.page()[0]
    assert [line.split(":")[1].split()[0] for line in bench.log.lines] == ["recordings", "recordings"]
    assert (
        '"health_changed","part":"recordings","state":"refusing"'
        in (bench.folder / "audit.jsonl").read_text()
    )


def test_a_disk_that_hangs_holds_one_thread_and_shows(bench: Bench) -> None:
    bench.hung = []
    bench.turn(DISK_SILENT - INTERVAL)
    assert bench.page()[0] and len(bench.hung) == 1
    bench.turn(ASK_EVERY * INTERVAL * 2)
    assert not bench.page()[0] and len(bench.hung) == 1
    assert bench.page()[1]["recordings"] == "refusing: the recordings' disk does not answer"
    bench.hung.pop()()
    assert bench.page()[0]


def test_a_disk_below_its_floor(tmp_path: Path) -> None:
    bench = Bench(tmp_path, False)
    bench.store._space.floor = 1 << 60  # type: ignore[misc]
    well, lines = bench.page()
    assert not well and lines["disk_floor"].startswith("refusing: ") and "MiB are free" in lines["disk_floor"]


@pytest.mark.parametrize(
    ("servers", "word"),
    [
        (Servers(2, 2, local=False), "ok"),
        (Servers(2, 1, local=False), "degraded"),
        (Servers(2, 0, local=True), "degraded"),
        (Servers(2, 0, local=False), "refusing"),
    ],
)
def test_the_directory(tmp_path: Path, servers: Servers, word: str) -> None:
    bench = Bench(tmp_path, False)
    bench.directory.state = servers
    well, lines = bench.page()
    assert lines["directory"].split(":")[0] == word and well is (word != "refusing")


def test_a_directory_that_failed_is_asked_again_though_nobody_logs_in(bench: Bench) -> None:
    """A balancer that obeys /readyz sends nobody, so nobody's login would show that it works again."""
    bench.turn(30)
    assert bench.directory.asked == []
    bench.directory.state = Servers(1, 0, local=False)
    bench.turn(ASK_EVERY * INTERVAL * 3)
    assert len(bench.directory.asked) == 1  # one question at a time
    bench.directory.asked[0].callback(None)
    bench.turn(ASK_EVERY * INTERVAL)
    assert len(bench.directory.asked) == 2
    bench.directory.state = Servers(1, 1, local=False)
    bench.turn(ASK_EVERY * INTERVAL)
    assert bench.log.lines[-1] == "health: directory works again"


def test_host_keys_that_the_next_start_could_not_read(bench: Bench) -> None:
    bench.key.unlink()
    bench.turn(ASK_EVERY * INTERVAL)
    well, lines = bench.page()
    assert well and lines["host_keys"].startswith("degraded: ") and "host_key" in lines["host_keys"]


def test_while_nobody_says_what_is_locked_it_refuses(bench: Bench) -> None:
    bench.gateway.locks_until = bench.reactor.seconds() + 2.5 * INTERVAL
    bench.turn(2 * INTERVAL)
    assert bench.page()[0] and bench.page()[1]["nodes"] == "ok"
    bench.turn()
    well, parts = bench.page()
    assert not well and parts["nodes"].startswith("refusing: what is locked is not known")
    bench.gateway.locks_until += 10 * INTERVAL
    assert bench.page()[0]


def test_a_gateway_that_closes_down_refuses(bench: Bench) -> None:
    bench.gateway.draining = True
    assert bench.page() == (False, bench.page()[1]) and bench.page()[1]["gateway"].startswith("refusing: ")


def test_an_agent_that_does_not_sign(bench: Bench) -> None:
    """Without the front host CA's signature the direct door is open still; without the upstream CA's nothing is."""
    bench.agents.troubles["front_host_ca"] = "the agent at /a did not answer within 5 s"
    well, lines = bench.page()
    assert well and lines["agents"] == "degraded: front_host_ca: the agent at /a did not answer within 5 s"
    bench.agents.troubles["upstream_ca"] = "the agent at /a refuses to sign with the key that it has"
    well, lines = bench.page()
    assert not well and lines["agents"].startswith("refusing: upstream_ca: the agent at /a refuses")
    assert bench.looked


def test_uploads_that_fail_degrade_and_refuse_nobody(tmp_path: Path) -> None:
    one = Bench(tmp_path, required=False)
    watch = HealthWatch(one.gateway, lambda: [one.key], one._in_thread, lambda: tmp_path)
    now = one.clock.time()
    for report, state in (
        (Report(now, 7), State.OK),
        (Report(now, 7, waiting=2, oldest=now, trouble="no route"), State.DEGRADED),
        (Report(now - SILENT - 1, 7), State.DEGRADED),
    ):
        leave(tmp_path, report)
        watch._seen(watch._see_disk())
        (found,) = (one for one in watch.findings() if one.part is HealthPart.UPLOADS)
        assert found.state is state and found.text == report.text(now)
    assert watch.page()[0]
    one.audit.close()
    one.store.close()


def test_sinks_that_fail_degrade_and_refuse_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Bench(tmp_path, required=False)
    monkeypatch.setattr(one.gateway.state, "place", Place(tmp_path))
    names = ["siem"]
    watch = HealthWatch(one.gateway, lambda: [one.key], one._in_thread, sinks=lambda: names)
    now = one.clock.time()

    def sinks() -> Finding:
        watch._seen(watch._see_disk())
        (found,) = (found for found in watch.findings() if found.part is HealthPart.SINKS)
        return found

    assert sinks() == Finding(HealthPart.SINKS, State.OK, "siem: nothing was heard of it yet")
    good = SinkReport("siem", "loki", now, 7)
    bad = replace(good, reason=SinkReason.TLS, text="there", lines=2, oldest=now - 9)
    for report, state in (
        (good, State.OK),
        (bad, State.DEGRADED),
        (replace(good, ending=True), State.DEGRADED),
    ):
        sink_reports.leave(tmp_path, [report, replace(bad, name="gone")])
        assert sinks() == Finding(HealthPart.SINKS, state, report.words(now)), "of those that are configured"
    assert watch.page()[0]
    names.clear()
    assert sinks() == Finding(HealthPart.SINKS, State.OK, "")
    one.audit.close()
    one.store.close()


def test_programs_that_never_say_a_word_degrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No gauge of theirs would tell: all of them stand at 0."""
    one = Bench(tmp_path, required=False)
    monkeypatch.setattr(one.gateway.state, "place", Place(tmp_path))
    watch = HealthWatch(
        one.gateway, lambda: [one.key], one._in_thread, lambda: tmp_path, sinks=lambda: ["siem"]
    )

    def states() -> set[State]:
        watch._seen(watch._see_disk())
        parts = HealthPart.UPLOADS, HealthPart.SINKS
        return {found.state for found in watch.findings() if found.part in parts}

    assert states() == {State.OK}
    one.turn(FIRST_WORD)
    assert states() == {State.OK}
    one.turn()
    assert states() == {State.DEGRADED}
    now = one.clock.time()
    leave(tmp_path, Report(now, 7))
    sink_reports.leave(tmp_path, [SinkReport("siem", "loki", now, 7)])
    assert states() == {State.OK}
    one.audit.close()
    one.store.close()


def test_how_commands_over_the_recordings_ended_is_in_the_metrics(bench: Bench) -> None:
    view = bench.watch._see_disk()
    runs = {"verify": Run(1_800_000_000.5, 3), "index": Run(1_800_000_100.0, 0), "unheard_of": Run(1.0, 1)}
    bench.watch._seen(replace(view, runs=runs))
    assert bench.meters.value(TASK_LAST_RUN, "verify") == 1_800_000_000
    assert bench.meters.value(TASK_FAULTS, "verify") == 3
    assert bench.meters.value(TASK_LAST_RUN, "index") == 1_800_000_100


def test_the_end_of_the_page_s_certificate_follows_its_file(bench: Bench) -> None:
    files: list[Path] = []
    watch = HealthWatch(
        bench.gateway, lambda: [bench.key], bench._in_thread, certificate=lambda: files[-1] if files else None
    )

    def ends() -> int:
        watch._seen(watch._see_disk())
        return bench.meters.value(CERTIFICATE_EXPIRES, "metrics")

    assert ends() == 0
    files.append(make_certificate(bench.folder, days=30)[0])
    month = ends()
    make_certificate(bench.folder, days=90)
    assert ends() - month == pytest.approx(60 * 86400, abs=60)
    until = ends()
    files[-1].write_text("no certificate")
    assert ends() == until, "the page keeps the one that it has"
    files.clear()
    assert ends() == 0
