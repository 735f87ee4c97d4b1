"""Guessing at two gateways of one PostgreSQL and at a console: who waits at one waits at all."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import paramiko
import pytest

from bastion.control.orders import ClearPenalties, PenaltiesAsked
from tests.support.net import LOOPBACK
from tests.support.nodes import LOGIN, Pair
from tests.support.postgres import Postgres
from tests.support.sshd import sshd_missing
from tests.support.world import PASSWORD, World, poll
from tests.unit.console.made import Browser

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

BY_PASSWORD = """[login]
require = [["publickey"], ["password"]]
"""
MORE = """
[limits.penalties]
first_block = "3m"
[console]
listen = "127.0.0.1:0"
require = [["password"]]
auditor_groups = ["guests"]
"""
HEARD = 10.0
"""Seconds for what takes two on a machine that does nothing else."""


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with Postgres() as server:
        made = Pair(server)
        for world in made.worlds:
            text = world.config.read_text()
            assert LOGIN in text
            world.config.write_text(text.replace(LOGIN, BY_PASSWORD) + MORE)
        try:
            yield made.start()
        finally:
            made.close()


def log_in(world: World, password: str, name: str = "carol") -> str:
    """What the gateway writes down of one password."""
    seen = len(world.audit("auth"))
    with socket.create_connection((LOOPBACK, world.port), timeout=20) as pipe:
        transport = paramiko.Transport(pipe)
        try:
            transport.start_client(timeout=20)
            transport.auth_password(name, password)
        except paramiko.SSHException:
            pass
        finally:
            transport.close()
    return str(world.new_audit("auth", seen)[-1]["reason"])


def guess(world: World, times: int = 6, name: str = "carol") -> None:
    for _ in range(times):
        assert log_in(world, "wrong", name) in ("bad_password", "unknown_user")


def waits(world: World, name: str = "carol") -> bool:
    return log_in(world, PASSWORD, name) == "throttled"


def shown(world: World) -> list[tuple[str, str, tuple[str, ...]]]:
    rows = world.order(PenaltiesAsked()).penalties  # type: ignore[attr-defined]
    return sorted((row.source, row.account, tuple(row.nodes)) for row in rows)


def clear(world: World) -> int:
    return int(world.order(ClearPenalties(account="carol", reason="an exercise")).all)  # type: ignore[attr-defined]


def test_who_guessed_at_one_waits_at_the_other_and_is_cleared_at_both(both: Pair) -> None:
    one, two = both.one, both.two
    assert log_in(one, PASSWORD) == log_in(two, PASSWORD) == "ok"
    guess(one)
    assert waits(one)
    began = time.monotonic()
    poll(lambda: shown(two), HEARD, "gw2 has not heard")
    print(f"heard after {time.monotonic() - began:.2f} s")
    assert waits(two) and shown(two) == [(LOOPBACK, "?", ("gw1",))]
    assert shown(one) == [(LOOPBACK, "carol", ("gw1",))]
    listed = two.bastion("penalties", "--config", str(two.config)).stdout.decode()
    assert re.search(r"GATEWAYS\n127\.0\.0\.1 +\? +\S+ +6 +gw1\n", listed), listed
    assert two.ssh("true").returncode == 0, "alice waits for nobody"
    assert clear(two) == 1
    poll(lambda: not shown(one), HEARD, "gw1 has not heard")
    assert log_in(one, PASSWORD) == log_in(two, PASSWORD) == "ok"
    assert two.audit("penalties_cleared")[-1]["cleared"] == 1


def test_a_source_that_sprays_at_one_is_turned_away_at_the_other(both: Pair) -> None:
    one, two = both.one, both.two
    for number in range(40):
        if any(not account for _, account, _ in shown(one)):
            break
        assert log_in(one, "wrong", f"user{number}") == "unknown_user"
    poll(lambda: (LOOPBACK, "", ("gw1",)) in shown(two), HEARD, "gw2 has not heard")
    refused = 'bastion_connections_refused_total{reason="penalty"}'
    before = two.metric(refused)
    with socket.create_connection((LOOPBACK, two.port), timeout=20) as pipe:
        pipe.settimeout(20)
        assert pipe.recv(4096) == b""
    assert two.metric(refused) == before + 1
    two.order(ClearPenalties(source=LOOPBACK))
    poll(lambda: not shown(one), HEARD, "gw1 has not heard")
    assert log_in(one, PASSWORD) == log_in(two, PASSWORD) == "ok"


def test_with_postgresql_away_each_judges_by_its_own_and_tells_when_it_is_back(both: Pair) -> None:
    one, two = both.one, both.two
    both.server.stop()
    try:
        guess(one)
        assert waits(one) and log_in(two, "wrong") == "bad_password" and shown(two) == []
    finally:
        both.server.start()
    poll(lambda: shown(two), 30, "gw2 has not heard")
    assert waits(two)
    assert clear(one) == 1
    poll(lambda: not shown(two), HEARD, "gw2 has not heard")
    assert log_in(two, PASSWORD) == "ok"


def test_one_that_was_killed_knows_what_the_other_claims_when_it_is_back(both: Pair) -> None:
    one, two = both.one, both.two
    guess(two)
    poll(lambda: shown(one), HEARD, "gw1 has not heard")
    one.kill()
    one.start()
    both.together()
    poll(lambda: shown(one) == [(LOOPBACK, "?", ("gw2",))], HEARD, "gw1 has forgotten")
    assert waits(one)
    clear(one)
    poll(lambda: not shown(two), HEARD, "gw2 has not heard")
    keys = {world.recordings / "state" / "penalties.key" for world in both.worlds}
    assert len({key.read_bytes() for key in keys}) == 1


@contextmanager
def console(world: World) -> Iterator[Browser]:
    with world.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bastion", "console", "--config", str(world.config)],
            stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, world.log.read_text()
        yield Browser(json.loads(line)["console"])
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        process.stdout.close()


def test_guesses_at_a_console_count_at_every_gateway_and_theirs_at_it(both: Pair) -> None:
    one, two = both.one, both.two
    with console(two) as browser:
        for _ in range(6):
            assert browser.sign_in("carol", "wrong").status == 401
        poll(lambda: shown(one) == [(LOOPBACK, "?", ("gw2/console",))], HEARD, "gw1 has not heard")
        poll(lambda: shown(two), HEARD, "gw2 has not heard")
        assert waits(one) and waits(two)
        assert "too many failed sign-ins" in browser.sign_in("carol", PASSWORD).text
        clear(one)
        poll(lambda: browser.sign_in("carol", PASSWORD).status == 303, HEARD, "the console has not heard")
        poll(lambda: not shown(two), HEARD, "gw2 has not heard")
        guess(one)
        poll(
            lambda: "too many" in Browser(browser.origin).sign_in("carol", PASSWORD).text, HEARD, "not heard"
        )
    clear(two)
    poll(lambda: not shown(one), HEARD, "gw1 has not heard")
