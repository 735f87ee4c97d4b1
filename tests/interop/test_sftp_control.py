"""Sftp under rules that restrict it: OpenSSH's clients and asyncssh, refused and served on one channel."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from tests.support.client import Client
from tests.support.doors import Door
from tests.support.net import LOOPBACK
from tests.support.patterns import pieces
from tests.support.trees import file_sum
from tests.support.world import World

pytestmark = pytest.mark.interop

SIZES = [
    pytest.param(256 << 20, id="256MiB"),
    pytest.param(1 << 30, id="1GiB", marks=pytest.mark.soak),
]
REFUSALS = 10_000

POLICY = """
[[rule]]
name = "readers"
groups = ["ops"]
targets = ["reader"]
logins = ["root"]
verbs = ["sftp"]
sftp = {{ download = ["{0}/pub/**"], list = ["{0}/pub/**"] }}
[[rule]]
name = "droppers"
groups = ["ops"]
targets = ["dropper"]
logins = ["root"]
verbs = ["sftp"]
sftp = {{ upload = ["{0}/in/*.txt", "{0}/in"], list = ["{0}/in"] }}
[[rule]]
name = "movers"
groups = ["ops"]
targets = ["mover"]
logins = ["root"]
verbs = ["sftp"]
sftp = {{ download = ["{0}/pub/**"], upload = ["{0}/pub/**"], modify = ["{0}/**"], list = ["**"] }}
[[rule]]
name = "web"
groups = ["ops"]
targets = ["web1"]
logins = ["root"]
verbs = ["sftp", "exec", "pty", "shell"]
"""


class Site:
    """A gateway in front of one machine with four names, each with a rule of its own, and a folder on it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bastion-sftp-"))
        for name in ("pub", "in", "secret"):
            (self.folder / name).mkdir()
        self.world = World(policy=POLICY.format(self.folder))
        for name in ("reader", "dropper", "mover"):
            self.world.add_target(name, LOOPBACK, self.world.sshd.port)
        self.world.start()
        self.doors = {name: self._door(name) for name in ("reader", "dropper", "mover", "web1")}

    def _door(self, name: str) -> Door:
        door = Door(self.world, name)
        door.config = door.config_for(self.world.folder / f"ssh_config_{name}")
        return door

    def close(self) -> None:
        self.world.close()
        shutil.rmtree(self.folder)

    def sftp(self, name: str, *lines: str, timeout: float = 120) -> tuple[int, str]:
        """Run a batch; exit code and what was said to stderr."""
        door = self.doors[name]
        batch = "".join(line + "\n" for line in lines).encode()
        done = door.run(door.command("sftp", "-b", "-", name), stdin=batch, timeout=timeout)
        return done.returncode, done.stderr.decode()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = Site()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(autouse=True)
def fresh(site: Site) -> None:
    for name in ("pub", "in", "secret"):
        shutil.rmtree(site.folder / name)
        (site.folder / name).mkdir()
    (site.folder / "pub" / "file").write_bytes(b"public" * 1000)
    (site.folder / "secret" / "file").write_bytes(b"secret")


def test_a_reader_reads_and_nothing_else(site: Site, tmp_path: Path) -> None:
    pub, here = site.folder / "pub", tmp_path / "here"
    here.write_text("mine")
    watch, before = site.doors["reader"].watch(), site.world.metrics()
    lines = [
        f"-put {here} {pub}/new", f"-rm {pub}/file", f"-rename {pub}/file {pub}/other", f"-mkdir {pub}/folder",
        f"-rmdir {pub}", f"-chmod 600 {pub}/file", f"-ln {pub}/file {pub}/hard", f"-ln -s {pub}/file {pub}/soft",
        f"-get {site.folder}/secret/file {tmp_path}/stolen", f"-ls {site.folder}/secret",
        f"-get {pub}/../secret/file {tmp_path}/stolen", f"-df {site.folder}/secret",
        f"ls {pub}", f"cd {pub}", f"get file {tmp_path}/copy",
    ]  # fmt: skip
    code, said = site.sftp("reader", *lines)
    assert code == 0, said
    assert file_sum(tmp_path / "copy") == file_sum(pub / "file")
    assert not (tmp_path / "stolen").exists()
    assert sorted(path.name for path in pub.iterdir()) == ["file"]
    assert (pub / "file").stat().st_mode & 0o777 != 0o600
    recorded = watch.session()
    refused = recorded.audit("refused")
    assert all((line["what"], line["rule"]) == ("sftp", "readers") for line in refused)
    assert {line["name"] for line in refused} >= {
        "open", "remove", "mkdir", "rmdir", "setstat", "symlink", "hardlink@openssh.com",
        "posix-rename@openssh.com",
    }  # fmt: skip
    assert {line["verb"] for line in refused} == {"upload", "modify", "list"}
    after = site.world.metrics()
    counted = 'bastion_sftp_refusals_total{{verb="{}"}}'.format
    moved = {verb: after[counted(verb)] - before[counted(verb)] for verb in ("upload", "modify", "list")}
    assert moved == Counter(line["verb"] for line in refused)
    downloads = 'bastion_sftp_files_total{transfer="download"}'
    assert after[downloads] - before[downloads] == 1
    assert not any("path" in line for line in refused)
    noted = recorded.events("sftp_refused")
    assert len(noted) == len(refused) and any(note["path"] == f"{pub}/new" for note in noted)
    assert recorded.file_sums() == [hashlib.sha256(b"public" * 1000).hexdigest()]


