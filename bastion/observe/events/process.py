"""Events of the gateway itself (L0, pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from bastion.errors import InventoryReason
from bastion.observe.events.base import AuditEvent, Line, because, of
from bastion.observe.labels import SinkReason


@dataclass(frozen=True, slots=True)
class ClockStepped(AuditEvent):
    """the machine's clock was set, or the machine slept"""

    event: ClassVar[str] = "clock_stepped"

    seconds: Annotated[float, "forward; negative: back"]

    @staticmethod
    def sentence(line: Line) -> str:
        seconds = line.get("seconds", "?")
        return f"the machine's clock was set by {seconds} s: times before and after do not compare"


@dataclass(frozen=True, slots=True)
class GatewayStarted(AuditEvent):
    """the process is listening"""

    event: ClassVar[str] = "gateway_started"

    version: str
    config: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the gateway started{of(line, 'version', ', version ')}"


@dataclass(frozen=True, slots=True)
class DrainStarted(AuditEvent):
    """nothing new begins, what runs may finish"""

    event: ClassVar[str] = "drain_started"

    signal: str
    seconds: Annotated[float, "until what still runs is ended"]
    sessions: int
    connections: Annotated[int, "of engineers, those of the sessions included"]

    @staticmethod
    def sentence(line: Line) -> str:
        running = f"{line.get('sessions', '?')} sessions ran"
        return f"the gateway began to close down, {running}{of(line, 'seconds', ' and had, in seconds, ')}"


