"""What a thread reports is heard in the reactor's thread, in its order."""

from __future__ import annotations

from typing import Any

from bastion.auth.ldap_observer import NoObserver, ThreadReport


class Heard(NoObserver):
    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def operation(self, name: str, seconds: float) -> None:
        self.said.append((name, seconds))

    def failure(self, name: str, error: str) -> None:
        self.said.append((name, error))


class Later:
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def callFromThread(self, *call: Any) -> None:
        self.calls.append(call)


def test_a_thread_only_leaves_word() -> None:
    reactor: Any = Later()
    heard = Heard()
    report = ThreadReport(reactor, heard)
    report.operation("search", 0.5)
    report.failure("ldap1", "timeout")
    assert heard.said == []
    for function, *arguments in reactor.calls:
        function(*arguments)
    assert heard.said == [("search", 0.5), ("ldap1", "timeout")]
