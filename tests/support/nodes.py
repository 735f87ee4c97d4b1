"""Two gateways of two workers each on one machine: one PostgreSQL, one set of keys, one target, a TLS link each way.

What goes from `gw2` to PostgreSQL, and between the two, goes through proxies, so that cables can be cut without a word.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.faulty_proxy import FaultyProxy
from tests.support.killing import KillWorld
from tests.support.net import LOOPBACK, free_port
from tests.support.node_certificates import NodesCA
from tests.support.postgres import Postgres
from tests.support.world import World, poll

LOGIN = """[login]
require = [["publickey"], ["password", "totp"]]
[totp]
key_file = "totp.key"
"""
NAMES = ("gw1", "gw2")


class Pair:
    """`one` and `two`, started on a migrated store. Use `pair()`."""

    def __init__(
        self,
        server: Postgres,
        workers: int = 2,
        hosts: tuple[str, str] | None = None,
        more: Mapping[str, str] | None = None,
        store_host: str = "",
    ) -> None:
        """`hosts`: addresses of the two, where nothing but a network is between them. `more`: what else stands in the
        configuration of each. `store_host`: where gw2 finds PostgreSQL, the first of `hosts` unless it is given."""
        self.server = server
        self.folder = Path(tempfile.mkdtemp(prefix="bastion-nodes-"))
        self.ca = NodesCA(self.folder)
        ports = {name: free_port() for name in NAMES}
        self.links: dict[str, FaultyProxy] = {}  # on the way to that one
        self._listen = {name: f"{LOOPBACK}:{ports[name]}" for name in NAMES}
        self._reach = dict(self._listen)
        if hosts is None:
            self.links = {name: FaultyProxy(ports[name]) for name in NAMES}
            self._reach = {name: f"{LOOPBACK}:{self.links[name].port}" for name in NAMES}
        else:
            for name, host in zip(NAMES, hosts, strict=True):
                self._listen[name] = self._reach[name] = f"{host}:{ports[name]}"
        self._store_host = store_host or (LOOPBACK if hosts is None else hosts[0])
        self._more = more or {}
        self.store = FaultyProxy(server.port, self._store_host)  # on the way of gw2
        self.worlds = [self._world(name, workers) for name in NAMES]
        self.one, self.two = self.worlds
        self._share_keys()

    def _world(self, name: str, workers: int) -> KillWorld:
        certificate, key = self.ca.node(name)
        other = next(one for one in NAMES if one != name)
        url = self.server.url
        if name == "gw2":
            url = url.replace(f"{LOOPBACK}:{self.server.port}/", f"{self._store_host}:{self.store.port}/")
        return KillWorld(
            workers=workers,
            config=f"""{LOGIN}
[state]
node = "{name}"
url = "{url}"
password_file = "{self.server.password_file}"
[nodes]
listen = "{self._listen[name]}"
certificate = "{certificate}"
key = "{key}"
authority = "{self.ca.certificate}"
peers = {{ {other} = "{self._reach[other]}" }}
{self._more.get(name, "")}
""",
        )

    def _share_keys(self) -> None:
        one, two = self.one, self.two
        shutil.copytree(one.keys, two.keys, dirs_exist_ok=True)
        two.sshd.stop()
        two.sshd = one.sshd
        two._write_files()
        for world in self.worlds:
            secret = world.folder / "totp.key"
            secret.write_text("k" * 44 + "\n")
            secret.chmod(0o600)

    def start(self) -> Pair:
        done = self.one.bastion("state", "migrate", "--config", str(self.one.config))
        assert done.returncode == 0, done.stderr
        for world in self.worlds:
            world.start()
        self.together()
        return self

    def together(self) -> None:
        """Wait until each reaches the other."""
        for world in self.worlds:
            poll(
                lambda w=world: w.metric('bastion_nodes{state="connected"}') == 1, 30, "a gateway is missing"
            )

    def close(self) -> None:
        for world in reversed(self.worlds):
            world.close()
        for proxy in (*self.links.values(), self.store):
            proxy.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def isolate(self) -> None:
        """Nothing that gw2 sends arrives anywhere, and nothing arrives there."""
        for proxy in (*self.links.values(), self.store):
            proxy.stall()

    def heal(self) -> None:
        for proxy in (*self.links.values(), self.store):
            proxy.heal()


@contextlib.contextmanager
def pair(workers: int = 2) -> Iterator[Pair]:
    """Two gateways that reach each other."""
    with Postgres() as server:
        made = Pair(server, workers)
        try:
            yield made.start()
        finally:
            made.close()


__all__ = ["NAMES", "Pair", "World", "pair"]
