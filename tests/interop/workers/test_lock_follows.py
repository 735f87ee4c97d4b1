"""A lock on a user is on the account: a rename does not lose it, and whoever gets the name is free of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.slapd import PEOPLE, Slapd, group, person, slapd_missing
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

MISSING = sshd_missing() or slapd_missing()
pytestmark = [pytest.mark.interop, pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")]

NAMES = ("alice", "alicia", "bob", "bobby", "carol")
TTL = 0.5
"""Seconds, as configured below, for which an answer of the directory is used."""


class Office:
    """Two workers, and accounts in slapd that all have alice's key; groups know what they will be called, too."""

    def __init__(self, closes: ExitStack) -> None:
        self.world = closes.enter_context(
            closing(World(workers=2, limits="penalties = { free = 1000, accounts = 1000 }"))
        )
        self.key = f"sshPublicKey: {(self.world.keys / 'alice.pub').read_text().strip()}"
        people = [person(name, self.key) for name in ("alice", "bob", "carol")]
        self.slapd = closes.enter_context(closing(Slapd([*people, group("ops", *NAMES)], tls=False)))
        self.slapd.start()
        self.world.use_slapd(self.slapd, ldap=f"lookup_ttl = {TTL}\ngroup_ttl = {TTL}\n", users="[users]\n")
        self.world.start()

    def ask(self, command: str, *words: str) -> Any:
        done = self.world.bastion(command, *words, "--json", "-c", str(self.world.config))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def rename(self, old: str, new: str) -> None:
        self.slapd.change(f"dn: uid={old},{PEOPLE}\nchangetype: modrdn\nnewrdn: uid={new}\ndeleteoldrdn: 1\n")

    def hire(self, name: str) -> None:
        """A new account, which slapd gives an entryUUID of its own."""
        entry = person(name, self.key)
        dn, _, rest = entry.partition("\n")
        self.slapd.change(f"{dn}\nchangetype: add\n{rest}")

    def locks_by_name(self, name: str) -> bool:
        """Lock; the worker that is asked may use an answer of before for TTL, and then it is undone."""
        done = self.world.bastion("lock", name, "--reason", "left", "-c", str(self.world.config))
        assert done.returncode == 0, done
        if f"on the name {name}".encode() in done.stdout:
            assert b"the directory does not answer" in done.stdout
            return True
        self.ask("unlock", name)
        return False

    def gets_in(self, name: str) -> bool:
        return self.world.ssh("true", user=f"{name}+root+web1").returncode == 0

    def is_locked_out(self, name: str) -> bool:
        return b"locked by the security team: left" in self.world.ssh("true", user=f"{name}+root+web1").stderr


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    with ExitStack() as closes:
        yield Office(closes)


def test_a_renamed_account_stays_locked_and_its_name_is_free_for_another(office: Office) -> None:
    assert office.gets_in("alice")
    made = office.ask("lock", "alice", "--reason", "left")
    assert made["uid"] and made["on_name"] == ""
    (lock,) = office.ask("locks")["locks"]
    assert (lock["value"], lock["uid"]) == ("alice", made["uid"])
    (line,) = [one for one in office.world.audit("locked") if one["value"] == "alice"]
    assert line["uid"] == made["uid"]
    assert office.is_locked_out("alice")
    office.rename("alice", "alicia")
    for _ in range(3):  # whichever worker takes it
        assert office.is_locked_out("alicia")
    office.hire("alice")
    for _ in range(3):  # either worker may use an answer of before for TTL
        poll(lambda: office.gets_in("alice"), text="who has the name now does not get in")
        assert office.is_locked_out("alicia")
    again = office.world.bastion("lock", "alice", "--reason", "x", "-c", str(office.world.config))
    assert again.returncode == 1 and made["uid"].encode() in again.stderr, again
    assert office.ask("unlock", "alice")["uid"] == made["uid"]
    poll(lambda: office.gets_in("alicia"), text="it stays locked")


def test_what_the_account_began_under_its_old_name_ends(office: Office) -> None:
    """At both workers; sessions of who has the name since then go on."""
    with ExitStack() as running:
        old: list[Client] = []
        while len({row["node"] for row in office.ask("live")["live"]}) < 2:
            assert len(old) < 10, "one worker takes everybody"
            old.append(running.enter_context(office.world.client("cat", user="bob+root+web1")))
            old[-1].echo(b"here")
        office.rename("bob", "bobby")
        office.hire("bob")
        poll(lambda: office.gets_in("bobby"), text="the new name does not get in")
        ended = office.ask("lock", "bobby", "--reason", "left")
        assert ended["sessions"] == len(old) and ended["uid"]
        for client in old:
            assert client.wait() == 255 and b"left" in client.err
        assert office.is_locked_out("bobby")
        poll(lambda: office.gets_in("bob"), text="who has the name now does not get in")
    office.ask("unlock", "bobby")


def test_while_the_directory_is_down_the_name_is_locked_and_that_is_said(office: Office) -> None:
    poll(lambda: office.gets_in("carol"))
    with office.world.client("cat", user="carol+root+web1") as client:
        client.echo(b"here")
        office.slapd.stop()
        try:
            poll(lambda: not office.gets_in("carol"), text="the directory's last answer is used for ever")
            poll(lambda: office.locks_by_name("carol"), 30, "an id of nowhere")
            assert client.wait() == 255 and b"left" in client.err
        finally:
            office.slapd.start()
    poll(lambda: office.is_locked_out("carol"), 30, "the lock is gone with the directory's return")
    assert [lock.get("uid", "") for lock in office.ask("locks")["locks"]] == [""]
    office.ask("unlock", "carol")


def test_a_name_that_nobody_has_yet_is_locked_for_whoever_gets_it(office: Office) -> None:
    done = office.world.bastion("lock", "dora", "--reason", "left", "-c", str(office.world.config))
    assert done.returncode == 0 and b"on the name dora" in done.stdout and b"unknown_user" in done.stdout
    office.hire("dora")
    poll(lambda: office.is_locked_out("dora"), text="the name is not locked")
    office.ask("unlock", "dora")
