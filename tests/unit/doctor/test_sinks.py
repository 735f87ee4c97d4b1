"""What is said of sinks of the audit log, to receivers of the test."""

from __future__ import annotations

from bastion.doctor.findings import Area, Level
from bastion.doctor.sinks import examine_sink
from bastion.sinks.section import Sink
from tests.support.net import LOOPBACK, free_port
from tests.support.sinks import Receiver


def test_a_sink_that_answers_and_gets_nothing() -> None:
    with Receiver() as receiver:
        (found,) = examine_sink("siem", Sink(kind="loki", url=receiver.url), "gw1")
        assert (found.area, found.level, found.subject) == (
            Area.SINKS,
            Level.OK,
            "siem",
        ) and receiver.got == []


def test_one_that_does_not_want_us_and_one_that_is_not_there() -> None:
    with Receiver() as receiver:
        receiver.answers = 401, {}, b""
        (found,) = examine_sink("siem", Sink(kind="elastic", url=receiver.url), "gw1")
        assert found.level is Level.FAIL and "(denied): token_file" in found.text
    (found,) = examine_sink("siem", Sink(kind="otlp", url=f"http://{LOOPBACK}:{free_port()}"), "gw1")
    assert found.level is Level.FAIL and "(unreachable): its address" in found.text
