"""A real HAProxy with the sample configuration in front of two gateways, and what an engineer sees of them: `front`."""

from __future__ import annotations

import copy
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

from tests.support.net import LOOPBACK, free_port
from tests.support.world import World, poll

SAMPLE = Path(__file__).resolve().parents[2] / "etc" / "haproxy" / "haproxy.cfg"
W = TypeVar("W", bound=World)


def haproxy_missing() -> str:
    """Why there is no HAProxy here, or ""."""
    return "haproxy is not installed" if shutil.which("haproxy") is None else ""


def put_behind_balancer(world: World) -> None:
    """It believes HAProxy, which comes from LOOPBACK, and nobody else; and listens at the same port whenever it starts
    (before `start`)."""
    text, place = world.config.read_text(), f'"{LOOPBACK}:{free_port()}"'
    listen = f'[listen]\naddresses = [{place}]\nproxy_protocol = {{ {place} = ["{LOOPBACK}/32"] }}'
    changed = text.replace(f'[listen]\naddresses = ["{LOOPBACK}:0"]', listen)
    assert changed != text
    world.config.write_text(changed)
    world.port = int(place.strip('"').rpartition(":")[2])


class Balancer(Generic[W]):
    """Before two worlds that have begun, with the same keys: gw1 and gw2. `front` is the first of them as engineers
    reach it."""

    def __init__(
        self, worlds: Sequence[W], versions: tuple[str, str] = ("send-proxy-v2", "send-proxy-v2")
    ) -> None:
        """`versions`: how HAProxy says who comes, to each."""
        self.front: W = copy.copy(worlds[0])
        self.port = free_port()
        folder = self.front.folder = (
            worlds[0].folder / "front"
        )  # what a gateway writes at its start is not its own
        folder.mkdir()
        shutil.copy2(worlds[0].folder / "client_known_hosts", folder)
        self._admin = folder / "haproxy.sock"
        text = SAMPLE.read_text().replace("0.0.0.0:22\n", f"{LOOPBACK}:{self.port}\n")
        text = text.replace("global\n", f"global\n    stats socket {self._admin} mode 600 level admin\n")
        addresses = "192.0.2.11:2222", "192.0.2.12:2222"
        for world, address, version in zip(worlds, addresses, versions, strict=True):
            line = f"{address} send-proxy-v2"
            assert text.count(line) == 1
            text = text.replace(line, f"{LOOPBACK}:{world.port} {version}")
        self.file = folder / "haproxy.cfg"
        self.file.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Balancer[W]:
        subprocess.run(["haproxy", "-c", "-q", "-f", str(self.file)], check=True, timeout=30)
        self._process = subprocess.Popen(["haproxy", "-db", "-f", str(self.file)], stderr=subprocess.DEVNULL)
        self.front.port = self.port
        key = (self.front.keys / "gateway_host.pub").read_text()
        with (self.front.folder / "client_known_hosts").open("a") as known:
            known.write(f"[{LOOPBACK}]:{self.port} {key}")
        poll(self._admin.exists, 10, "haproxy did not start")
        return self

    def tell(self, command: str) -> str:
        """What HAProxy answers to a command of its own."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(10)
            admin.connect(str(self._admin))
            admin.sendall(command.encode() + b"\n")
            answer = b""
            while piece := admin.recv(65536):
                answer += piece
        return answer.decode().strip()

    def send_to(self, *names: str) -> None:
        """Who connects from now on goes to one of these; who is there stays."""
        for name in ("gw1", "gw2"):
            said = self.tell(f"set server gateways/{name} state {'ready' if name in names else 'maint'}")
            assert not said, said

    def is_up(self, name: str) -> bool:
        """Does HAProxy send somebody there?"""
        lines = self.tell("show stat").splitlines()
        fields = lines[0].removeprefix("# ").split(",")
        rows = (dict(zip(fields, line.split(","), strict=False)) for line in lines[1:])
        return any(
            (row["pxname"], row["svname"]) == ("gateways", name) and row["status"].startswith("UP")
            for row in rows
        )

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(15)
