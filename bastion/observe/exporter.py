"""`/metrics`, `/healthz` and `/readyz` on a port of their own (L2).

One prometheus_client collector renders snapshots at scrape time; between scrapes nothing here runs. A scrape
copies all cells at once and then renders one family per reactor turn, so that a keystroke never waits for the
whole page (measured on a busy machine: 17.6 ms for 1,879 lines, of which the longest turn is 4.6 ms).

`/healthz` is answered with 200 as long as anything is answered: whoever restarts what does not answer looks there.
`/readyz` says whether a login would be taken now: whoever sends engineers here looks there. Both say what is wrong.

Only `GET` of the three paths is answered, no body is ever stored, no version is shown, and no request is
written to the log. Where a `guard` is given, only those it admits read the metrics and what is wrong; others are told
the first word of the other two pages, which is all that a probe needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, cast

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Cooperator
from twisted.python.failure import Failure
from twisted.web import resource, server
from twisted.web.http import HTTPChannel, datetimeToString

from bastion.clock import Timers
from bastion.observe.exemplars import Marks, place
from bastion.observe.family import MICROSECONDS, Family, Kind
from bastion.observe.meters import PREFIX, Meters, Snapshot, merge

# A scraper opens one connection and keeps it; 64 leaves room for several and for probes, and bounds what an
# open port on a wrong interface can cost: 64 x 16 KiB of request headers. One more takes the place of the oldest
# that has asked for nothing, or whoever holds 64 open would hide the gateway from its probes.
MAX_CONNECTIONS: Final = 64
IDLE_SECONDS: Final = 120.0  # Prometheus scrapes every 15-60 s over one connection

PLAIN: Final = b"text/plain; charset=utf-8"
OPENMETRICS_END: Final = b"# EOF\n"

METRICS, ALIVE, READY = b"/metrics", b"/healthz", b"/readyz"
PATHS: Final = (METRICS, ALIVE, READY)

Health = Callable[[], tuple[bool, str]]
"""How the gateway is: do sessions begin (/readyz: 200 or 503), and the lines of both pages."""


Gather = Callable[[], Deferred[None]]
"""Asks other processes for what the pages show of them. It never fails, and takes as long as a scraper may wait."""


Guard = Callable[[str | None], Deferred[bool]]
"""Does this `Authorization` header prove somebody who may read everything? It never fails."""

CHALLENGE: Final = b'Basic realm="bastion metrics", charset="UTF-8"'


class SnapshotCollector(Collector):
    """Renders what `take` returns: the snapshots of all processes, merged."""

    def __init__(
        self,
        families: Sequence[Family],
        take: Callable[[], Sequence[Snapshot]],
        exemplars: Callable[[], Marks],
    ) -> None:
        self._families, self._take, self._exemplars = families, take, exemplars

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry then skips its duplicate check instead of collecting once at start."""
        return ()

    def collect(self) -> Iterator[Metric]:
        snapshot, marks = merge(self._families, self._take()), self._exemplars()
        for family in self._families:
            yield _family_metric(family, snapshot[family.name], marks)


def _family_metric(family: Family, cells: dict[str, list[int]], marks: Marks) -> Metric:
    """One family in prometheus_client's words. Counters lose `_total`, which the library puts back."""
    name, names = PREFIX + family.name, [label.name for label in family.labels]
    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, family.help, labels=names)
        bounds = [*(str(bound) for bound in family.buckets), "+Inf"]
        for key, cell in cells.items():
            exemplars = [_exemplar(marks, family, key, bucket) for bucket in range(len(bounds))]
            buckets: list[Any] = list(zip(bounds, accumulate(cell[:-1]), exemplars, strict=True))
            histogram.add_metric(_values(key), buckets, cell[-1] / MICROSECONDS)
        return histogram
    if family.kind is Kind.COUNTER:
        counter = CounterMetricFamily(name, family.help, labels=names)
        for key, cell in cells.items():
            counter.add_metric(_values(key), _value(family, cell), exemplar=_exemplar(marks, family, key, 0))
        return counter
    metric = GaugeMetricFamily(name, family.help, labels=names)
    for key, cell in cells.items():
        metric.add_metric(_values(key), _value(family, cell))
    return metric


