"""The page that Prometheus reads, checked by Prometheus' own parsers."""

import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from bastion.observe import exporter
from bastion.observe import meters as m
from bastion.observe.exporter import MetricsSite, build_registry, render
from bastion.observe.families.recordings import RECORDING_STORE_FREE_BYTES
from bastion.observe.meters import Meters

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


@pytest.fixture
def meters():
    return Meters({"version": "0.1.0", "python": "3.11", "twisted": "26.10", "cryptography": "50"})


def samples(text, parse=parse_text):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


@pytest.mark.parametrize(("accept", "parse"), [("", parse_text), (OPENMETRICS, parse_openmetrics)])
def test_everything_parses_and_every_family_is_there(meters, accept, parse):
    body, content_type = render(build_registry(meters, process=False), accept)
    found = samples(body.decode(), parse)
    names = {name for name, _ in found}
    for family in meters.families:
        suffix = "_count" if family.kind is m.Kind.HISTOGRAM else ""
        assert m.PREFIX + family.name + suffix in names
    assert ("openmetrics" in content_type) == bool(accept)
    assert body.endswith(b"# EOF\n") == bool(accept)
    assert body.count(b"# EOF") == (1 if accept else 0)


def test_values_reach_the_page(meters):
    meters.add(m.BYTES, "session", "to_client", by=7)
    meters.observe(m.UPSTREAM_PHASE_SECONDS, 0.003, "kex")
    meters.set(m.LAG_MAX_SECONDS, 1_500_000)
    found = samples(render(build_registry(meters, process=False))[0].decode())
    assert found["bastion_channel_bytes_total", (("direction", "to_client"), ("kind", "session"))] == 7
    bucket = "bastion_upstream_phase_seconds_bucket"
    assert found[bucket, (("le", "0.0025"), ("phase", "kex"))] == 0
    assert found[bucket, (("le", "0.005"), ("phase", "kex"))] == 1
    assert found[bucket, (("le", "+Inf"), ("phase", "kex"))] == 1
    assert found["bastion_upstream_phase_seconds_sum", (("phase", "kex"),)] == pytest.approx(0.003)
    assert found["bastion_event_loop_lag_max_seconds", ()] == 1.5


def test_other_processes_are_added(meters):
    other = Meters()
    other.add(m.CONNECTIONS_ACCEPTED, by=5)
    meters.add(m.CONNECTIONS_ACCEPTED, by=2)
    registry = build_registry(meters, lambda: [other.snapshot()], process=False)
    assert samples(render(registry)[0].decode())["bastion_connections_accepted_total", ()] == 7


def test_gauges_are_refreshed_before_a_scrape(meters):
    registry = build_registry(
        meters, refresh=lambda: meters.set(RECORDING_STORE_FREE_BYTES, 42), process=False
    )
    assert samples(render(registry)[0].decode())["bastion_recording_store_free_bytes", ()] == 42


def test_the_process_figures_are_there(meters):
    assert b"process_resident_memory_bytes" in render(build_registry(meters))[0]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_no_complaint(meters):
    page = render(build_registry(meters, process=False))[0]
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


class CountingClock(Clock):
    turns = 0

    def callLater(self, delay, call, *args, **kwargs):
        self.turns += delay == 0
        return super().callLater(delay, call, *args, **kwargs)


class Browser:
    """One connection to the site, in memory."""

    def __init__(self, meters, health=lambda: (True, "ok"), site=None, guard=None):
        self.clock = CountingClock()
        registry = build_registry(meters, process=False)
        self.site = site or MetricsSite(registry, health, self.clock, guard=guard)
        self.site.startFactory()
        self.transport = StringTransport()
        self.protocol = self.site.buildProtocol(None)
        if self.protocol is not None:
            self.protocol.makeConnection(self.transport)

    def ask(self, request):
        self.protocol.dataReceived(request)
        self.clock.advance(0)
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        self.transport.clear()
        return head, body


def get(path, method=b"GET", more=b""):
    return method + b" " + path + b" HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n"


def test_a_scrape_takes_one_turn_per_family(meters):
    browser = Browser(meters)
    head, body = browser.ask(get(b"/metrics"))
    assert head.startswith(b"HTTP/1.1 200")
    assert samples(body.decode())["bastion_connections_live", ()] == 0
    assert browser.clock.turns >= len(m.FAMILIES)


def test_two_scrapes_on_one_connection(meters):
    browser = Browser(meters)
    assert browser.ask(get(b"/metrics"))[1] == browser.ask(get(b"/metrics"))[1]


