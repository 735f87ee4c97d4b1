"""`/metrics` and `/healthz` on a port of their own (L2).

One prometheus_client collector renders snapshots at scrape time; between scrapes nothing here runs. A scrape
copies all cells at once and then renders one family per reactor turn, so that a keystroke never waits for the
whole page (measured: 5.9 ms for 1,075 lines, of which the longest turn is 1.6 ms).

Only `GET` of the two paths is answered, no body is ever stored, no version is shown, and no request is
written to the log. The port has no authentication: it is meant for loopback or a management network.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final, cast

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Cooperator
from twisted.python.failure import Failure
from twisted.web import resource, server
from twisted.web.http import datetimeToString

from bastion.clock import Timers
from bastion.observe.family import MICROSECONDS, Family, Kind
from bastion.observe.meters import PREFIX, Meters, Snapshot, merge

# A scraper opens one connection and keeps it; 64 leaves room for several and for probes, and bounds what an
# open port on a wrong interface can cost: 64 x 16 KiB of request headers.
MAX_CONNECTIONS: Final = 64
IDLE_SECONDS: Final = 120.0  # Prometheus scrapes every 15-60 s over one connection

PLAIN: Final = b"text/plain; charset=utf-8"
OPENMETRICS_END: Final = b"# EOF\n"

Health = Callable[[], tuple[bool, str]]
"""What /healthz says: do sessions begin (200 or 503), and the lines of the page."""


Gather = Callable[[], Deferred[None]]
"""Asks other processes for what the pages show of them. It never fails, and takes as long as a scraper may wait."""


class SnapshotCollector(Collector):
    """Renders what `take` returns: the snapshots of all processes, merged."""

    def __init__(self, families: Sequence[Family], take: Callable[[], Sequence[Snapshot]]) -> None:
        self._families, self._take = families, take

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry then skips its duplicate check instead of collecting once at start."""
        return ()

    def collect(self) -> Iterator[Metric]:
        snapshot = merge(self._families, self._take())
        for family in self._families:
            yield _family_metric(family, snapshot[family.name])


def _family_metric(family: Family, cells: dict[str, list[int]]) -> Metric:
    """One family in prometheus_client's words. Counters lose `_total`, which the library puts back."""
    name, names = PREFIX + family.name, [label.name for label in family.labels]
    if family.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, family.help, labels=names)
        bounds = [*(str(bound) for bound in family.buckets), "+Inf"]
        for key, cell in cells.items():
            buckets: list[Any] = list(zip(bounds, accumulate(cell[:-1]), strict=True))
            histogram.add_metric(_values(key), buckets, cell[-1] / MICROSECONDS)
        return histogram
    make = CounterMetricFamily if family.kind is Kind.COUNTER else GaugeMetricFamily
    metric = make(name, family.help, labels=names)
    for key, cell in cells.items():
        metric.add_metric(_values(key), cell[0] if family.scale == 1 else cell[0] / family.scale)
    return metric


def _values(key: str) -> list[str]:
    return key.split(",") if key else []


def build_registry(
    meters: Meters,
    others: Callable[[], Sequence[Snapshot]] = tuple,
    refresh: Callable[[], object] = lambda: None,
    process: bool = True,
) -> CollectorRegistry:
    """A registry of this process's meters, the snapshots of `others`, and the usual `process_*` figures.

    `refresh` is called before each snapshot, to set gauges that nobody keeps up to date in between.
    """

    def take() -> Sequence[Snapshot]:
        refresh()
        return [meters.snapshot(), *others()]

    registry = CollectorRegistry(auto_describe=False)
    registry.register(SnapshotCollector(meters.families, take))
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

    def process(self) -> None:
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
    """The two pages, and a short no to everything else."""

    isLeaf = True

    def __init__(
        self, registry: CollectorRegistry, health: Health, reactor: Timers, gather: Gather | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._registry, self._health, self._gather = registry, health, gather

        def next_turn(step: Callable[[], None]) -> IDelayedCall:
            return cast("IDelayedCall", reactor.callLater(0, step))

        # One step per turn: the stock predicate goes on for 10 ms.
        self._turns = Cooperator(terminationPredicateFactory=lambda: lambda: True, scheduler=next_turn)

    def render(self, request: Any) -> int:
        if request.path not in (b"/metrics", b"/healthz"):
            _finish(request, 404, PLAIN, b"not found: there is /metrics and /healthz\n")
        elif request.method != b"GET":
            request.setHeader(b"allow", b"GET")
            _finish(request, 405, PLAIN, b"only GET\n")
        elif self._gather is None:
            self._answer(request)
        else:
            self._after_gathering(request, self._gather())
        return server.NOT_DONE_YET

    def _after_gathering(self, request: Any, gathering: Deferred[None]) -> None:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)

        def gathered(_: object) -> None:
            if not gone:
                self._answer(request)

        gathering.addBoth(gathered)

    def _answer(self, request: Any) -> None:
        if request.path == b"/metrics":
            self._start_scrape(request)
        else:
            well, lines = self._health()
            _finish(request, 200 if well else 503, PLAIN, lines.encode("utf-8", "replace") + b"\n")

    def _start_scrape(self, request: Any) -> None:
        page = Page(self._registry, request.getHeader("accept") or "")
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

    def __init__(
        self, registry: CollectorRegistry, health: Health, reactor: Any, gather: Gather | None = None
    ) -> None:
        pages = Pages(registry, health, reactor, gather)
        super().__init__(  # type: ignore[no-untyped-call]
            pages, requestFactory=BodylessRequest, timeout=IDLE_SECONDS, reactor=reactor
        )
        self._open = 0

    def buildProtocol(self, addr: Any) -> Any:
        if self._open >= MAX_CONNECTIONS:
            return None
        protocol: Any = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        self._open += 1
        connection_lost = protocol.connectionLost

        def count_down(reason: Failure) -> None:
            self._open -= 1
            connection_lost(reason)

        protocol.connectionLost = count_down
        return protocol

    def log(self, request: object) -> None:
        """Scrapes are no news."""


def serve(
    reactor: Any,
    listener: socket.socket,
    registry: CollectorRegistry,
    health: Health,
    gather: Gather | None = None,
) -> Any:
    """Serve `registry` to who connects to `listener`, which the caller keeps; returns Twisted's IListeningPort.

    `gather` is called before each page.
    """
    site = MetricsSite(registry, health, reactor, gather)
    return reactor.adoptStreamPort(listener.fileno(), listener.family, site)
