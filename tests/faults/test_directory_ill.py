"""slapd stopped, slow, or killed in the middle of a bind: bounded time, clear words, nobody else hurt."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.client import Client
from tests.support.faulty_proxy import FaultyProxy
from tests.support.slapd import PASSWORD, PEOPLE, Slapd, group, person, slapd_missing
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
    pytest.mark.skipif(bool(slapd_missing()), reason=slapd_missing() or "available"),
]

TIMEOUTS = 'connect_timeout = "1s"\ntimeout = "2s"\ndeadline = "3s"\nrest = "1s"\n'
DEADLINE = 3.0
# A whole login on a busy machine, ssh's start and a refusal's floor included.
SLACK = 4.0
# An echo through a running session: a millisecond here, and nowhere near any timeout of the directory.
PROMPT = 1.0
ALICE = "alice+root+web1"


class Site:
    """alice in slapd, reached through a proxy that can fail; anna embedded, with a key, certificate, password."""

    def __init__(self) -> None:
        self.slapd = Slapd([person("alice"), person("bob"), group("ops", "alice", "bob")], tls=False)
        self.slapd.start()
        self.proxy = FaultyProxy(self.slapd.port)
        self.world = World(
            slapd=self.slapd,
            slapd_url=self.proxy.url,
            ldap=TIMEOUTS,
            limits="penalties = { free = 1000, accounts = 1000 }",
        )
        # The default users under the names that break the glass.
        users = self.world.users.read_text().replace("[users.alice]", "[users.anna]")
        self.world.users.write_text(users)
        self.world.certify("bob", ("anna",))
        self.world.start()

    def close(self) -> None:
        self.world.close()
        self.proxy.close()
        self.slapd.close()

    def log_in(self) -> tuple[bool, float, str]:
        """alice's password login: (let in, seconds, stderr)."""
        began = time.monotonic()
        done = self.world.ask(ALICE, PASSWORD)
        return done.returncode == 0, time.monotonic() - began, done.stderr.decode()

    def check_others(self, running: Client) -> None:
        """A running session echoes, and embedded accounts log in by every method, promptly."""
        assert running.echo(b"still alive %d" % time.monotonic_ns()) < PROMPT
        for attempt in (
            lambda: self.world.ssh("true", user="anna+root+web1", key="alice"),
            lambda: self.world.ssh("true", user="anna+root+web1", key="bob"),
            lambda: self.world.ask("anna+root+web1", PASSWORD),
        ):
            began = time.monotonic()
            assert attempt().returncode == 0
            assert time.monotonic() - began < SLACK
        assert self.world.audit("auth")[-1]["method"] == "password"
        assert running.echo(b"and still %d" % time.monotonic_ns()) < PROMPT

    def check_told(self, words: str, reason: str, stderr: str) -> None:
        """The engineer read why, once, with a reference that leads to the reason."""
        told = re.findall(r"^bastion: (.*) \(ref ([a-z2-7]{6})\)\r?$", stderr, re.MULTILINE)
        assert len(told) == 1 and words in told[0][0], stderr
        line = self.world.audit("auth")[-1]
        assert (line["reason"], line["result"]) == (reason, "refused")
        story = self.world.explain(told[0][1])
        assert f"[{reason}]" in story and "bastion_ldap" in story


@pytest.fixture(scope="module")
def shared() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    """Healthy before and after every test: it recovers by itself."""
    yield shared
    shared.proxy.heal()
    poll(lambda: shared.log_in()[0], 20, "the gateway did not recover")
    assert poll(lambda: shared.world.metric("bastion_ldap_pool_stuck") == 0, text="a thread is stuck")
    assert shared.world.metric("bastion_ldap_pool_in_use") == 0


@pytest.fixture
def running(site: Site) -> Iterator[Client]:
    """A session of alice, opened while her directory was well."""
    options = ("-o", "PreferredAuthentications=password")
    with site.world.client("cat", user=ALICE, key=None, options=options, password=PASSWORD) as client:
        client.echo(b"begin")
        yield client
        assert client.running, "a session that was there before was hurt"


def failures(world: World) -> float:
    """Questions to the directory that it could not be asked, whichever of them it was."""
    counted = [
        value for name, value in world.metrics().items() if name.startswith("bastion_ldap_errors_total{")
    ]
    return sum(counted)


def test_a_stopped_directory(site: Site, running: Client) -> None:
    site.slapd.stop()
    try:
        before = failures(site.world)
        with site.world.refuses("password", "directory_unavailable"):
            let_in, seconds, stderr = site.log_in()
        assert not let_in and seconds < SLACK and failures(site.world) > before
        site.check_told("the login directory is not available", "directory_unavailable", stderr)
        site.check_others(running)
    finally:
        site.slapd.start()


