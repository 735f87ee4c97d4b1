"""What works and what does not, said on /readyz, on the operator's log and as a metric (L4).

Every part is read from state that the gateway has anyway; what only the disk can tell is asked for in a thread of
its own, one question at a time, so a disk that hangs stops nothing here and shows as such. Invariants: REFUSING
means that sessions are refused now because of that part; a change is told once, and so is the return; a part that
stopped being used because it failed is tried again without anybody logging in, or a balancer that obeys /readyz
would never send the login that shows that it works.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final

from bastion.archive.report import Report, left
from bastion.ca.ledger import KeyName
from bastion.clock import DelayedCall
from bastion.config.key_dates import certificate_end
from bastion.errors import HealthPart
from bastion.observe.events.process import HealthChanged
from bastion.observe.families.keys import CERTIFICATE_EXPIRES
from bastion.observe.families.recordings import TASK_FAULTS, TASK_LAST_RUN, TASKS
from bastion.observe.meters import HEALTH
from bastion.recording.store import SYNC_BEHIND_SECONDS
from bastion.session.gateway import Gateway, locks_known
from bastion.sinks import report as sink_reports
from bastion.state.runs import Run, left_runs
from bastion.wire.printable import printable

INTERVAL: Final = 1.0
"""Seconds between two looks at the state, about 20 us each, and so how late a change is told."""

ASK_EVERY: Final = 5
"""Looks between two questions to the disk (a statvfs and some access(2) in a thread), and to a directory that fails."""

DISK_SILENT: Final = SYNC_BEHIND_SECONDS
"""Seconds without an answer after which the disk counts as hanging."""


FIRST_WORD: Final = 120.0
"""Seconds in which a program beside the gateway says how it is: after that it does not run."""


class State(IntEnum):
    """How a part is; the numbers are the metric's values."""

    OK = 0
    DEGRADED = 1  # something is lost or some logins fail; sessions begin
    REFUSING = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One part, how it is, and what is wrong in one line."""

    part: HealthPart
    state: State
    text: str = ""


@dataclass(frozen=True, slots=True)
class DiskView:
    """What a thread saw: why recordings cannot be made ("" = they can), host key files that cannot be read, how the
    uploads and the audit log's sinks are, and how commands that are run over the recordings ended."""

    recordings: str = ""
    host_keys: str = ""
    uploads: Report | None = None
    sinks: tuple[sink_reports.Report, ...] = ()
    certificate_ends: int = 0  # that of the metrics page; 0: there is none
    runs: Mapping[str, Run] = field(default_factory=dict)


UNKNOWN: Final = "what is locked is not known: neither the store nor all other gateways answer"

InThread = Callable[[Callable[[], DiskView], Callable[[DiskView], None]], None]
"""Calls the first in a thread, and the second with its result in the reactor's."""


