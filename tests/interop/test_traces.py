"""Logins by OpenSSH as traces at a collector: whole, with their parts, and durations that add up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.jump import JumpWorld
from tests.support.otlp import Collector, Seen, collector
from tests.support.sshd import sshd_missing
from tests.support.world import poll

pytestmark = pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing())
STEPS = ["accept", "key exchange", "authentication", "policy", "dial", "recording"]
OF_DIAL = ["resolve", "connect", "target key exchange", "host key", "target login"]


@pytest.fixture(scope="module")
def there() -> Iterator[Collector]:
    with collector() as made:
        yield made


@pytest.fixture(scope="module")
def world(there: Collector) -> Iterator[JumpWorld]:
    made = JumpWorld(config=f'[traces]\nendpoint = "{there.url}"\n')
    with made:
        yield made


def trace_of(there: Collector, session: str) -> list[Seen]:
    """All spans of the trace whose root has that session."""

    def found() -> list[Seen]:
        for spans in there.traces().values():
            if any(span.attributes.get("bastion.session") == session for span in spans):
                return sorted(spans, key=lambda span: (span.began, span.ended))
        return []

    return list(poll(found, text=f"no trace of {session} came"))


def parts(spans: list[Seen], whole: Seen) -> list[Seen]:
    return [span for span in spans if span.parent == whole.id]


def check_sum(spans: list[Seen], whole: Seen, least: float = 0.9) -> None:
    """Parts follow each other within the whole, and leave little of it without a name."""
    ended = whole.began
    for span in parts(spans, whole):
        assert ended - 1_000_000 <= span.began <= span.ended <= whole.ended + 1_000_000, (span, whole)
        ended = span.ended
    named = sum(span.seconds for span in parts(spans, whole))
    assert least * whole.seconds - 0.005 <= named <= whole.seconds + 0.005, (named, whole.seconds)


def test_the_direct_door(world: JumpWorld, there: Collector) -> None:
    done = world.ssh("true")
    assert done.returncode == 0, done.stderr
    line = world.audit("session_started")[-1]
    spans = trace_of(there, line["session"])
    (root,) = [span for span in spans if not span.parent]
    assert root.attributes == {
        "bastion.session": line["session"], "bastion.door": "direct", "bastion.target": "web1"
    }  # fmt: skip
    assert not root.error and (root.name, root.kind, root.links) == ("login", 2, [])
    assert [span.name for span in parts(spans, root)] == STEPS
    by_name = {span.name: span for span in spans}
    assert [span.name for span in parts(spans, by_name["dial"])] == OF_DIAL
    (judged,) = parts(spans, by_name["authentication"])
    assert (judged.name, judged.attributes) == ("directory", {"bastion.method": "publickey"})
    assert len(spans) == len(by_name) == 1 + len(STEPS) + len(OF_DIAL) + 1
    check_sum(spans, root)
    check_sum(spans, by_name["dial"])
    assert 0 < root.seconds < 30
    words = str(spans)
    assert "alice" not in words and line["source"] not in words


def test_a_jump_is_a_trace_that_points_to_its_connection(world: JumpWorld, there: Collector) -> None:
    done = world.jump("true")
    assert done.returncode == 0, done.stderr
    line = world.audit("session_started")[-1]
    inner = trace_of(there, line["session"])
    (root,) = [span for span in inner if not span.parent]
    outer = trace_of(there, world.audit("outer_started")[-1]["connection"])
    (outside,) = [span for span in outer if not span.parent]
    assert root.links == [(outside.trace, outside.id)] and root.attributes["bastion.door"] == "jump"
    assert [span.name for span in parts(inner, root)] == [step for step in STEPS if step != "accept"]
    assert [span.name for span in parts(outer, outside)] == STEPS[:3]
    assert outside.attributes["bastion.door"] == "outer"
    check_sum(inner, root)
    check_sum(outer, outside)


def test_a_refusal_has_its_reason_at_the_step(world: JumpWorld, there: Collector) -> None:
    assert world.ssh("true", user="alice+nobody+web1").returncode == 255
    refused = world.new_audit("refused")[-1]
    spans = trace_of(there, refused["session"])
    (root,) = [span for span in spans if not span.parent]
    assert root.error == root.attributes["bastion.reason"] == refused["reason"]
    assert "dial" not in {span.name for span in spans}


def test_a_stranger_leaves_none(world: JumpWorld, there: Collector) -> None:
    before = len(there.traces())
    assert world.ssh("true", key="bob").returncode == 255
    assert world.ssh("true").returncode == 0
    poll(lambda: len(there.traces()) > before)
    session = world.audit("auth")[-1]["connection"]
    trace_of(there, session)
    assert len(there.traces()) == before + 1
    assert world.metric('bastion_traces_total{result="sent"}') == len(there.traces())