def test_a_scraper_that_leaves_costs_nothing_more(meters):
    browser = Browser(meters)
    browser.protocol.dataReceived(get(b"/metrics"))
    browser.protocol.connectionLost(Failure(ConnectionDone()))
    browser.clock.pump([0] * 100)
    assert browser.transport.value() == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (get(b"/"), b"404"),
        (get(b"/metrics/x"), b"404"),
        (get(b"*", b"OPTIONS"), b"404"),
        (get(b"/metrics", b"POST", b"Content-Length: 0\r\n"), b"405"),
        (get(b"/metrics", b"HEAD"), b"405"),
        (get(b"/healthz", b"DELETE"), b"405"),
        (get(b"/healthz"), b"200"),
        (get(b"/readyz"), b"200"),
    ],
)
def test_nothing_else_is_answered_and_no_version_is_shown(meters, request_bytes, status):
    head, body = Browser(meters).ask(request_bytes)
    assert head.split(b" ")[1] == status
    assert b"server:" not in head.lower()
    assert b"twisted" not in (head + body).lower()


def test_who_would_take_no_login_is_alive_and_not_ready_and_says_why(meters):
    full = lambda: (False, "refusing\nrecordings refusing: full")  # noqa: E731
    for path, status in ((b"/readyz", b"503"), (b"/healthz", b"200")):
        head, body = Browser(meters, full).ask(get(path))
        assert head.split(b" ")[1] == status
        assert body == b"refusing\nrecordings refusing: full\n"
    head, body = Browser(meters, lambda: (True, "degraded\naudit degraded")).ask(get(b"/readyz"))
    assert head.startswith(b"HTTP/1.1 200") and body.startswith(b"degraded\n")


def test_who_is_not_known_reads_no_metrics_and_one_word_of_the_others(meters):
    asked = []

    def guard(header):
        asked.append(header)
        return succeed(header == "Basic right")

    bad = lambda: (False, "refusing\nrecordings refusing: /srv is full")  # noqa: E731
    known = b"Authorization: Basic right\r\n"
    head, body = Browser(meters, guard=guard).ask(get(b"/metrics"))
    assert (
        head.split(b" ")[1] == b"401" and b'Basic realm="bastion metrics"' in head and b"bastion_" not in body
    )
    head, body = Browser(meters, guard=guard).ask(get(b"/metrics", more=known))
    assert head.split(b" ")[1] == b"200" and b"bastion_connections_live" in body
    assert asked == [None, "Basic right"]
    for path, status in ((b"/healthz", b"200"), (b"/readyz", b"503")):
        assert Browser(meters, bad, guard=guard).ask(get(path))[1] == b"refusing\n"
        head, body = Browser(meters, bad, guard=guard).ask(get(path, more=known))
        assert head.split(b" ")[1] == status and body.endswith(b"/srv is full\n")


def test_who_leaves_while_the_guard_thinks_is_told_nothing(meters):
    thinking = Deferred()
    browser = Browser(meters, guard=lambda header: thinking)
    browser.protocol.dataReceived(get(b"/metrics"))
    browser.protocol.connectionLost(Failure(ConnectionDone()))
    thinking.callback(True)
    assert browser.transport.value() == b""


def test_a_body_is_cut_off_not_stored(meters):
    browser = Browser(meters)
    browser.protocol.dataReceived(get(b"/metrics", b"POST", b"Content-Length: 99999999\r\n"))
    browser.protocol.dataReceived(b"x" * 1000)
    assert browser.transport.disconnecting or browser.transport.disconnected


def test_connections_are_bounded_and_come_back(meters):
    first = Browser(meters)
    others = [Browser(meters, site=first.site) for _ in range(exporter.MAX_CONNECTIONS - 1)]
    assert all(other.protocol is not None for other in others)
    for one in (first, *others):
        one.protocol.dataReceived(get(b"/metrics"))  # all are being answered
    assert Browser(meters, site=first.site).protocol is None
    first.protocol.connectionLost(Failure(ConnectionDone()))
    assert Browser(meters, site=first.site).protocol is not None


def test_who_holds_all_connections_and_asks_nothing_hides_the_gateway_from_nobody(meters):
    first = Browser(meters)
    others = [Browser(meters, site=first.site) for _ in range(exporter.MAX_CONNECTIONS - 1)]
    for one in (first, *others):
        one.protocol.dataReceived(b"GET /metrics HTTP/1.1\r\nX: ")
    probe = Browser(meters, site=first.site)
    assert first.transport.disconnected and not any(other.transport.disconnected for other in others)
    probe.clock = first.clock
    assert probe.ask(get(b"/readyz"))[0].startswith(b"HTTP/1.1 200")
    first.protocol.connectionLost(Failure(ConnectionDone()))
    Browser(meters, site=first.site)
    assert others[0].transport.disconnected and not probe.transport.disconnected, "the oldest first"


@pytest.mark.parametrize("path", [b"/metrics", b"/readyz"])
def test_headers_that_are_no_text_are_answered(meters, path):
    odd = b"Authorization: Basic \xff\r\nAccept: \xff\r\n"
    asked = []
    head, _ = Browser(meters, guard=lambda header: succeed(asked.append(header))).ask(get(path, more=odd))
    assert head.split(b" ")[1] in (b"401", b"200") and asked == ["Basic \ufffd"]
    assert Browser(meters).ask(get(path, more=odd))[0].split(b" ")[1] == b"200"
