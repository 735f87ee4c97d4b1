"""Inventories that are asked over real HTTPS, by a gateway of one process and by one of two workers."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.net import LOOPBACK
from tests.support.pages import Pages
from tests.support.pki import Authority
from tests.support.sshd import Sshd, sshd_missing
from tests.support.world import DEFAULT_POLICY, World, poll, refusal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

INVENTORY = """
[inventories.cmdb]
url = "{url}"
ca_file = "{ca}"
every = "1s"
timeout = "2s"
allow_addresses = ["127.0.0.0/8"]
labels = {{ inventory = "cmdb" }}
"""
NEW = "alice+root+new1"


class Site:
    """A gateway that asks a server of the test, and a second sshd that only that server knows of."""

    def __init__(self, workers: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bastion-inventory-"))
        authority = Authority(self.folder / "pki")
        self.pages = Pages(authority.issue(LOOPBACK))
        config = INVENTORY.format(url=self.pages.url("/targets"), ca=authority.certificate)
        self.world = World(config=config, workers=workers, policy=DEFAULT_POLICY + "end_withdrawn = true\n")
        self.sshd = Sshd(self.folder / "new1", user_ca=self.world.keys / "upstream_ca.pub").start()
        self.knows()
        self.world.start()

    def knows(self, **targets: dict[str, Any]) -> None:
        found = targets or {"spare": {"host": "192.0.2.7"}}  # an answer that names none is not taken
        self.pages.pages["/targets"] = json.dumps({"targets": found}).encode()

    @property
    def new1(self) -> dict[str, Any]:
        return {"host": LOOPBACK, "port": self.sshd.port, "host_keys": [self.sshd.host_public]}

    def reaches(self) -> bool:
        return self.world.ssh("true", user=NEW).returncode == 0

    def opened(self) -> None:
        """The new target is one."""
        self.knows(new1=self.new1)
        poll(self.reaches, 20, "the target is never known")

    def shows(self, page: Any) -> dict[str, Any]:
        """The line of the audit log that says what came of this page."""
        before = len(self.world.audit("inventory"))
        self.pages.pages["/targets"] = page
        return dict(poll(lambda: self.world.audit("inventory")[before:], 20, "nothing is told of it")[0])

    def asking(self) -> list[int]:
        """The processes that ask, of this gateway."""
        command = ["pgrep", "-f", f"bastion.assembly.asking {self.world.config}"]
        return [int(pid) for pid in subprocess.run(command, capture_output=True, text=True).stdout.split()]

    def close(self) -> None:
        self.world.close()
        self.sshd.stop()
        self.pages.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "two workers"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    made = Site(request.param)
    yield made
    made.close()


def test_a_target_is_there_without_anybody_typing_anything(site: Site) -> None:
    refusal(site.world.ssh("true", user=NEW))
    site.opened()
    line = site.world.audit("reload")[-1]
    assert (line["result"], line["by"]) == ("ok", "inventory cmdb") and "target new1: added" in line[
        "changed"
    ]
    for _ in range(4):  # on either worker
        assert site.reaches()
    assert len(site.asking()) == 1, "one asks for all"
    assert site.world.metric('bastion_inventories{state="ok"}') == 1
    assert site.world.metric('bastion_inventory_answers_total{result="taken"}') >= 1
    assert site.world.metric("bastion_inventory_process_starts_total") == 1


def test_a_target_that_is_gone_ends_what_runs_on_it_and_nothing_else(site: Site) -> None:
    site.opened()
    with site.world.client("cat") as stays, site.world.client("cat", user=NEW) as goes:
        stays.echo(b"before")
        goes.echo(b"before")
        site.knows()
        assert goes.wait() == 255
        refusal(site.world.ssh("true", user=NEW))
        stays.echo(b"after")
        stays.end_input()
        assert stays.wait() == 0
    assert "rights_withdrawn" in {one["reason"] for one in site.world.audit("session_ended")}


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (Pages.status(500), "status"),
        (b"<html>", "bad_answer"),
        (b'{"targets": {}}', "empty"),
        (b'{"targets": {"web1": {"host": "192.0.2.1"}}}', "not_fitting"),
        (b'{"targets": {"mine": {"host": "192.0.2.1", "key_file": "/etc/shadow"}}}', "bad_answer"),
    ],
    ids=["500", "no JSON", "none at all", "a name that is taken", "an option that is not its to say"],
)
def test_a_bad_answer_is_told_and_the_last_good_one_counts(site: Site, page: Any, reason: str) -> None:
    site.opened()
    line = site.shows(page)
    assert (line["inventory"], line["state"], line["reason"]) == ("cmdb", "failing", reason), line
    assert line["targets"] == 1
    assert site.reaches() and site.world.ssh("echo web1").stdout == b"web1\n"
    sources = site.world.bastion("inventory", "sources", "--json", "--config", str(site.world.config))
    (row,) = json.loads(sources.stdout)["inventories"]
    assert (row["state"], row["reason"]) == ("failing", reason)
    assert site.shows(json.dumps({"targets": {"new1": site.new1}}).encode())["state"] == "ok"


def test_a_restart_without_the_server_serves_the_last_good_answer(site: Site) -> None:
    site.opened()
    site.pages.pages["/targets"] = Pages.status(503)
    asking = site.asking()
    site.world.kill(signal.SIGTERM)
    poll(lambda: not set(site.asking()) & set(asking), text="the process that asks outlives the gateway")
    site.world.start()
    assert site.reaches()
    listed = site.world.bastion("inventory", "list", "--json", "--config", str(site.world.config))
    come_from = {row["name"]: row["from"] for row in json.loads(listed.stdout)["targets"]}
    assert come_from == {"web1": "targets.toml", "new1": "inventory cmdb"}


def test_what_it_answered_when_is_known_afterwards(site: Site) -> None:
    site.opened()
    options = ("--config", str(site.world.config))

    def loads() -> list[dict[str, Any]]:
        poll(lambda: site.world.metric("bastion_state_owed_rows") == 0, text="rows are owed for ever")
        listed = site.world.bastion("policy", "versions", "--json", *options)
        return [one for one in json.loads(listed.stdout)["versions"] if one["loaded_by"] == "inventory cmdb"]

    newest = poll(loads, text="the load is not kept")[0]
    shown = site.world.bastion("policy", "show", newest["digest"][:12], *options)
    assert b'[targets."new1"]' in shown.stdout and b'"inventory" = "cmdb"' in shown.stdout
