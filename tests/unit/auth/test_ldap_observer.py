"""What a thread reports is heard in the reactor's thread, in its order."""

from __future__ import annotations

from typing import Any

from bastion.auth.ldap_observer import NoObserver, ThreadReport
from tests.unit.auth.threads import StillReactor


class Heard(NoObserver):
    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def operation(self, name: str, seconds: float) -> None:
        self.said.append((name, seconds))

    def failure(self, name: str, error: str) -> None:
        self.said.append((name, error))


def test_a_thread_only_leaves_word() -> None:
    reactor, heard = StillReactor(), Heard()
    report = ThreadReport(reactor, heard)
    report.operation("search", 0.5)
    report.failure("ldap1", "timeout")
    assert heard.said == []
    reactor.drain(2)
    assert heard.said == [("search", 0.5), ("ldap1", "timeout")]