def _value(family: Family, cell: list[int]) -> float:
    return cell[0] if family.scale == 1 else cell[0] / family.scale


def _exemplar(marks: Marks, family: Family, key: str, bucket: int) -> Exemplar | None:
    """Only OpenMetrics has room for it."""
    mark = marks.get(place(family, key, bucket))
    return None if mark is None else Exemplar({"session_id": mark[0]}, mark[1], mark[2])


def _values(key: str) -> list[str]:
    return key.split(",") if key else []


def build_registry(
    meters: Meters,
    others: Callable[[], Sequence[Snapshot]] = tuple,
    refresh: Callable[[], object] = lambda: None,
    process: bool = True,
    exemplars: Callable[[], Marks] | None = None,
) -> CollectorRegistry:
    """A registry of this process's meters, the snapshots of `others`, and the usual `process_*` figures.

    `refresh` is called before each snapshot, to set gauges that nobody keeps up to date in between. `exemplars` are
    this process's own unless somebody else says them.
    """

    def take() -> Sequence[Snapshot]:
        refresh()
        return [meters.snapshot(), *others()]

    registry = CollectorRegistry(auto_describe=False)
    marks = (lambda: meters.exemplars) if exemplars is None else exemplars
    registry.register(SnapshotCollector(meters.families, take, marks))
    if process:
        ProcessCollector(registry=registry)
    return registry


class _Single(CollectorRegistry):
    """One metric dressed as a registry, which is what the library's encoders take."""

    def __init__(self, metric: Metric) -> None:
        super().__init__(auto_describe=False)
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


class Page:
    """One scrape: `steps()` renders a family per step, `body` is whole after the last one."""

    def __init__(self, registry: CollectorRegistry, accept: str) -> None:
        self._registry = registry
        self._encode, self.content_type = choose_encoder(accept)
        self.body = b""

    def steps(self) -> Iterator[None]:
        parts = []
        for metric in self._registry.collect():
            parts.append(self._encode(_Single(metric)).removesuffix(OPENMETRICS_END))
            yield None
        if self.content_type.startswith("application/openmetrics-text"):
            parts.append(OPENMETRICS_END)
        self.body = b"".join(parts)


def render(registry: CollectorRegistry, accept: str = "") -> tuple[bytes, str]:
    """(body, content type) in the format that the `Accept` header asks for, in one go."""
    page = Page(registry, accept)
    for _ in page.steps():
        pass
    return page.body, page.content_type


class BodylessRequest(server.Request):
    """Stores no body (stock twisted.web spools one of any size to the disk) and names no server version."""

    asked = False  # all of it has come

    def process(self) -> None:
        self.asked = True
        channel: Any = self.channel
        self.site = channel.site
        self.setHeader(b"date", datetimeToString())  # type: ignore[no-untyped-call]
        self.render(self.site.resource)  # type: ignore[no-untyped-call]

    def gotLength(self, length: int | None) -> None:
        super().gotLength(0)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:
        channel: Any = self.channel
        if channel is not None:
            channel.transport.abortConnection()


