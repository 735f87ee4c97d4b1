"""A reload of a gateway of several workers (L5): all prepare it, and then all take it, or none does.

Each worker reads and checks the files itself, in a thread of its own, and says by a digest what it has read. Only when
all have read the same without a fault are they told to take it; what can fail has been tried by then. A worker that
starts later has to have read what is in force: when the files are others by then, that is a reload too, for all.

Invariant: when a reload is said to be taken, whoever has not taken it lets nobody in any more. What can still fail then
is rare (a disk that fills, a worker that hangs): such a worker is ended and started again; when not one has taken it,
the reload is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, DeferredLock

from bastion.assembly.telling import (
    JOINED,
    SIGHUP,
    START,
    Loaded,
    tell,
    tell_refusal,
)
from bastion.assembly.telling import together as those_who
from bastion.clock import Clock
from bastion.control.node import ControlError, Node, Request
from bastion.errors import ControlReason
from bastion.observe.audit import AuditFailed, AuditLog
from bastion.observe.events.process import Reload
from bastion.observe.meters import CONFIG_RELOADS, Meters
from bastion.supervisor import questions as ask

DIFFERENT = "the files changed while they were read: reload again"


class Reloads:
    """One per gateway. `serving` are the workers to ask, `follow` hears of the settings that are in force."""

    def __init__(
        self,
        clock: Clock,
        audit: AuditLog,
        meters: Meters,
        log: Any,
        serving: Callable[[], Iterable[Node]],
        follow: Callable[[ask.Settings], None],
        end: Callable[[Node, ControlError], Deferred[Any]],
    ) -> None:
        """`end` ends a worker that has not taken a reload, and why; it lets nobody in when that has fired."""
        self._clock, self._audit, self._meters, self._log = clock, audit, meters, log
        self._serving, self._follow, self._end = serving, follow, end
        self.on_told: Callable[[], None] = lambda: None  # what came of a reload has been told
        self._digest = ""  # of what is in force; "" until the first worker has read it
        self.loaded = Loaded(0.0, START)  # when that was
        self._lock = DeferredLock()
        self._asked: list[
            tuple[str, Deferred[Reload]]
        ] = []  # who wait for a reload that has not begun: it is one

    def hup(self, by: str = SIGHUP) -> Deferred[Reload]:
        """Read everything again, in all workers; fires with what came of it."""
        self._audit.reopen()
        told: Deferred[Reload] = Deferred()
        self._asked.append((by, told))
        if len(self._asked) == 1:
            self._lock.run(lambda: Deferred.fromCoroutine(self._for_all())).addErrback(self._failed)
        return told

    async def _for_all(self) -> None:
        asked, self._asked = self._asked, []
        event = await self._reload(those_who([by for by, _ in asked]))
        for _, told in asked:
            told.callback(event)

    def admit(self, checked: ask.Checked, join: Callable[[], None]) -> Deferred[None]:
        """A worker has read its configuration: may it serve? `join` is called when it may, before anything else is
        reloaded. Fails with ControlError."""
        return self._lock.run(lambda: Deferred.fromCoroutine(self._admit(checked, join)))

    async def _admit(self, checked: ask.Checked, join: Callable[[], None]) -> None:
        if not self._digest:
            self._digest, self.loaded = checked.digest, Loaded(self._clock.time(), START)
            self._follow(checked.settings)
        elif checked.digest != self._digest:
            self._log.info("the files are not those in force: a worker that starts has read others")
            await self._reload(JOINED)
        if checked.digest != self._digest:
            raise ControlError(ControlReason.FAILED, "what this worker has read is not in force")
        join()

    async def _reload(self, by: str) -> Reload:
        workers = list(self._serving())
        answers = await together(workers, ask.Prepare())
        refusal = _refusal(answers)
        if refusal:
            await together(workers, ask.Forget())
            return self._refuse(by, refusal)
        read: ask.Read = answers[0]
        assert read.settings is not None
        loaded = Loaded(self._clock.time(), by)
        taken = await together(workers, ask.Take(loaded.at, by))
        missed = {
            worker: why for worker, why in zip(workers, taken, strict=True) if isinstance(why, ControlError)
        }
        if len(missed) == len(workers) and all(map(_refused, missed.values())):
            return self._refuse(by, [f"{worker.name}: {why.text}" for worker, why in missed.items()])
        self._digest, self.loaded = read.digest, loaded
        try:
            self._follow(read.settings)
        except AuditFailed as failed:
            self._log.error("the supervisor's own lines go on where they went: {text}", text=str(failed))
        text = await self._end_others(missed)
        tell(self._log, read.warnings, read.restart, read.changes)
        result = "restart_needed" if read.restart else "ok"
        return self._told(Reload(result, by, ", ".join(read.restart), text, read.changes or None))

    async def _end_others(self, missed: Mapping[Node, ControlError]) -> str:
        """They still have what was in force: end them. What is told of it."""
        lines = []
        for worker, why in missed.items():
            lines.append(f"{worker.name} did not take it and is ended: {why.text}")
            self._log.error("{text}", text=lines[-1])
            await self._end(worker, why)
        return "\n".join(lines)

    def _refuse(self, by: str, faults: Sequence[str]) -> Reload:
        tell_refusal(self._log, faults)
        return self._told(Reload("refused", by, text="\n".join(faults)))

    def _told(self, event: Reload) -> Reload:
        self._meters.add(CONFIG_RELOADS, event.result)
        self._audit.note(event)
        self.on_told()
        return event

    def _failed(self, failure: Any) -> None:
        self._log.failure("reloading failed", failure=failure)


def _refused(why: ControlError) -> bool:
    """It has said itself that it has not taken it; one that says nothing may have."""
    return why.reason is ControlReason.FAILED


def _refusal(answers: Sequence[Any]) -> Sequence[str]:
    """Why what the workers have read cannot be taken; nothing when it can."""
    if not answers:
        return ["no worker serves"]
    for answer in answers:
        if isinstance(answer, ControlError):
            return [answer.text]
        if answer.errors:
            faults: Sequence[str] = answer.errors
            return faults
    return [] if len({answer.digest for answer in answers}) == 1 else [DIFFERENT]


async def together(nodes: Sequence[Node], request: Request[Any]) -> list[Any]:
    """What each of them answers, or the ControlError why it does not. A node that is gone is answered for by nobody,
    but for its ControlError."""
    asked = [node.ask(request) for node in nodes]
    results: list[tuple[bool, Any]] = await DeferredList(asked, consumeErrors=True)
    answers = []
    for answered, result in results:
        if not answered:
            result.trap(ControlError)
        answers.append(result if answered else result.value)
    return answers
