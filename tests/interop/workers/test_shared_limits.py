"""Limits and penalties of two workers are those of one process."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.support.net import LOOPBACK
from tests.support.world import PASSWORD, World, poll, running


@pytest.fixture(params=[1, 2])
def workers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def world(workers: int) -> Iterator[World]:
    limits = 'startups = "100:30:100"\npenalties = { first_block = "10m" }'
    with running(workers=workers, limits=limits) as made:
        yield made


def test_guesses_at_once_are_judged_like_one_after_the_other(world: World) -> None:
    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(lambda _: world.ask("alice+root+web1", "wrong"), range(40)))
    assert {one.returncode for one in done} == {255}
    attempts = world.audit("auth")
    judged = [line for line in attempts if line["reason"] == "bad_password"]
    assert len(judged) == 6, "five are free, and the one that blocks"
    assert {line["reason"] for line in attempts} <= {"bad_password", "throttled"}
    assert world.ask("alice+root+web1", PASSWORD).returncode == 255, "the pair is blocked in every worker"
    assert world.ask("carol+root+web1", PASSWORD).returncode == 255
    assert world.audit("auth")[-1]["reason"] == "ok", "and nobody else"


def test_who_has_logged_in_begins_anew_in_every_worker(world: World) -> None:
    for _ in range(2):
        for _ in range(4):
            assert world.ask("alice+root+web1", "wrong").returncode == 255
        assert world.ask("alice+root+web1", PASSWORD).returncode == 0
    assert "throttled" not in {line["reason"] for line in world.audit("auth")}


def silent(world: World, source: str) -> socket.socket:
    made = socket.socket()
    made.bind((source, 0))
    made.connect((LOOPBACK, world.port))
    return made


def welcomed(made: socket.socket) -> bool:
    """The gateway has said its version, and not closed at once."""
    made.settimeout(20)
    try:
        return made.recv(64).startswith(b"SSH-2.0-")
    except ConnectionResetError:
        return False


def test_what_one_source_may_hold_is_one_number(workers: int) -> None:
    with (
        running(workers=workers, limits="startups_per_source = 7\nlogin_grace = '1h'") as world,
        ExitStack() as stack,
    ):
        held = [stack.enter_context(silent(world, "127.1.1.7")) for _ in range(15)]
        assert sum(map(welcomed, held)) == 7
        assert world.metric('bastion_connections_refused_total{reason="source_startups"}') == 8
        assert welcomed(stack.enter_context(silent(world, "127.1.1.8")))


def test_so_many_places_are_there_for_all_and_a_newcomer_gets_one(workers: int) -> None:
    with (
        running(workers=workers, limits="startups = '20:0:20'\nlogin_grace = '1h'") as world,
        ExitStack() as stack,
    ):
        for _ in range(60):
            stack.enter_context(silent(world, "127.1.1.7"))
        poll(lambda: world.metric("bastion_connections_live") == 20)
        for number in range(5):
            assert welcomed(stack.enter_context(silent(world, f"127.2.{number}.1")))
        poll(lambda: world.metric("bastion_connections_live") == 20)
        assert world.ssh("echo in").stdout == b"in\n"


def test_sessions_in_all_are_one_number(workers: int) -> None:
    with running(workers=workers, limits="sessions = 3") as world, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(world.client("cat")).echo(b"x")
        with ThreadPoolExecutor(4) as pool:
            done: list[subprocess.CompletedProcess[bytes]] = list(
                pool.map(lambda _: world.ssh("true"), range(4))
            )
        assert {one.returncode for one in done} == {255}
        assert all(b"as many sessions" in one.stderr for one in done)
        assert {line["reason"] for line in world.audit("refused")} == {"sessions"}
