"""One way in as a trace: its steps as spans, and both as OTLP's JSON (L0, pure).

A `Trace` begins at an accept and ends with a session, or with the reason why there is none. Its moments are those of
the histograms (`SessionMeters.observe` tells both), so that a graph and a trace never disagree; its ids are random as
W3C Trace Context wants them, and have nothing of a session's. Invariants: at most MOST_SPANS spans; no name of a
person and no address of theirs is in any, the session's id leads to both (`bastion explain`); after `finish` it
changes no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from secrets import token_bytes
from typing import Any, Final

from bastion.observe.families.opening import AUTH_SECONDS, OPENING_STEP_SECONDS
from bastion.observe.meters import UPSTREAM_PHASE_SECONDS

MOST_SPANS: Final = 64
"""Spans of one trace: a login has a dozen, and two for each hop or further proof. The root counts those beyond."""

INTERNAL, SERVER, CLIENT = 1, 2, 3
"""SpanKind of OTLP (trace.proto)."""

OK, ERROR = 1, 2
"""StatusCode of OTLP."""

INTERRUPTED: Final = "interrupted"
"""Of what ended without a reason of the gateway's: the engineer left, or the gateway failed."""

Values = Mapping[str, str | int]

STEPS: Final = {
    (AUTH_SECONDS.name, ""): "directory",
    (OPENING_STEP_SECONDS.name, "policy"): "policy",
    (OPENING_STEP_SECONDS.name, "record"): "recording",
    (UPSTREAM_PHASE_SECONDS.name, "resolve"): "resolve",
    (UPSTREAM_PHASE_SECONDS.name, "connect"): "connect",
    (UPSTREAM_PHASE_SECONDS.name, "kex"): "target key exchange",
    (UPSTREAM_PHASE_SECONDS.name, "host_key"): "host key",
    (UPSTREAM_PHASE_SECONDS.name, "login"): "target login",
    (UPSTREAM_PHASE_SECONDS.name, "hop"): "hop",
}
"""Histogram and label -> the span of the same moments."""


@dataclass(frozen=True, slots=True)
class Link:
    """A span of another trace: the connection outside."""

    trace: bytes
    span: bytes


@dataclass(slots=True)
class Span:
    """`began` and `ended` are seconds of the monotonic clock; `ended` below `began`: it is not over."""

    id: bytes
    parent: bytes
    name: str
    kind: int
    began: float
    ended: float
    values: Values
    error: str = ""


class Trace:
    """One way in."""

    __slots__ = ("_open", "_root", "_seconds", "_wall", "finished", "id", "link", "lost", "proved", "spans")

    def __init__(
        self,
        name: str,
        began: float,
        seconds: Callable[[], float],
        wall: float,
        values: Values,
        link: Link | None = None,
    ) -> None:
        """It began at `began` by `seconds`, the reactor's clock, which the spans follow; `wall` are the seconds since
        1970 of now, and a clock that is set later moves nothing."""
        self.id = token_bytes(16)
        self.link = link
        self._seconds = seconds
        self._wall = wall - seconds()
        self._root = Span(token_bytes(8), b"", name, SERVER, began, began - 1, values)
        self._open = [self._root]
        self.spans: list[Span] = []
        self.lost = 0
        self.proved = (
            False  # somebody has proved to be somebody: before that it is a stranger's and tells nobody
        )
        self.finished = False

    @property
    def as_link(self) -> Link:
        return Link(self.id, self._root.id)

    @property
    def root(self) -> Span:
        return self._root

    def took(
        self, name: str, seconds: float, values: Values | None = None, ended: float | None = None
    ) -> None:
        """A step took so long and ends now, or did at `ended`, within whatever is open."""
        if self.finished:
            return
        if len(self.spans) + len(self._open) >= MOST_SPANS:
            self.lost += 1
            return
        parent, now = self._open[-1].id, self._seconds() if ended is None else ended
        self.spans.append(Span(token_bytes(8), parent, name, INTERNAL, now - seconds, now, values or {}))

    def enter(self, name: str, kind: int = INTERNAL) -> None:
        """Steps from now on are parts of this one, until `leave`."""
        if not self.finished:
            now = self._seconds()
            self._open.append(Span(token_bytes(8), self._open[-1].id, name, kind, now, now - 1, {}))

    def leave(self, error: str = "") -> None:
        """The step that was entered last is over; the whole is not left."""
        if len(self._open) > 1:
            self._end(self._open.pop(), error)

    def finish(self, values: Values | None = None, error: str = "") -> bool:
        """All of it is over. False when it was before."""
        if self.finished:
            return False
        while len(self._open) > 1:
            self.leave(error)
        root = self._root
        root.values = {
            **root.values,
            **(values or {}),
            **({"bastion.spans_lost": self.lost} if self.lost else {}),
        }
        self._end(root, error)
        self.finished = True
        return True

    def _end(self, span: Span, error: str) -> None:
        span.ended, span.error = self._seconds(), error
        self.spans.append(span)

    def document(self) -> list[dict[str, Any]]:
        """Its spans as OTLP has them."""
        return [self._shown(span) for span in self.spans]

    def _shown(self, span: Span) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "traceId": self.id.hex(),
            "spanId": span.id.hex(),
            "name": span.name,
            "kind": span.kind,
            "startTimeUnixNano": self._nanoseconds(span.began),
            "endTimeUnixNano": self._nanoseconds(span.ended),
            "attributes": attributes(span.values),
            "status": {"code": ERROR, "message": span.error} if span.error else {"code": OK},
        }
        if span.parent:
            shown["parentSpanId"] = span.parent.hex()
        elif self.link is not None:
            shown["links"] = [{"traceId": self.link.trace.hex(), "spanId": self.link.span.hex()}]
        return shown

    def _nanoseconds(self, moment: float) -> str:
        """Of 64 bits, which JSON has as text."""
        return str(round((self._wall + moment) * 1_000_000) * 1000)


def attributes(values: Values) -> list[dict[str, Any]]:
    """As OTLP has them; a number is of 64 bits, and JSON has those as text."""
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
    ]


def request(traces: Iterable[Trace], resource: Values, version: str) -> dict[str, Any]:
    """ExportTraceServiceRequest: what an OTLP/HTTP receiver takes at /v1/traces."""
    spans = [span for trace in traces for span in trace.document()]
    scope = {"name": "bastion", "version": version}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": attributes(resource)},
                "scopeSpans": [{"scope": scope, "spans": spans}],
            }
        ]
    }