@dataclass(frozen=True, slots=True)
class DrainEnded(AuditEvent):
    """the end of that, just before the gateway ends"""

    event: ClassVar[str] = "drain_ended"

    result: Annotated[str, "`empty`: all had finished; `deadline`; `hurried`: by a second signal"]
    sessions: Annotated[int, "that still ran, and are ended"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the gateway had let sessions finish ({line.get('result', '?')}), {line.get('sessions', '?')} still ran"


@dataclass(frozen=True, slots=True)
class HandedOver(AuditEvent):
    """another process is the gateway from now on; this one serves the sessions that it has"""

    event: ClassVar[str] = "handed_over"

    version: Annotated[str, "of the other"]
    pid: Annotated[int, "of the other"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"another process took over{of(line, 'version', ', version ')}{of(line, 'pid', ', pid ')}"


@dataclass(frozen=True, slots=True)
class HandoverFailed(AuditEvent):
    """it was to be so, and this process goes on"""

    event: ClassVar[str] = "handover_failed"

    text: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"no other process took over{of(line, 'text', ': ')}"


@dataclass(frozen=True, slots=True)
class LedgerHead(AuditEvent):
    """the newest line of the ledger of recordings, once a minute when there is a new one"""

    event: ClassVar[str] = "ledger_head"

    node: str
    serial: Annotated[int, "of the line"]
    digest: Annotated[str, "SHA-256 of the line, and through the chain of all before"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the ledger of recordings had come to line {line.get('serial', '?')}"


@dataclass(frozen=True, slots=True)
class LedgerBroken(AuditEvent):
    """the ledger of recordings was damaged, was put aside, and a new one begins with its digest"""

    event: ClassVar[str] = "ledger_broken"

    text: Annotated[str, "where it is now"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the ledger of recordings was damaged{of(line, 'text', ' and put aside: ')}"


@dataclass(frozen=True, slots=True)
class GatewayStopped(AuditEvent):
    """it ends"""

    event: ClassVar[str] = "gateway_stopped"

    signal: str

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the gateway stopped{of(line, 'signal', ' on ')}"


@dataclass(frozen=True, slots=True)
class Reload(AuditEvent):
    """the files were read again"""

    event: ClassVar[str] = "reload"

    result: Annotated[str, "`ok`, `restart_needed`, `refused`"]
    by: Annotated[str, "who wanted it: `SIGHUP`, `inventory NAME`, an account, a worker that started"] = ""
    restart: Annotated[str, "the options that wait for one"] = ""
    text: Annotated[
        str, "every fault, a line each; of one that is taken, the workers that were ended over it"
    ] = ""
    changed: Annotated[tuple[str, ...] | None, "what is different: options, names of targets and rules"] = (
        None
    )

    @staticmethod
    def sentence(line: Line) -> str:
        if line.get("result") == "refused":
            return f"a reload{of(line, 'by', ' by ')} was refused, the configuration stayed as it was{because(line)}"
        changed = line.get("changed")
        what = f": {', '.join(map(str, changed))}" if isinstance(changed, list) and changed else ""
        needed = of(line, "restart", "; a restart is needed for ")
        return f"the configuration was reloaded{of(line, 'by', ' by ')}{what}{needed}{of(line, 'text', '; ')}"


@dataclass(frozen=True, slots=True)
class AuditSinkState(AuditEvent):
    """a sink of this log takes no lines, or does again, or has missed some for good"""

    event: ClassVar[str] = "audit_sink"

    sink: str
    kind: str
    state: Annotated[
        str,
        "`ok`, `failing` (lines wait), `refused` (lines were left out: it took others and not these),"
        " `lost` (their file was removed before it got them)",
    ]
    reason: Annotated[SinkReason | None, "what came of the last delivery"] = None
    text: str = ""
    lines: Annotated[int | None, "that wait, or were left out, or are lost"] = None

    @staticmethod
    def sentence(line: Line) -> str:
        name, state, lines = line.get("sink", "?"), line.get("state", "?"), line.get("lines", "?")
        if state == "ok":
            return f"the audit log's sink {name} takes lines again"
        if state == "failing":
            return f"the audit log's sink {name} takes no lines{because(line)}"
        return f"{lines} lines did not reach the audit log's sink {name}: {state}"


@dataclass(frozen=True, slots=True)
class InventoryState(AuditEvent):
    """an inventory that is asked gives no answer that can be used, or does again"""

    event: ClassVar[str] = "inventory"

    inventory: str
    state: Annotated[str, "`ok`, `failing` (what it said last counts), `expired` (its targets are taken out)"]
    reason: Annotated[InventoryReason | None, "what came of asking it"] = None
    text: str = ""
    age: Annotated[int | None, "seconds since the answer that counts, or counted"] = None
    targets: Annotated[int | None, "in it"] = None

    @staticmethod
    def sentence(line: Line) -> str:
        name, state = line.get("inventory", "?"), line.get("state", "?")
        if state == "ok":
            return f"the inventory {name} answers again"
        gone = ", and its targets are taken out" if state == "expired" else ""
        return f"the inventory {name} gives no answer{because(line)}{gone}"


@dataclass(frozen=True, slots=True)
class HealthChanged(AuditEvent):
    """a part of the gateway fails, or works again (see `/readyz` in [metrics.md](metrics.md))"""

    event: ClassVar[str] = "health_changed"

    part: str
    state: Annotated[str, "`ok`, `degraded`, `refusing`"]
    text: str

    @staticmethod
    def sentence(line: Line) -> str:
        part = line.get("part", "?")
        if line.get("state") == "ok":
            return f"{part} works again"
        return f"{part} {line.get('state', '?')}{of(line, 'text', ': ')}"


@dataclass(frozen=True, slots=True)
class LinesSummed(AuditEvent):
    """a source or an identity had used up its share of the log: so many lines were counted and not written"""

    event: ClassVar[str] = "lines_summed"

    lines: int
    counts: Annotated[Mapping[str, int], "by event and reason"]
    seconds: Annotated[int, "since the first of them"]
    source: Annotated[str, "or `identity`: `others` beyond 256 of them"] = ""
    identity: str = ""

    @staticmethod
    def sentence(line: Line) -> str:
        who = line.get("source") or line.get("identity") or "?"
        return (
            f"{line.get('lines', '?')} lines of {who} were counted and not written, as it had used up its share of the "
            f"log{of(line, 'counts', ': ')}"
        )


@dataclass(frozen=True, slots=True)
class AuditResumed(AuditEvent):
    """lines were lost before this one"""

    event: ClassVar[str] = "audit_resumed"

    lines_lost: int

    @staticmethod
    def sentence(line: Line) -> str:
        return f"audit lines were lost before this point: {line.get('lines_lost', '?')}"


@dataclass(frozen=True, slots=True)
class AuditContinued(AuditEvent):
    """after a rotation a process goes on in this file; where the one before ended"""

    event: ClassVar[str] = "audit_continued"

    before_chain: Annotated[str, "of the last line there"]
    before_seq: Annotated[int, "of that line"]
    before_digest: Annotated[str, "its SHA-256"]

    @staticmethod
    def sentence(line: Line) -> str:
        return f"the audit log went on in another file{of(line, 'before_seq', ' after line ')}"