def test_path_globs(site: Site, tmp_path: Path) -> None:
    into, here = site.folder / "in", tmp_path / "here"
    here.write_bytes(b"dropped")
    watch = site.doors["dropper"].watch()
    code, said = site.sftp(
        "dropper", f"put {here} {into}/a.txt", f"-put {here} {into}/a.sh", f"-put {here} {into}/x/b.txt",
        f"-get {into}/a.txt {tmp_path}/back", f"ls {into}",
    )  # fmt: skip
    assert code == 0, said
    assert [path.name for path in into.iterdir()] == ["a.txt"]
    assert not (tmp_path / "back").exists()
    refused = [(line["verb"], line["rule"], line["reason"]) for line in watch.session().audit("refused")]
    assert ("upload", "droppers", "path_not_allowed") in refused
    assert ("download", "droppers", "verb_not_allowed") in refused


def test_scp_of_this_decade(site: Site, tmp_path: Path) -> None:
    here = tmp_path / "here.txt"
    here.write_bytes(b"copied" * 10_000)
    door = site.doors["dropper"]
    watch = door.watch()
    up = door.run(door.command("scp", str(here), f"dropper:{site.folder}/in/there.txt"))
    assert up.returncode == 0, up.stderr
    assert file_sum(site.folder / "in" / "there.txt") == file_sum(here)
    (line,) = watch.session().audit("sftp_file")
    assert line["sha256"] == hashlib.sha256(here.read_bytes()).hexdigest()
    down = door.run(door.command("scp", f"dropper:{site.folder}/pub/file", f"{tmp_path}/file"))
    assert down.returncode != 0 and not (tmp_path / "file").exists()
    door = site.doors["reader"]
    down = door.run(door.command("scp", "-r", f"reader:{site.folder}/pub", f"{tmp_path}/tree"))
    assert down.returncode == 0, down.stderr
    assert file_sum(tmp_path / "tree" / "file") == file_sum(site.folder / "pub" / "file")


def test_a_rename_is_no_way_round_the_other_verbs(site: Site, tmp_path: Path) -> None:
    pub, secret = site.folder / "pub", site.folder / "secret"
    code, said = site.sftp(
        "mover", f"-rename {secret}/file {pub}/stolen", f"-ln {secret}/file {pub}/hard", f"-ln -s {secret} {pub}/soft",
        f"-ls {pub}/soft/", f"-get {pub}/stolen {tmp_path}/stolen", f"rename {pub}/file {pub}/moved",
        f"rename {pub}/moved {secret}/moved",
    )  # fmt: skip
    assert code == 0, said
    assert not list(tmp_path.iterdir()) and not list(pub.iterdir())
    assert sorted(path.name for path in secret.iterdir()) == ["file", "moved"]


def test_the_content_of_files_is_not_in_the_recording(site: Site, tmp_path: Path) -> None:
    watch = site.doors["web1"].watch()
    code, said = site.sftp("web1", f"get {site.folder}/pub/file {tmp_path}/copy")
    assert code == 0, said
    recorded = watch.session()
    (file,) = recorded.events("sftp_file")
    assert (file["path"], file["bytes_read"]) == (f"{site.folder}/pub/file", 6000)
    assert recorded.totals["skipped"] > 6000
    path = next(path for path in site.world.recordings.rglob("*") if recorded.session in path.name)
    assert b"publicpublic" not in path.read_bytes()


