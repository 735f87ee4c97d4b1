"""Traces on their way to a real collector, and what becomes of those that it does not take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from bastion.clock import SystemClock
from bastion.observe.meters import TRACES, Meters
from bastion.observe.spans import Link, Trace
from bastion.session import traces as module
from bastion.session.traces import BATCH, GATHER, LONGEST_PAUSE, WAITING, Traces, TraceTerms
from tests.support.otlp import Collector, collector


class Bench:
    """Posts are made at once, in this thread; `held` keeps them back."""

    def __init__(self, terms: TraceTerms, random: Callable[[], float] = lambda: 0.5) -> None:
        self.clock, self.meters, self.terms = Clock(), Meters(), terms
        self.held: list[Deferred[None]] | None = None
        self.traces = Traces(self.clock, SystemClock(), self.run, self.meters, lambda: self.terms, random)

    def run(self, work: Callable[[], None], deadline: float, cut: Callable[[], None]) -> Deferred[None]:
        assert deadline == module.DEADLINE
        if self.held is not None:
            self.held.append(Deferred())
            return self.held[-1]
        return maybeDeferred(work)

    def login(self, proved: bool = True, error: str = "") -> Trace:
        made = self.traces.begin("k3v2m5", self.clock.seconds(), self.clock.seconds())
        assert made is not None
        made.proved = proved
        self.traces.finish(made, "direct", "web1", error)
        return made

    def counted(self) -> dict[str, int]:
        words = ("sent", "refused", "dropped", "failed")
        return {word: count for word in words if (count := self.meters.value(TRACES, word))}


@pytest.fixture
def there() -> Iterator[Collector]:
    with collector() as made:
        yield made


def test_a_login_is_posted_a_moment_later_with_its_resource(there: Collector, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc\n")
    token.chmod(0o600)
    bench = Bench(TraceTerms(there.url + "/", 1.0, token, "gw1"))
    made = bench.login()
    assert there.spans == []
    bench.clock.advance(GATHER)
    accept, span = there.spans
    assert (span.trace, span.name) == (made.id.hex(), "login") and accept.parent == span.id
    assert span.attributes == {
        "bastion.session": "k3v2m5",
        "bastion.door": "direct",
        "bastion.target": "web1",
    }
    assert there.tokens == ["Bearer abc"]
    assert {key: there.resources[0][key] for key in ("service.name", "service.instance.id")} == {
        "service.name": "bastion", "service.instance.id": "gw1"
    }  # fmt: skip
    assert bench.counted() == {"sent": 1} and not bench.clock.getDelayedCalls()


def test_nothing_is_made_where_no_collector_is_named_or_chance_says_no() -> None:
    off, some = Bench(TraceTerms()), Bench(TraceTerms("http://x", 0.5), lambda: 0.5)
    assert off.traces.begin("k", 0.0, 0.0) is None and some.traces.begin("k", 0.0, 0.0) is None
    assert Bench(TraceTerms("http://x", 0.51)).traces.begin("k", 0.0, 0.0) is not None
    assert off.traces.inside("k", Link(bytes(16), bytes(8))) is None
    assert not off.clock.getDelayedCalls()


def test_a_stranger_leaves_no_trace(there: Collector) -> None:
    bench = Bench(TraceTerms(there.url))
    bench.login(proved=False)
    assert len(bench.traces) == 0 and not bench.clock.getDelayedCalls()


def test_one_that_failed_has_its_reason(there: Collector) -> None:
    bench = Bench(TraceTerms(there.url))
    made = bench.login(error="no_rule")
    bench.traces.finish(made, "direct", "web1", "interrupted")  # twice is once
    bench.clock.advance(GATHER)
    _, span = there.spans
    assert span.error == span.attributes["bastion.reason"] == "no_rule"


def test_one_inside_a_connection_is_linked_to_it(there: Collector) -> None:
    bench = Bench(TraceTerms(there.url), lambda: 0.9)
    outside = bench.login()
    inside = bench.traces.inside("inner", outside.as_link)
    assert inside is not None
    bench.traces.finish(inside, "jump", "web1")
    bench.clock.advance(GATHER)
    assert [span.links for span in there.spans if not span.parent] == [
        [],
        [(outside.id.hex(), outside.root.id.hex())],
    ]


def test_many_go_in_batches(there: Collector) -> None:
    bench = Bench(TraceTerms(there.url))
    for _ in range(2 * BATCH + 1):
        bench.login()
    bench.clock.advance(GATHER)
    bench.clock.advance(0)
    bench.clock.advance(0)
    assert len(there.resources) == 3 and len(there.traces()) == 2 * BATCH + 1


def test_while_a_collector_is_slow_so_many_wait_and_the_oldest_go() -> None:
    bench = Bench(TraceTerms("http://x"))
    bench.held = []
    bench.login()
    bench.clock.advance(GATHER)
    assert len(bench.held) == 1 and len(bench.traces) == 0
    made = [bench.login() for _ in range(WAITING + 3)]
    assert len(bench.traces) == WAITING and bench.counted() == {"dropped": 3}
    assert len(bench.held) == 1, "one post at a time"
    bench.held[0].errback(OSError())
    assert len(bench.traces) == WAITING, "what was posted before has no place any more"
    assert bench.counted() == {"dropped": 4, "failed": 1}
    assert list(bench.traces._waiting) == made[3:]


def test_an_outage_is_waited_for_longer_and_longer_and_nothing_is_lost(there: Collector) -> None:
    bench = Bench(TraceTerms(there.url))
    there.answers += [503, 429, 500]
    bench.login()
    for pause in (GATHER, 2 * GATHER, 4 * GATHER):
        bench.clock.advance(pause)
        assert there.spans == []
    bench.login()
    bench.clock.advance(8 * GATHER)
    assert len(there.traces()) == 2 and bench.counted() == {"sent": 2, "failed": 3}
    bench.login()
    bench.clock.advance(GATHER)
    assert len(there.traces()) == 3, "after a success the pause is short again"


def test_the_pause_has_an_end() -> None:
    bench = Bench(TraceTerms("http://127.0.0.1:1"))
    bench.login()
    for _ in range(20):
        bench.clock.advance(LONGEST_PAUSE)
    (call,) = bench.clock.getDelayedCalls()
    assert call.getTime() - bench.clock.seconds() <= LONGEST_PAUSE


@pytest.mark.parametrize("status", [400, 401, 404, 301])
def test_what_is_refused_for_what_it_is_is_not_posted_again(there: Collector, status: int) -> None:
    bench = Bench(TraceTerms(there.url))
    there.answers += [status]
    bench.login()
    bench.clock.advance(GATHER)
    assert bench.counted() == {"refused": 1} and not bench.clock.getDelayedCalls()


def test_a_reload_that_names_no_collector_drops_what_waits() -> None:
    bench = Bench(TraceTerms("http://x"))
    made: Any = bench.login()
    bench.terms = TraceTerms()
    bench.clock.advance(GATHER)
    assert bench.counted() == {"dropped": 1} and made.finished and not bench.clock.getDelayedCalls()
