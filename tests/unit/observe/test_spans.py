"""A way in as spans: who is whose part, when, and what a collector reads."""

from __future__ import annotations

import json

from twisted.internet.task import Clock

from bastion.clock import FixedClock
from bastion.observe.exemplars import SessionMeters
from bastion.observe.meters import UPSTREAM_PHASE_SECONDS, Meters
from bastion.observe.spans import CLIENT, INTERNAL, MOST_SPANS, SERVER, STEPS, Link, Trace, request
from tests.support.otlp import Seen, read_request

WALL = 1_790_000_000.25


def begun(clock: Clock, link: Link | None = None) -> Trace:
    return Trace("login", clock.seconds(), clock.seconds, WALL, {"bastion.session": "k3v2m5"}, link)


def shown(*traces: Trace) -> dict[str, Seen]:
    body = json.dumps(request(traces, {"service.name": "bastion"}, "1.0")).encode()
    ((resource, spans),) = read_request(body)
    assert resource == {"service.name": "bastion"}
    return {span.name: span for span in spans}


def test_steps_are_parts_of_what_is_open_and_end_when_they_are_told() -> None:
    clock = Clock()
    trace = begun(clock)
    clock.advance(0.5)
    trace.took("key exchange", 0.25)
    trace.enter("dial", CLIENT)
    clock.advance(1.0)
    trace.took("connect", 1.0)
    trace.leave()
    trace.took("recording", 0.0)
    assert trace.finish({"bastion.target": "web1"})
    spans = shown(trace)
    root, dial = spans["login"], spans["dial"]
    assert root.parent == "" and {span.parent for span in spans.values()} == {"", root.id, dial.id}
    assert spans["connect"].parent == dial.id and spans["key exchange"].parent == root.id
    assert {name: round(span.seconds, 6) for name, span in spans.items()} == {
        "login": 1.5, "dial": 1.0, "connect": 1.0, "key exchange": 0.25, "recording": 0.0
    }  # fmt: skip
    assert (
        root.began == int(WALL * 100) * 10_000_000 and spans["key exchange"].began == root.began + 250_000_000
    )
    assert (root.kind, dial.kind, spans["connect"].kind) == (SERVER, CLIENT, INTERNAL)
    assert root.attributes == {"bastion.session": "k3v2m5", "bastion.target": "web1"}
    assert {span.trace for span in spans.values()} == {trace.id.hex()}


def test_ids_are_of_chance_and_say_nothing_of_the_session() -> None:
    made = [begun(Clock()) for _ in range(100)]
    assert len({trace.id for trace in made}) == len({trace.root.id for trace in made}) == 100
    assert {len(trace.id) for trace in made} == {16}


def test_what_is_open_at_the_end_ends_with_its_reason() -> None:
    clock = Clock()
    trace = begun(clock)
    trace.enter("dial")
    clock.advance(2.0)
    assert trace.finish(error="connect_timeout")
    trace.took("late", 1.0)
    trace.enter("late")
    assert not trace.finish()
    spans = shown(trace)
    assert {name: span.error for name, span in spans.items()} == {
        "dial": "connect_timeout", "login": "connect_timeout"
    }  # fmt: skip


def test_the_whole_is_not_left() -> None:
    trace = begun(Clock())
    trace.leave()
    trace.finish()
    assert list(shown(trace)) == ["login"]


def test_so_many_spans_and_the_rest_is_counted() -> None:
    trace = begun(Clock())
    for number in range(MOST_SPANS + 7):
        trace.took(f"step {number}", 0.0)
    trace.finish()
    spans = shown(trace)
    assert len(spans) == MOST_SPANS and spans["login"].attributes["bastion.spans_lost"] == 8


def test_one_inside_points_to_the_one_outside() -> None:
    outside = begun(Clock())
    inside = begun(Clock(), outside.as_link)
    inside.finish()
    (span,) = shown(inside).values()
    assert span.links == [(outside.id.hex(), outside.root.id.hex())] and span.trace != outside.id.hex()


def test_what_a_session_counts_is_told_to_its_trace_with_the_same_moments() -> None:
    clock, meters = Clock(), Meters()
    trace = begun(clock)
    counts = SessionMeters(meters, FixedClock(), "k3v2m5q7p2r4t6wa", trace)
    clock.advance(3.0)
    for name in ("resolve", "connect", "kex", "host_key", "login"):
        counts.observe(UPSTREAM_PHASE_SECONDS, 0.5, name)
    trace.finish()
    assert list(shown(trace)) == [
        "resolve", "connect", "target key exchange", "host key", "target login", "login"
    ]  # fmt: skip
    counts.trace = None
    counts.observe(UPSTREAM_PHASE_SECONDS, 0.5, "hop")
    assert sum(meters.cell(UPSTREAM_PHASE_SECONDS, "hop")[:-1]) == 1


def test_each_name_is_one_steps() -> None:
    assert len(set(STEPS.values())) == len(STEPS)
