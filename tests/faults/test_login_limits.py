"""Logins that do not end, that come in floods, and that guess."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.net import LOOPBACK
from tests.support.sshd import sshd_missing
from tests.support.world import PASSWORD, World, poll, running

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

GRACE = 2.0
# How late a timer may be on a busy machine.
SLACK = 8.0
ALICE = "alice+root+web1"
REFUSED = 'bastion_connections_refused_total{{reason="{}"}}'


def connect(world: World) -> socket.socket:
    made = socket.create_connection((LOOPBACK, world.port), timeout=10)
    made.settimeout(15)
    return made


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            got += piece
    return got


# -- login grace -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graceful() -> Iterator[World]:
    with running(limits=f'login_grace = "{GRACE:g}s"') as made:
        yield made


@pytest.mark.parametrize(
    ("greeting", "result"),
    [(b"", "silent"), (b"SSH-2.0-Silent\r\n", "failed"), (b"SSH-2.0-Half", "no_version")],
)
def test_a_silent_connection_ends_with_the_login_grace(graceful: World, greeting: bytes, result: str) -> None:
    """Who said no version line is a number; who did has a line."""
    began, lines = time.monotonic(), len(graceful.audit())
    counted = f'bastion_handshakes_total{{at="front",result="{result}"}}'
    with graceful.moves(REFUSED.format("login_grace"), counted), connect(graceful) as silent:
        silent.sendall(greeting)
        assert read_to_end(silent).startswith(b"SSH-2.0-")
        took = time.monotonic() - began
        poll(lambda: graceful.metric("bastion_connections_live") == 0)
    assert GRACE - 0.5 < took < GRACE + SLACK
    if result != "failed":
        assert len(graceful.audit()) == lines
        return
    line = graceful.audit("handshake_failed")[-1]
    assert (line["reason"], line["source"], line["software"]) == ("failed", LOOPBACK, "SSH-2.0-Silent")
    assert "the login took too long" in graceful.explain(line["connection"])


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_an_engineer_who_never_answers_the_prompt_is_ended_too(graceful: World, method: str) -> None:
    with graceful.hesitating(ALICE, method):
        poll(lambda: graceful.metric("bastion_connections_live") == 1)
        began = time.monotonic()
        poll(lambda: graceful.metric("bastion_connections_live") == 0, GRACE + SLACK)
        assert time.monotonic() - began < GRACE + SLACK
    assert graceful.audit("refused")[-1]["reason"] == "login_grace"


def test_dribbling_bytes_buy_no_time(graceful: World) -> None:
    began = time.monotonic()
    with connect(graceful) as slow, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while time.monotonic() - began < GRACE + SLACK:
            slow.sendall(b"x")
            slow.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                if not slow.recv(4096):
                    break
    assert time.monotonic() - began < GRACE + SLACK


def test_a_session_outlives_the_grace(graceful: World) -> None:
    with graceful.client("cat") as client:
        client.echo(b"begin")
        with contextlib.suppress(AssertionError):
            client.wait(GRACE + 0.5)
        client.echo(b"after the grace")
        client.end_input()
        assert client.wait() == 0


# -- startups ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crowded() -> Iterator[World]:
    with running(limits='startups = "4:100:8"\nstartups_per_source = 1000') as made:
        yield made


@pytest.fixture(scope="module")
def shared_address() -> Iterator[World]:
    with running(limits="startups_per_source = 4") as made:
        yield made


@pytest.mark.parametrize("name, reason", [("crowded", "startups"), ("shared_address", "source_startups")])
def test_one_unfinished_login_too_many_is_closed_at_once(
    request: pytest.FixtureRequest, name: str, reason: str
) -> None:
    world: World = request.getfixturevalue(name)
    with world.client("cat") as running_client, contextlib.ExitStack() as stack:
        running_client.echo(b"a session is no unfinished login")
        waiting = [stack.enter_context(connect(world)) for _ in range(4)]
        for one in waiting:
            assert one.recv(64).startswith(b"SSH-2.0-")
        with world.moves(REFUSED.format(reason)), connect(world) as refused:
            assert read_to_end(refused) == b""
        line = world.audit("connection_refused")[-1]
        assert (line["reason"], line["source"]) == (reason, LOOPBACK)
        assert running_client.echo(b"undisturbed") < SLACK
        waiting[0].close()
        poll(lambda: world.metric("bastion_connections_live") == 4)
        assert world.ssh("echo in").stdout == b"in\n"


def test_a_flood_leaves_nothing_behind(crowded: World) -> None:
    for _ in range(3):
        flood = [connect(crowded) for _ in range(30)]
        for one in flood:
            one.close()
    poll(lambda: crowded.metric("bastion_connections_live") == 0)
    accepted = crowded.metric("bastion_connections_accepted_total")
    assert accepted == crowded.metric("bastion_connections_closed_total")
    assert crowded.ssh("true").returncode == 0


# -- penalties ---------------------------------------------------------------------------------------------------


PENALTIES = 'penalties = {{ free = 2, first_block = "{0}", longest_block = "{0}", accounts = 4, source_block = "{0}" }}'


@pytest.fixture
def strict() -> Iterator[World]:
    """Blocks last longer than any test."""
    with running(limits=PENALTIES.format("1h")) as made:
        yield made


@pytest.fixture
def brief() -> Iterator[World]:
    """Blocks end while a test waits for it."""
    with running(limits=PENALTIES.format("1s")) as made:
        yield made


def guess(world: World, user: str) -> None:
    with world.refuses("password", "bad_password"):
        assert world.ask(f"{user}+root+web1", "wrong").returncode == 255


def test_guessing_is_slowed_for_that_name_only_and_told(strict: World) -> None:
    for _ in range(3):
        guess(strict, "alice")
    with strict.refuses("password", "throttled"):
        done = strict.ask(ALICE, PASSWORD)
    assert done.returncode == 255
    assert b"too many failed logins for this name from here" in done.stderr and b"(ref " in done.stderr
    # Somebody else behind the same address is not hurt; a reload is no amnesty for the guesser.
    assert strict.ask("carol+root+web1", PASSWORD).stderr.count(b"no target at all") >= 1
    strict.reload()
    with strict.refuses("password", "throttled"):
        assert strict.ask(ALICE, PASSWORD).returncode == 255


def test_a_block_of_a_name_ends(brief: World) -> None:
    for _ in range(3):
        brief.ask(ALICE, "wrong")
    poll(lambda: brief.ask(ALICE, PASSWORD).returncode == 0, 60, "the block never ends")


def is_closed(world: World) -> bool:
    """Whether a newcomer is closed before a version line."""
    with connect(world) as newcomer, contextlib.suppress(ConnectionResetError):
        return newcomer.recv(64) == b""
    return True


def test_spraying_over_many_names_closes_the_door_to_the_address(strict: World) -> None:
    """Names that fall on one bit of the source's bitmap count once, so that now and then it takes a name more."""
    for number in range(16):
        with strict.refuses("password", "unknown_user"):
            strict.ask(f"user{number}+root+web1", "wrong")
        if number >= 3 and is_closed(strict):
            break
        assert not is_closed(strict)
    with strict.moves(REFUSED.format("penalty")), connect(strict) as refused:
        assert read_to_end(refused) == b""
    assert strict.audit("connection_refused")[-1]["reason"] == "penalty"


def test_a_block_of_an_address_ends(brief: World) -> None:
    for number in range(4):
        brief.ask(f"user{number}+root+web1", "wrong")
    poll(lambda: brief.ssh("true").returncode == 0, 60, "the block never ends")


def test_too_many_failures_in_one_connection_end_it(strict: World) -> None:
    options = ("-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=20")
    done = strict.ssh(
        "true", user="carol+root+web1", key=None, password="wrong",
        options=("-o", "PubkeyAuthentication=no", *options),
    )  # fmt: skip
    assert done.returncode == 255
    reasons = [line["reason"] for line in strict.audit("auth")]
    assert 0 < len(reasons) <= 6 and set(reasons) <= {"bad_password", "throttled"}
