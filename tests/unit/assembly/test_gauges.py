"""What is set when somebody looks says how a whole gateway is at that moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bastion.auth.budget import Work
from bastion.auth.directory import Servers
from bastion.errors import AuthReason
from bastion.net.resolver import resolver_of
from bastion.observe.families.directory import LDAP_SERVERS, LDAP_SERVERS_FAILING
from bastion.observe.families.flow import BUFFERED_BYTES, LEGS_PAUSED, PAUSED_SECONDS
from bastion.observe.families.keys import CERTIFICATE_EXPIRES, KEY_MADE, KEY_RETIRES, UPSTREAM_CERTIFICATES
from bastion.observe.families.recordings import RECORDING_STORE_FREE_BYTES
from bastion.observe.families.standing import (
    PENALTIES,
    PENALTY_BLOCKS,
    SESSIONS_LIMIT,
    UNFINISHED_LOGINS,
    UNFINISHED_LOGINS_LIMIT,
)
from bastion.observe.meters import NAME_LOOKUPS, PROCESS_RESIDENT_BYTES
from bastion.transport.stalls import STALLS
from bastion.transport.states import Role
from tests.unit.assembly.test_applying import Running
from tests.unit.config.site import rotating

pytestmark = pytest.mark.slow


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.close()


def look(running: Running) -> Any:
    """The meters' values, as somebody who looks gets them."""
    running.program._gauges.look()
    return running.program.meters.value


def test_the_process_the_disk_and_the_limits(running: Running) -> None:
    value = look(running)
    assert value(PROCESS_RESIDENT_BYTES, "gateway") > 1 << 20
    assert value(RECORDING_STORE_FREE_BYTES) > 0
    limits = running.program.reloading.config.limits
    assert value(SESSIONS_LIMIT) == limits.sessions
    assert value(UNFINISHED_LOGINS_LIMIT, "begin") == limits.startups.begin
    assert value(UNFINISHED_LOGINS_LIMIT, "full") == limits.startups.full


def test_limits_and_the_age_of_keys_follow_a_reload(running: Running) -> None:
    value = look(running)
    made = (running.files.folder / "upstream_ca").stat().st_mtime
    assert value(KEY_MADE, "upstream_ca") == round(made)
    assert value(KEY_MADE, "issue") == value(KEY_RETIRES, "front_host_ca") == 0
    running.files.set("limits.sessions", "77")
    running.files.set("limits.startups", '"5:30:60"')
    rotating(running.files, "front_host_ca", ledger="keys.toml")
    running.program.reloading.on_applied = running.program._applied
    assert running.reload()["result"] == "ok"
    value = look(running)
    assert (value(SESSIONS_LIMIT), value(UNFINISHED_LOGINS_LIMIT, "full")) == (77, 60)
    assert (value(KEY_MADE, "front_host_ca"), value(KEY_RETIRES, "front_host_ca")) == (1, 4_000_000_000)


def test_who_has_not_logged_in_and_who_must_wait(running: Running) -> None:
    place = running.gateway.startups.admit("192.0.2.1")
    penalties = running.gateway.services.auth.penalties
    for _ in range(9):
        penalties.failed("192.0.2.1", "alice", AuthReason.BAD_PASSWORD)
    for number in range(40):
        penalties.failed("198.51.100.7", f"user{number}", AuthReason.BAD_PASSWORD)
    value = look(running)
    assert value(UNFINISHED_LOGINS) == 1
    assert (value(PENALTIES, "account"), value(PENALTIES, "source")) == (1, 1)
    assert (
        value(PENALTY_BLOCKS, "account") == 4
    )  # the fifth failure is free, each one after it lengthens the block
    assert value(PENALTY_BLOCKS, "source") in (1, 2)  # as many as the bitmap tells apart
    place.release()
    penalties.succeeded("192.0.2.1", "alice")
    value = look(running)
    assert (value(UNFINISHED_LOGINS), value(PENALTIES, "account")) == (0, 0)
    assert value(PENALTY_BLOCKS, "account") == 4


def test_the_directory_s_servers(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = running.gateway.services.auth.directory
    monkeypatch.setattr(directory, "servers", lambda: Servers(3, 1, local=True))
    value = look(running)
    assert (value(LDAP_SERVERS), value(LDAP_SERVERS_FAILING)) == (3, 2)


def test_names_that_are_looked_up(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = SimpleNamespace(running=2, waiting=3, stuck=1)
    monkeypatch.setattr("bastion.assembly.gauges.resolver_of", lambda reactor: busy)
    value = look(running)
    assert resolver_of(running.reactor) is not busy
    assert [value(NAME_LOOKUPS, state) for state in ("running", "waiting", "stuck")] == [2, 3, 1]


def test_what_waits_for_whom(running: Running) -> None:

    def stalled() -> int:
        return 4096

    purse = running.gateway.budget.identity("alice")
    held = purse.take(Work.BUFFERED, 1000)
    before = look(running)(PAUSED_SECONDS, "target")
    STALLS[Role.CLIENT].begin(stalled, running.reactor.seconds())
    running.reactor.advance(2.0)
    value = look(running)
    assert value(LEGS_PAUSED, "target") == 1 and value(LEGS_PAUSED, "engineer") == 0
    assert value(PAUSED_SECONDS, "target") == before + 2_000_000
    assert (value(BUFFERED_BYTES, "target"), value(BUFFERED_BYTES, "channels")) == (4096, 1000)
    STALLS[Role.CLIENT].end(stalled, running.reactor.seconds())
    held.release()
    value = look(running)
    assert value(LEGS_PAUSED, "target") == value(BUFFERED_BYTES, "target") == 0
    assert value(PAUSED_SECONDS, "target") == before + 2_000_000


def test_certificates_that_were_shown_and_those_that_were_made(running: Running) -> None:
    assert look(running)(CERTIFICATE_EXPIRES, "front_host") == 0
    services = running.gateway.services
    target = next(iter(services.inventory))
    now = running.gateway.clock.time()
    services.inner_host_keys.settings_for(target)
    assert look(running)(CERTIFICATE_EXPIRES, "front_host") == pytest.approx(now + 86400, abs=5)
    services.upstream.on_certificate()
    assert look(running)(UPSTREAM_CERTIFICATES) == 1
