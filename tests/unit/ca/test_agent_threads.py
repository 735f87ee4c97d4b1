"""Signatures by agents in threads: how they end, and what is known of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bastion.ca import agent_threads
from bastion.ca.agent import AgentSigner
from bastion.ca.agent_threads import AgentThreads
from bastion.errors import AgentFailed, AgentFault, Refused, UpstreamReason
from bastion.wire.keys import PrivateKey
from tests.unit.auth.threads import StillReactor

KEY = PrivateKey.generate_ed25519()


class Desk:
    def __init__(self, folder: Path) -> None:
        self.reactor = StillReactor()
        self.signer = AgentSigner(folder / "none", KEY.public, "upstream_ca")
        self.counted: list[tuple[str, str]] = []
        self.threads = AgentThreads(self.reactor, [self.signer])
        self.threads.on_signed = lambda *words: self.counted.append(words)

    def run(self, job: Any) -> list[Any]:
        got: list[Any] = []
        self.threads.run(self.signer, job).addBoth(got.append)
        return got


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.threads.close()


def fails() -> None:
    raise AgentFailed(AgentFault.REFUSED, "the agent at /secret/place refuses")


def test_a_signature_comes_and_is_counted(desk: Desk) -> None:
    got = desk.run(lambda: "signed")
    desk.reactor.drain()
    assert (got, desk.counted, desk.threads.troubles) == (
        ["signed"],
        [("upstream_ca", "ok")],
        {"upstream_ca": ""},
    )


def test_what_goes_wrong_is_known_to_the_operator_and_not_to_the_engineer(desk: Desk) -> None:
    (failure,) = [desk.run(fails)]
    desk.reactor.drain()
    error = failure[0].value
    assert isinstance(error, Refused) and error.reason is UpstreamReason.CREDENTIAL_FAILED
    assert error.text == "the gateway's signing key cannot be used now (refused)"
    assert desk.threads.troubles == {"upstream_ca": "the agent at /secret/place refuses"}
    assert desk.counted == [("upstream_ca", "refused")]
    desk.run(lambda: "signed")
    desk.reactor.drain()
    assert desk.threads.troubles == {"upstream_ca": ""}


def test_too_many_that_wait_are_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_threads, "QUEUE", 0)
    monkeypatch.setattr(agent_threads, "THREADS", 0)
    threads = AgentThreads(desk.reactor, [desk.signer])
    threads.on_signed = lambda *words: desk.counted.append(words)
    got: list[Any] = []
    threads.run(desk.signer, lambda: "signed").addBoth(got.append)
    assert got[0].value.text.endswith("(busy)") and desk.counted == [("upstream_ca", "busy")]


def test_a_key_that_nobody_asked_for_is_looked_at_and_one_that_failed_again(desk: Desk) -> None:
    desk.threads.look_again()
    desk.threads.look_again()
    desk.reactor.drain()
    assert desk.threads.troubles["upstream_ca"].startswith("the agent at ")
    desk.threads.look_again()
    desk.reactor.drain()
    assert desk.threads.troubles["upstream_ca"].endswith("cannot be asked: No such file or directory")
    desk.run(lambda: "signed")
    desk.reactor.drain()
    desk.threads.look_again()  # it works: nobody is asked
    assert desk.threads.troubles == {"upstream_ca": ""}
    assert desk.counted == [("upstream_ca", "ok")]


def test_whoever_waits_at_the_end_is_refused(desk: Desk) -> None:
    got: list[Any] = []
    desk.threads.close()
    desk.threads.run(desk.signer, lambda: "signed").addBoth(got.append)
    assert got[0].value.text.endswith("try again") and desk.counted == []