class Pages(resource.Resource):
    """The pages, and a short no to everything else."""

    isLeaf = True

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Health,
        reactor: Timers,
        gather: Gather | None = None,
        guard: Guard | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._registry, self._health, self._gather, self._guard = registry, health, gather, guard

        def next_turn(step: Callable[[], None]) -> IDelayedCall:
            return cast("IDelayedCall", reactor.callLater(0, step))

        # One step per turn: the stock predicate goes on for 10 ms.
        self._turns = Cooperator(terminationPredicateFactory=lambda: lambda: True, scheduler=next_turn)

    def render(self, request: Any) -> int:
        if request.path not in PATHS:
            _finish(request, 404, PLAIN, b"not found: there is /metrics, /healthz and /readyz\n")
        elif request.method != b"GET":
            request.setHeader(b"allow", b"GET")
            _finish(request, 405, PLAIN, b"only GET\n")
        elif self._guard is None:
            self._look(request, True)
        else:
            admitted = self._guard(_header(request, b"authorization"))
            _while_there(request, admitted, lambda known: self._look(request, known is True))
        return server.NOT_DONE_YET

    def _look(self, request: Any, known: bool) -> None:
        if request.path == METRICS and not known:
            request.setHeader(b"www-authenticate", CHALLENGE)
            _finish(request, 401, PLAIN, b"who asks?\n")
        elif self._gather is None:
            self._answer(request, known)
        else:
            _while_there(request, self._gather(), lambda _: self._answer(request, known))

    def _answer(self, request: Any, known: bool) -> None:
        if request.path == METRICS:
            self._start_scrape(request)
        else:
            ready, lines = self._health()
            well = ready or request.path == ALIVE
            shown = lines if known else lines.partition("\n")[0]
            _finish(request, 200 if well else 503, PLAIN, shown.encode("utf-8", "replace") + b"\n")

    def _start_scrape(self, request: Any) -> None:
        page = Page(self._registry, _header(request, b"accept") or "")
        task = self._turns.cooperate(page.steps())
        gone: list[Failure] = []

        def lost(reason: Failure) -> None:
            gone.append(reason)
            task.stop()

        def rendered(_: object) -> None:
            _finish(request, 200, page.content_type.encode("ascii"), page.body)

        def failed(reason: Failure) -> None:
            if not gone:
                _finish(request, 500, PLAIN, b"the metrics could not be rendered\n")

        request.notifyFinish().addErrback(lost)
        task.whenDone().addCallbacks(rendered, failed)


def _header(request: Any, name: bytes) -> str | None:
    """Of whatever bytes it is, which Twisted would not read as text unless they are UTF-8."""
    value: bytes | None = request.getHeader(name)
    return None if value is None else value.decode("ascii", "replace")


def _while_there(request: Any, waiting: Deferred[Any], go_on: Callable[[Any], None]) -> None:
    """Go on with what comes of `waiting`, unless whoever asks has left by then."""
    gone: list[object] = []
    request.notifyFinish().addErrback(gone.append)

    def came(result: Any) -> None:
        if not gone:
            go_on(result)

    waiting.addBoth(came)


def _finish(request: Any, status: int, content_type: bytes, body: bytes) -> None:
    request.setResponseCode(status)
    request.setHeader(b"content-type", content_type)
    request.setHeader(b"content-length", b"%d" % len(body))
    request.setHeader(b"x-content-type-options", b"nosniff")
    request.setHeader(b"cache-control", b"no-store")
    if request.method != b"HEAD":
        request.write(body)
    request.finish()


class MetricsSite(server.Site):
    """The site: bounded in connections, silent in the log."""

    displayTracebacks = False
    protocol: Any = HTTPChannel

    def __init__(
        self,
        registry: CollectorRegistry,
        health: Health,
        reactor: Any,
        gather: Gather | None = None,
        guard: Guard | None = None,
    ) -> None:
        pages = Pages(registry, health, reactor, gather, guard)
        super().__init__(  # type: ignore[no-untyped-call]
            pages, requestFactory=BodylessRequest, timeout=IDLE_SECONDS, reactor=reactor
        )
        self._open: dict[Any, None] = {}  # in the order in which they came

    def buildProtocol(self, addr: Any) -> Any:
        if len(self._open) >= MAX_CONNECTIONS and not self._make_room():
            return None
        protocol: Any = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        self._open[protocol] = None
        connection_lost = protocol.connectionLost

        def count_down(reason: Failure) -> None:
            self._open.pop(protocol, None)
            connection_lost(reason)

        protocol.connectionLost = count_down
        return protocol

    def _make_room(self) -> bool:
        """Cut the oldest connection on which nothing is asked. False: all are being answered."""
        idle = next((one for one in self._open if not any(each.asked for each in one.requests)), None)
        if idle is None:
            return False
        del self._open[idle]
        idle.transport.abortConnection()
        return True

    def log(self, request: object) -> None:
        """Scrapes are no news."""
