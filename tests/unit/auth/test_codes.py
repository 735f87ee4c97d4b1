"""A code as the first factor: what a stranger hears and pays does not tell who exists, or who has a second factor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from bastion.auth.chain import REFUSAL_STEP, ChainDirectory
from bastion.auth.directory import Asker
from bastion.errors import AuthReason, Refused
from bastion.userauth.server import ANSWER_FLOOR
from bastion.wire.userauth import InfoResponse, KeyboardInteractiveBody, PasswordBody, UserauthFailure
from tests.unit.auth.test_attempt import HERE, Client, Gate
from tests.unit.auth.test_chain import Names

ROOT, BERT, CAROL, NOBODY = "root1", "bert", "carol", "nobody"
EVERYBODY = (ROOT, BERT, CAROL, NOBODY)
"""Of the embedded directory; of LDAP, with and without a second factor; of none."""

ENROLLED = {f"embedded:{ROOT}", f"ldap:{BERT}"}


class Store:
    """Knows whose code is right. `away`: no store; `held`: it has been asked, and thinks."""

    def __init__(self, away: bool = False) -> None:
        self.away, self.held = away, list[Deferred[bool]]()
        self.slow = False

    def __call__(self, uid: str, answer: str, asker: Asker) -> Deferred[bool]:
        if self.slow:
            self.held.append(Deferred())
            return self.held[-1]
        if self.away:
            return fail(Refused(AuthReason.CODES_UNAVAILABLE, "away"))
        if uid not in ENROLLED:
            return fail(Refused(AuthReason.NOT_ENROLLED, "none"))
        if answer != "123456":
            return fail(Refused(AuthReason.BAD_CODE, "wrong"))
        return succeed(False)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path, (("publickey", "totp"), ("totp", "password")))
    yield made
    made.audit.close()


def at(gate: Gate, store: Store, down: bool = False) -> None:
    """A gateway with both directories; `down`: that of LDAP."""
    ldap = Names("ldap", BERT, CAROL, down=down)
    embedded: Any = Names("embedded", ROOT)
    gate.services = replace(gate.services, directory=ChainDirectory(embedded, ldap, gate.timers))
    gate.codes = store


def guess(gate: Gate, name: str, code: str = "000000") -> Client:
    client = Client(gate)
    client.ask("keyboard-interactive", KeyboardInteractiveBody().encode(), name)
    client.sent.clear()
    client.service.receive(InfoResponse((code.encode(),)).encode())
    return client


def pass_floor(gate: Gate) -> None:
    """The time of an answer, in pieces as it passes: what waits for a step of its own on the way comes at that step."""
    gate.timers.pump([REFUSAL_STEP] * (round(ANSWER_FLOOR / REFUSAL_STEP) + 1))


def heard(gate: Gate, name: str) -> tuple[list[bytes], float]:
    """What a stranger is told of a wrong code, and how long he must wait after eight of them."""
    for _ in range(8):
        client = guess(gate, name)
        pass_floor(gate)
    first = guess(gate, name)
    pass_floor(gate)
    return [*client.sent, *first.sent], gate.penalties.wait(HERE, name)


@pytest.mark.parametrize("away", [False, True])
def test_all_names_are_told_the_same_and_pay_the_same(gate: Gate, away: bool) -> None:
    at(gate, Store(away))
    found = {name: heard(gate, name) for name in EVERYBODY}
    assert found == dict.fromkeys(EVERYBODY, found[NOBODY])
    waits = found[NOBODY][1]
    assert (waits == 0.0) is away, "nobody pays for what was not judged"


@pytest.mark.parametrize("away", [False, True])
def test_break_glass_names_are_told_what_ldaps_are(gate: Gate, away: bool) -> None:
    at(gate, Store(away), down=True)
    said = {name: guess(gate, name) for name in (ROOT, NOBODY)}
    pass_floor(gate)
    assert said[ROOT].sent == said[NOBODY].sent
    words = b"second factors cannot be checked now" if away else b"login directory is not available"
    assert words in said[ROOT].sent[0]
    reason = AuthReason.CODES_UNAVAILABLE if away else AuthReason.BAD_CODE
    assert gate.outcomes()[0] == ("totp", reason), "booked as what it was"


def test_all_wait_for_the_store(gate: Gate) -> None:
    store = Store()
    store.slow = True
    at(gate, store)
    clients = [guess(gate, name) for name in EVERYBODY]
    gate.timers.advance(10)
    assert len(store.held) == len(EVERYBODY) and not any(client.sent for client in clients)


def test_the_right_code_goes_on(gate: Gate) -> None:
    at(gate, Store())
    client = guess(gate, BERT, "123456")
    pass_floor(gate)
    assert gate.outcomes() == [("totp", "partial")] and not client.let_in
    assert UserauthFailure.parse(client.sent[-1]).partial


def test_no_password_is_asked_of_the_directory_before_the_code(gate: Gate) -> None:
    """Whoever has no code cannot make the directory count a wrong password, whichever way it is sent."""
    at(gate, Store())
    bound: list[str] = []
    check = gate.services.directory.check_password

    def bind(name: str, *more: Any) -> Any:
        bound.append(name)
        return check(name, *more)

    gate.services.directory.check_password = bind  # type: ignore[method-assign]
    for _ in range(3):
        client = guess(gate, BERT, "not a code")
        pass_floor(gate)
        client.password()
        client.ask("password", PasswordBody(b"secret").encode(), BERT)
        pass_floor(gate)
    assert bound == []
    client = guess(gate, BERT, "123456")
    pass_floor(gate)
    client.ask("password", PasswordBody(b"secret").encode(), BERT)
    assert bound == [BERT]