@pytest.mark.parametrize("method", ["password", "publickey"])
def test_a_stopped_directory_does_not_show_which_accounts_are_embedded(site: Site, method: str) -> None:
    """anna, who breaks the glass, and bob of LDAP fail with the same words; the log knows better."""
    site.slapd.stop()
    try:
        told = []
        reasons = {"password": "bad_password", "publickey": "key_not_authorised"}
        for name, reason in (("anna", reasons[method]), ("bob", "directory_unavailable")):
            seen = len(site.world.audit("auth"))
            if method == "password":
                done = site.world.ask(f"{name}+root+web1", "not " + PASSWORD)
            else:
                done = site.world.ssh("true", user=f"{name}+root+web1", key="upstream_ca")
            assert done.returncode == 255
            told.append(re.sub(rf"ref [a-z2-7]+|{name}", "", done.stderr.decode()))
            lines = site.world.new_audit("auth", seen)
            assert {line["reason"] for line in lines if line["method"] == method} == {reason}
        assert told[0] == told[1]
        assert told[0].count("the login directory is not available") == 1
    finally:
        site.slapd.start()


def test_a_directory_that_answers_after_twenty_seconds(site: Site, running: Client) -> None:
    site.proxy.delay_answers(20.0)
    with site.world.refuses("password", "directory_timeout"):
        let_in, seconds, stderr = site.log_in()
    assert not let_in and seconds < DEADLINE + SLACK
    site.check_told("did not answer in time", "directory_timeout", stderr)


def test_many_logins_into_a_slow_directory_hurt_nobody_else(site: Site, running: Client) -> None:
    site.proxy.delay_answers(20.0)
    results: list[tuple[bool, float, str]] = []
    threads = [threading.Thread(target=lambda: results.append(site.log_in())) for _ in range(6)]
    for thread in threads:
        thread.start()
    poll(lambda: site.world.metric("bastion_ldap_pool_in_use") >= 3, text="nobody waits for the directory")
    assert running.echo(b"while they wait") < PROMPT
    site.check_others(running)
    for thread in threads:
        thread.join(30)
    assert len(results) == len(threads)
    assert not any(let_in for let_in, _, _ in results)
    assert max(seconds for _, seconds, _ in results) < DEADLINE + 2 * SLACK


def test_a_directory_killed_in_the_middle_of_a_bind(site: Site, running: Client) -> None:
    """The bind request is on its way and never arrives; then the server is gone."""
    dn, secret = f"uid=alice,{PEOPLE}".encode(), PASSWORD.encode()
    site.proxy.hold(lambda piece: dn in piece and secret in piece)
    site.proxy.held.clear()
    outcome: list[tuple[bool, float, str]] = []
    thread = threading.Thread(target=lambda: outcome.append(site.log_in()))
    with site.world.refuses("password", "directory_unavailable"):
        thread.start()
        assert site.proxy.held.wait(10), "the bind never came"
        began = time.monotonic()
        site.slapd.kill()
        thread.join(20)
    try:
        let_in, _, stderr = outcome[0]
        assert not let_in and time.monotonic() - began < DEADLINE + SLACK
        site.check_told("the login directory is not available", "directory_unavailable", stderr)
        site.check_others(running)
    finally:
        site.slapd.start()


def test_a_directory_that_takes_a_bind_and_never_answers(site: Site, running: Client) -> None:
    dn, secret = f"uid=alice,{PEOPLE}".encode(), PASSWORD.encode()
    site.proxy.client_gone.clear()
    site.proxy.hold(lambda piece: dn in piece and secret in piece)
    with site.world.refuses("password", "directory_timeout"):
        let_in, seconds, stderr = site.log_in()
    assert not let_in and seconds < DEADLINE + SLACK
    site.check_told("did not answer in time", "directory_timeout", stderr)
    assert site.proxy.client_gone.wait(20), "the gateway kept a dead connection"
    site.check_others(running)


def test_keys_and_certificates_of_the_directorys_accounts_are_told_too(site: Site, running: Client) -> None:
    """Possession is proved, but whether the account still exists only the directory knows."""
    site.world.certify("target_host_ca", ("alice",))
    site.slapd.stop()
    try:
        with site.world.refuses("certificate", "directory_unavailable"):
            done = site.world.ssh("true", user=ALICE, key="target_host_ca")
        assert done.returncode == 255
        assert done.stderr.count(b"the login directory is not available") == 1
    finally:
        site.slapd.start()


def test_no_secret_is_in_the_log_after_all_that(shared: Site) -> None:
    text = shared.world.log.read_text() + (shared.world.folder / "audit.jsonl").read_text()
    assert PASSWORD not in text and "reader-secret" not in text
    assert "Traceback" not in text