class HealthWatch:
    """One per process: `start`, `stop`, and `page` for whoever asks."""

    def __init__(
        self,
        gateway: Gateway,
        host_key_files: Callable[[], Sequence[Path]],
        in_thread: InThread | None = None,
        reports: Callable[[], Path | None] = lambda: None,
        certificate: Callable[[], Path | None] = lambda: None,
        sinks: Callable[[], Collection[str]] = lambda: (),
    ) -> None:
        """`reports`: the folder in which the process that uploads says how it is; None: nothing is uploaded. `sinks`:
        the names of the audit log's. `certificate`: the file of the metrics page's; None: it has none."""
        self._gateway = gateway
        self._host_key_files = host_key_files
        self._reports, self._certificate, self._sink_names = reports, certificate, sinks
        self._in_thread: InThread = self._start_thread if in_thread is None else in_thread
        self._timer: DelayedCall | None = None
        self._looks = 0
        self._disk = DiskView()
        self._asked_at: float | None = None  # since when the thread has been asked
        self._asking_directory = False
        self._unheard: dict[str, float] = {}  # of whom nothing was heard: since when
        self._told = dict.fromkeys(HealthPart, State.OK)

    def start(self) -> None:
        self._look()

    def stop(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def page(self) -> tuple[bool, str]:
        """(do sessions begin, the lines of the page): `ok`, `degraded` or `refusing`, then a line for each part."""
        found = list(self.findings())
        worst = max(finding.state for finding in found)
        lines = [worst.name.lower()]
        for finding in found:
            tail = f": {printable(finding.text)}" if finding.text else ""
            lines.append(f"{finding.part} {finding.state.name.lower()}{tail}")
        return worst < State.REFUSING, "\n".join(lines)

    def findings(self) -> Iterator[Finding]:
        """Every part as it is now, from plain state."""
        gateway = self._gateway
        draining = State.REFUSING if gateway.draining else State.OK
        yield Finding(HealthPart.GATEWAY, draining, "the gateway is closing down" if gateway.draining else "")
        yield self._audit()
        yield self._recordings()
        yield self._disk_floor()
        yield self._directory()
        yield self._state()
        missing = self._disk.host_keys
        yield Finding(HealthPart.HOST_KEYS, State.DEGRADED if missing else State.OK, missing)
        yield self._agents()
        yield self._uploads()
        known = locks_known(gateway)
        yield Finding(HealthPart.NODES, State.OK if known else State.REFUSING, "" if known else UNKNOWN)
        yield self._sinks()

    # -- the parts ---------------------------------------------------------------------------------------

    def _audit(self) -> Finding:
        audit = self._gateway.audit
        if not audit.failing:
            return Finding(HealthPart.AUDIT, State.OK)
        state = State.REFUSING if audit.required else State.DEGRADED
        return Finding(HealthPart.AUDIT, state, f"lines are being lost: {audit.path} {audit.fault}")

    def _recordings(self) -> Finding:
        if self._disk.recordings:
            return Finding(HealthPart.RECORDINGS, State.REFUSING, self._disk.recordings)
        silent = 0.0 if self._asked_at is None else self._gateway.clock.monotonic() - self._asked_at
        store = self._gateway.store.health()
        if max(silent, store.sync_behind) > DISK_SILENT:
            return Finding(HealthPart.RECORDINGS, State.REFUSING, "the recordings' disk does not answer")
        if store.trouble:
            return Finding(HealthPart.RECORDINGS, State.REFUSING, store.trouble)
        return Finding(HealthPart.RECORDINGS, State.OK)

    def _disk_floor(self) -> Finding:
        health = self._gateway.store.health()
        if health.free_bytes >= health.floor_bytes:
            return Finding(HealthPart.DISK_FLOOR, State.OK)
        text = f"{health.free_bytes >> 20} MiB are free, {health.floor_bytes >> 20} MiB are needed"
        return Finding(HealthPart.DISK_FLOOR, State.REFUSING, text)

    def _directory(self) -> Finding:
        servers = self._gateway.services.auth.directory.servers()
        if servers.healthy == servers.all:
            return Finding(HealthPart.DIRECTORY, State.OK)
        text = f"{servers.all - servers.healthy} of {servers.all} LDAP servers do not answer"
        if servers.healthy:
            return Finding(HealthPart.DIRECTORY, State.DEGRADED, text)
        if servers.local:
            return Finding(HealthPart.DIRECTORY, State.DEGRADED, f"{text}; embedded accounts log in")
        return Finding(HealthPart.DIRECTORY, State.REFUSING, f"{text}, and there are no embedded accounts")

    def _agents(self) -> Finding:
        """Without the upstream CA's signature no target lets anybody in, but those with keys of their own."""
        troubles = self._gateway.services.agents.troubles
        found = [f"{use}: {text}" for use, text in troubles.items() if text]
        refusing = bool(troubles.get(KeyName.UPSTREAM_CA))
        state = State.REFUSING if refusing else State.DEGRADED if found else State.OK
        return Finding(HealthPart.AGENTS, state, "; ".join(found))

    def _state(self) -> Finding:
        store, state = self._gateway.state.health(), self._gateway.state
        if not store.down and not store.spool:
            return Finding(HealthPart.STATE, State.OK)
        text = f"{store.owed} rows are owed: {store.down or 'their file: ' + store.spool}"
        refusing = store.full or (state.refuse and store.down)
        return Finding(HealthPart.STATE, State.REFUSING if refusing else State.DEGRADED, text)

    def _uploads(self) -> Finding:
        """No session is refused because of it: recordings wait in the spool, whose limit is the disk floor."""
        report, now = self._disk.uploads, self._gateway.clock.time()
        wanted = self._reports() is not None
        silent = self._silent("uploads", report is not None or not wanted)
        if not wanted:
            return Finding(HealthPart.UPLOADS, State.OK)
        if report is None:
            return Finding(HealthPart.UPLOADS, silent, "nothing was heard of them yet")
        state = State.OK if report.well(now) else State.DEGRADED
        return Finding(HealthPart.UPLOADS, state, report.text(now))

    def _sinks(self) -> Finding:
        """No session is refused because of one: lines wait in the log's files."""
        wanted, now = self._sink_names(), self._gateway.clock.time()
        reports = {report.name: report for report in self._disk.sinks if report.name in wanted}
        said = [report.words(now) for report in reports.values()]
        said += [f"{name}: nothing was heard of it yet" for name in wanted if name not in reports]
        states = [self._silent(f"sink {name}", name in reports) for name in wanted]
        states += [State.OK if report.well(now) else State.DEGRADED for report in reports.values()]
        return Finding(HealthPart.SINKS, max(states, default=State.OK), "; ".join(said))

    def _silent(self, who: str, heard: bool) -> State:
        """How a program beside the gateway is that may have said nothing yet."""
        now = self._gateway.clock.monotonic()
        if heard:
            self._unheard.pop(who, None)
        late = not heard and now - self._unheard.setdefault(who, now) > FIRST_WORD
        return State.DEGRADED if late else State.OK

    # -- looking -----------------------------------------------------------------------------------------

    def _look(self) -> None:
        if self._gateway.audit.failing:
            self._gateway.audit.retry()
        if self._looks % ASK_EVERY == 0:
            self._ask_directory()
            self._ask_disk()
            self._gateway.services.agents.look_again()
        self._looks += 1
        for finding in self.findings():
            self._gateway.meters.set(HEALTH, int(finding.state), finding.part)
            if finding.state != self._told[finding.part]:
                self._told[finding.part] = finding.state
                self._tell(finding)
        self._timer = self._gateway.reactor.callLater(INTERVAL, self._look)

    def _tell(self, finding: Finding) -> None:
        gateway, part = self._gateway, str(finding.part)
        if finding.state is State.OK:
            gateway.log.info("health: {part} works again", part=part)
        else:
            word = finding.state.name.lower()
            gateway.log.error("health: {part} {word}: {text}", part=part, word=word, text=finding.text)
        if finding.part is not HealthPart.AUDIT:  # which says itself that lines were lost
            gateway.audit.note(HealthChanged(part, finding.state.name.lower(), finding.text))

    def _ask_disk(self) -> None:
        """A thread that has not come back is waited for: a disk that hangs holds one."""
        if self._asked_at is None:
            self._asked_at = self._gateway.clock.monotonic()
            self._in_thread(self._see_disk, self._seen)

    def _ask_directory(self) -> None:
        """While no server answers, ask again: one question at a time, with the directory's own deadline."""
        directory = self._gateway.services.auth.directory
        if self._asking_directory or directory.servers().healthy or not directory.servers().all:
            return
        self._asking_directory = True

        def asked(_: object) -> None:
            self._asking_directory = False

        directory.ask_again().addBoth(asked)

    # -- in the thread -----------------------------------------------------------------------------------

    def _see_disk(self) -> DiskView:
        unread = [str(file) for file in self._host_key_files() if not os.access(file, os.R_OK)]
        text = f"{', '.join(unread)} cannot be read: the next start or reload would fail" if unread else ""
        folder = self._reports()
        uploads = None if folder is None else left(folder)
        sinks = sink_reports.left(self._gateway.state.place.folder) if self._sink_names() else ()
        certificate = self._certificate()
        ends = 0 if certificate is None else certificate_end(certificate)
        runs = left_runs(self._gateway.state.place.folder)
        return DiskView(self._gateway.store.look(), text, uploads, sinks, ends, runs)

    def _seen(self, view: DiskView) -> None:
        self._disk, self._asked_at = view, None
        if view.certificate_ends or self._certificate() is None:  # a file that cannot be read ends as it did
            self._gateway.meters.set(CERTIFICATE_EXPIRES, view.certificate_ends, "metrics")
        for task, run in view.runs.items():
            if task in TASKS:
                self._gateway.meters.set(TASK_LAST_RUN, round(run.at), task)
                self._gateway.meters.set(TASK_FAULTS, run.faults, task)

    def _start_thread(self, see: Callable[[], DiskView], seen: Callable[[DiskView], None]) -> None:
        """A thread for each look: it ends with it, and one that hangs ends with the process."""
        reactor = self._gateway.reactor
        threading.Thread(
            target=lambda: reactor.callFromThread(seen, see()), name="health", daemon=True
        ).start()