def test_what_is_no_sftp_is_said_in_audit_and_ends_a_restricted_channel(site: Site) -> None:
    garbage = b"\xff" * 64
    door = site.doors["web1"]
    watch = door.watch()
    with site.world.moves('bastion_sftp_unparsed_total{by="client"}'):
        done = door.run(door.command("ssh", "-s", "web1", "sftp"), stdin=garbage)
    assert done.returncode != 255
    (line,) = watch.session().audit("sftp_unparsed")
    assert line["by"] == "client" and "impossible length" in line["text"]
    door = site.doors["reader"]
    watch = door.watch()
    with Client(door.command("ssh", "-s", "reader", "sftp"), door.environment()) as client:
        client.send(garbage)
        assert client.wait() == 255
    assert watch.session().audit("session_ended")[0]["reason"] == "client_error"


def test_scp_and_rsync_of_old_are_named_for_the_reader(site: Site, tmp_path: Path) -> None:
    door = site.doors["web1"]
    watch = door.watch()
    done = door.run(door.command("scp", "-O", f"web1:{site.folder}/pub/file", f"{tmp_path}/copy"))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in watch.session().audit("request") if line["name"] == "exec"]
    assert (line["kind"], line["direction"]) == ("scp", "download")


@pytest.mark.parametrize("size", SIZES)
def test_ten_thousand_refusals_and_then_bulk_with_asyncssh(site: Site, tmp_path: Path, size: int) -> None:
    """asyncssh drops a peer that overruns a window, and adjusts its own when half of it is used."""
    here, back = tmp_path / "here", tmp_path / "back"
    with here.open("wb") as file:
        file.writelines(pieces(size))
    pub = site.folder / "pub"
    door = site.doors["mover"]

    async def refuse(client: asyncssh.SFTPClient, number: int) -> str:
        try:
            await client.open(f"{site.folder}/secret/file-{number}")
        except asyncssh.SFTPPermissionDenied as denied:
            return denied.reason
        return "allowed"

    async def read(client: asyncssh.SFTPClient) -> int:
        async with client.open(f"{pub}/file", "rb") as file:
            return len(await file.read())

    async def work() -> None:
        async with door.asyncssh() as connection, connection.start_sftp_client() as client:
            refusals = [refuse(client, number) for number in range(REFUSALS)]
            reads = [read(client) for _ in range(200)]
            said = await asyncio.gather(*refusals)
            assert set(said) == {"bastion: download is not allowed at this path"}
            # Once more, with reads in between.
            mixed = await asyncio.gather(*(refuse(client, n) for n in range(REFUSALS // 2)), *reads)
            assert mixed[-200:] == [6000] * 200
            await client.put(str(here), f"{pub}/there")
            await client.get(f"{pub}/there", str(back))
            # Refusals while a file is under way.
            down = asyncio.ensure_future(client.get(f"{pub}/large", f"{tmp_path}/large"))
            assert len(await asyncio.gather(*(refuse(client, n) for n in range(1000)))) == 1000
            await down

    with (pub / "large").open("wb") as file:
        file.writelines(pieces(16 << 20))
    watch = door.watch()
    asyncio.run(asyncio.wait_for(work(), 900))
    assert file_sum(tmp_path / "large") == file_sum(pub / "large")
    wanted = file_sum(here)
    assert file_sum(pub / "there") == file_sum(back) == wanted
    recorded = watch.session(60)
    refused = recorded.audit("refused")
    assert len(refused) == REFUSALS + REFUSALS // 2 + 1000
    sums = [
        line for line in recorded.audit("sftp_file") if line["bytes_read"] + line["bytes_written"] == size
    ]
    assert [line.get("sha256", line.get("unhashed")) for line in sums] == [wanted] * 2
    for path in (here, back, pub / "there"):
        path.unlink()


@pytest.mark.parametrize("size", SIZES)
def test_ten_thousand_refusals_and_then_bulk_with_openssh(site: Site, tmp_path: Path, size: int) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    with here.open("wb") as file:
        file.writelines(pieces(size))
    pub = site.folder / "pub"
    watch = site.doors["mover"].watch()
    refused = [f"-get {site.folder}/secret/file {tmp_path}/stolen"] * REFUSALS
    code, said = site.sftp(
        "mover", *refused, f"put {here} {pub}/there", f"get {pub}/there {back}", timeout=900
    )
    assert code == 0, said[-500:]
    wanted = file_sum(here)
    assert file_sum(pub / "there") == file_sum(back) == wanted
    recorded = watch.session(60)
    assert len(recorded.audit("refused")) == REFUSALS
    assert recorded.file_sums() == [wanted, wanted]
    for path in (here, back, pub / "there"):
        path.unlink()
