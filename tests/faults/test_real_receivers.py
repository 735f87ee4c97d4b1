"""Real servers have every line of the audit log once, through an outage, and the spans of logins.

What makes each of them differ from our own receivers is what they say back: VictoriaLogs names no id in the answer to
a bulk and drops no doubles, OpenTelemetry's collector answers in its own JSON.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bastion.observe.labels import SinkReason
from tests.support.otlp import SPAN
from tests.support.receivers import OtelCollector, VictoriaLogs, receivers_missing
from tests.support.sinks import Log, Sender, lines_of
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

MISSING = receivers_missing() or sshd_missing()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.soak,
    pytest.mark.skipif(bool(MISSING), reason=MISSING or "available"),
]

Server = VictoriaLogs | OtelCollector
BATCH = 500
"""Lines of a delivery, at most: what may come twice where one was cut off."""

OF_A_LOGIN = {"login", "accept", "key exchange", "authentication", "policy", "dial", "recording", "resolve", "connect",
              "target key exchange", "host key", "target login", "directory"}  # fmt: skip


class Kind:
    """A kind of sink, the server that takes it, and the lines that it has."""

    def __init__(
        self, kind: str, server: type[Server], path: str, line: Callable[[Server], Iterator[str]]
    ) -> None:
        self.kind, self.server, self.path, self.lines = kind, server, path, line

    def section(self, server: Server) -> str:
        return f'[audit.sinks.siem]\nkind = "{self.kind}"\nurl = "{server.url}{self.path}"\n'


def field(name: str) -> Callable[[Server], Iterator[str]]:
    def found(server: Server) -> Iterator[str]:
        assert isinstance(server, VictoriaLogs)
        return (row[name] for row in server.rows())

    return found


def bodies(server: Server) -> Iterator[str]:
    assert isinstance(server, OtelCollector)
    for record in server.logs():
        assert record["attributes"]["log.record.uid"] and record["attributes"]["service.name"] == "bastion"
        yield record["body"]["stringValue"]


KINDS = [
    Kind("loki", VictoriaLogs, "", field("_msg")),
    Kind("elastic", VictoriaLogs, "/elasticsearch", field("message")),
    Kind("otlp", OtelCollector, "", bodies),
]


@pytest.fixture(params=KINDS, ids=[one.kind for one in KINDS])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def test_every_line_of_a_gateway_comes_once_through_an_outage(kind: Kind, tmp_path: Path) -> None:
    """Of one process and an engineer who works on: what happens while the server is away comes when it is back."""
    with kind.server(tmp_path / "server") as server:
        world = World(config=kind.section(server))
        kept = tmp_path / "audit.jsonl"
        try:
            world.start()
            assert world.ssh("true").returncode == 0
            poll(lambda: _is_there(world, kind, server), text="the lines before did not come")
            server.stop()
            failing = 'bastion_audit_sinks{state="failing"}'
            assert [world.ssh("true").returncode for _ in range(3)] == [0, 0, 0], (
                "a session waits for no sink"
            )
            poll(lambda: world.metric(failing) == 1, 60, "nobody noticed that it was away")
            server.start()
            poll(
                lambda: world.metric(failing) == 0 and _is_there(world, kind, server),
                90,
                "nothing came after it",
            )
            assert world.ssh("true").returncode == 0
            world.kill(signal.SIGTERM)
            kept.write_bytes((world.folder / "audit.jsonl").read_bytes())
        finally:
            world.close()
        wanted = [line.text for line in lines_of(kept)]
        assert len(wanted) > 20
        poll(lambda: len(list(kind.lines(server))) >= len(wanted), text="the last words did not come")
        assert Counter(kind.lines(server)) == Counter(wanted)


def _is_there(world: World, kind: Kind, server: Server) -> bool:
    written = {line.text for line in lines_of(world.folder / "audit.jsonl")}
    return written <= set(kind.lines(server))


def test_under_load_nothing_is_lost_and_only_what_was_cut_off_comes_twice(kind: Kind, tmp_path: Path) -> None:
    """Twice ended and started again while thousands of lines are written."""
    log = Log(tmp_path / "audit.jsonl")
    with kind.server(tmp_path / "server") as server, Sender(tmp_path, kind.section(server)) as sender:
        for _ in range(2):
            log.write(2000)
            sender.wait("siem", lambda one: one.sent > 0, "nothing is sent")
            server.stop()
            log.write(500)
            sender.wait("siem", lambda one: one.failing, "nobody noticed that it was away", 60)
            server.start()
            sender.wait("siem", lambda one: not one.lines and not one.failing, "it does not catch up", 120)
        report = sender.wait("siem", lambda one: not one.lines, "something waits")
        assert (report.refused, report.lost, report.reason) == (0, 0, SinkReason.DELIVERED)
        assert sender.stop() == 0
        wanted = [line.text for line in lines_of(log.path)]
        poll(lambda: len(set(kind.lines(server))) == len(wanted), text="lines are missing")
        counts = Counter(kind.lines(server))
    log.close()
    assert len(wanted) == 5000 and set(counts) == set(wanted)
    twice = sum(count - 1 for count in counts.values())
    print(f"{kind.kind}: {twice} of {len(wanted)} lines came twice")
    assert twice <= 2 * BATCH


def test_the_spans_of_a_login_come_with_its_session(tmp_path: Path) -> None:
    """One before an outage of the collector and one in it, each once."""
    with OtelCollector(tmp_path / "server") as server:
        world = World(config=f'[traces]\nendpoint = "{server.url}"\n')
        try:
            world.start()
            assert world.ssh("true").returncode == 0
            first = world.audit("session_started")[-1]["session"]
            poll(lambda: _trace(server, first), text="no trace came")
            server.stop()
            assert world.ssh("true").returncode == 0
            second = world.audit("session_started")[-1]["session"]
            poll(lambda: world.metric('bastion_traces_total{result="failed"}') > 0, 30, "it was never tried")
            server.start()
            poll(lambda: _trace(server, second), 90, "no trace came after the outage")
            for session in (first, second):
                spans = _trace(server, session)
                assert {span["name"] for span in spans} == OF_A_LOGIN and len(spans) == len(OF_A_LOGIN)
                (root,) = [span for span in spans if not span.get("parentSpanId")]
                assert root["attributes"]["bastion.session"] == session
                assert root["attributes"]["bastion.target"] == "web1"
                ids = {span["spanId"] for span in spans}
                assert all(span["parentSpanId"] in ids for span in spans if span is not root)
                assert all(
                    set(span) >= SPAN - {"parentSpanId", "links", "status"} - {"attributes"} for span in spans
                )
            assert "alice" not in str(list(server.spans()))
        finally:
            world.close()


def _trace(server: OtelCollector, session: str) -> list[dict[str, str]]:
    """All spans of the trace that the session is named in."""
    spans = list(server.spans())
    traces = {span["traceId"] for span in spans if span["attributes"].get("bastion.session") == session}
    return [span for span in spans if span["traceId"] in traces]
