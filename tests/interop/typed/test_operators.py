"""docs/operators.md, typed: from an empty machine to a recorded session, as it stands there.

The quick form has this machine under overlays and no network: what downloads is not typed, and pip takes the libraries
of the tests. The long form (soak) is a Debian 12 that debootstrap has just made, and types everything.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.interop.typed.document import typed_blocks
from tests.interop.typed.machines import TARGET, Chroot, Machine, Offline, machines_missing
from tests.support.sshd import SSHD, sshd_missing
from tests.support.world import poll

ROOT = Path(__file__).resolve().parents[3]
MISSING = machines_missing() or sshd_missing()
pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING)]
READY_SECONDS = 60.0
TYPED = ("packages", "program", "init", "prints, target pastes", "start")  # until it listens


def test_marks_are_read_and_each_has_its_block() -> None:
    names = list(typed_blocks())
    assert names[:3] == ["gateway packages", "gateway program", "gateway init"] and "engineer login" in names
    with pytest.raises(AssertionError, match="no block below"):
        typed_blocks("<!-- typed: gateway x -->\nwords\n")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as it would be published, from a copy: a build leaves folders behind."""
    copy = tmp_path_factory.mktemp("source") / "copy"
    shutil.copytree(
        ROOT,
        copy,
        symlinks=True,
        ignore=shutil.ignore_patterns(".git", ".venv", "recordings", "tests", ".*_cache", "*.egg-info"),
    )
    (copy / "recordings").mkdir()
    folder = tmp_path_factory.mktemp("wheel")
    words = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(copy),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


class Typing:
    """A gateway and a target to type on; the engineer sits at the target's machine."""

    def __init__(self, gateway: Machine, target: Machine, logs: Path) -> None:
        self.gateway, self.target, self.logs = gateway, target, logs
        self.blocks = typed_blocks()
        self.password = ""
        self.fingerprints: list[str] = []
        self._sshd()

    def _sshd(self) -> None:
        """The target as its owner has it: Debian's own sshd and configuration, an account, nothing of ours."""
        self.target.setup(
            "useradd --create-home --shell /bin/sh deploy && rm -f /etc/ssh/ssh_host_* && ssh-keygen -qA && "
            "usermod --password '*' deploy"
        )
        self.target.start(f"exec {SSHD} -D -e -o ListenAddress={TARGET}", self.logs / "sshd.log")
        poll(lambda: "listening" in (self.logs / "sshd.log").read_text(), READY_SECONDS, "sshd did not start")

    def init(self) -> None:
        """The dialogue, with the comparison that it asks for made."""
        console = self.target.run(self.blocks["target console"].line).stdout.split()[1]
        child = self.gateway.terminal(self.blocks["gateway init"].line)
        child.expect("first account")
        child.sendline("")
        child.expect("Password of admin")
        child.sendline("")
        child.expect("age recipient")
        child.sendline("")
        child.expect(r"Is (SHA256:\S+) what the console shows")
        assert child.match[1] == console
        child.sendline("y")
        child.expect(pexpect.EOF)
        said = re.sub(r"\x1b\[[0-9;]*m", "", child.before or "").replace("\r", "")
        child.close()
        assert child.exitstatus == 0, said
        shown = re.search(r"shown once: (\S+)", said)
        assert shown is not None and "is valid for bastion" in said and "error" not in said, said
        self.password = shown[1]
        self.fingerprints = re.findall(r"ssh-(?:ed25519|rsa) +(SHA256:\S+)", said)
        self.said = said

    def trust(self) -> None:
        """What the one prints is pasted at the other."""
        script = self.gateway.run(self.blocks["gateway prints, target pastes"].line)
        assert script.returncode == 0, script.stderr
        for _ in range(2):  # who is not sure pastes it again
            done = self.target.run("sh", stdin=script.stdout)
            assert done.returncode == 0, script.stdout + done.stderr
        poll(lambda: (self.logs / "sshd.log").read_text().count("listening") == 3, READY_SECONDS, "no reload")

    def serve(self) -> None:
        log = self.logs / "gateway.log"
        self.gateway.start(self.blocks["gateway start"].line, log)
        poll(
            lambda: '"ready"' in log.read_text() or "not started" in log.read_text(),
            READY_SECONDS,
            "never ready",
        )
        assert '"ready"' in log.read_text(), log.read_text()

    def serve_under_systemd(self) -> None:
        """It is ready when the command is back, in the sandbox of its unit."""
        done = self.gateway.run(self.blocks["gateway start-systemd"].line)
        log = self.gateway.run("journalctl --no-pager --unit bastion").stdout
        assert done.returncode == 0, done.stderr + log
        shown = self.gateway.run(
            "systemctl show bastion --property ActiveState,SubState,User,NRestarts"
        ).stdout
        assert set(shown.split()) == {
            "ActiveState=active",
            "SubState=running",
            "User=bastion",
            "NRestarts=0",
        }, shown + log

    def login(self) -> str:
        child = self.target.terminal(self.blocks["engineer login"].line)
        child.expect(r"fingerprint is (SHA256:[A-Za-z0-9+/]+)")
        assert child.match[1] in self.fingerprints
        child.expect("continue connecting")
        child.sendline("yes")
        child.expect("assword")
        child.sendline(self.password)
        child.expect(r"\$ ")
        child.sendline("echo I-am-$(id -un)-$((40 + 2))")
        child.expect("I-am-deploy-42")
        child.sendline("exit")
        child.expect(pexpect.EOF)
        child.close()
        return str(child.before)

    def after(self) -> None:
        """It is listed, it can be replayed, it is the service's own; and nothing is wrong."""
        sessions, doctor = self.blocks["gateway after"].lines
        shown = poll(
            lambda: "ended" in (text := self.gateway.run(sessions).stdout) and text, text="no session"
        )
        assert "deploy@web1" in shown and "admin" in shown
        listed = json.loads(self.gateway.run(f"{sessions} --json").stdout)
        replay = self.gateway.run(
            f"bastion export --config /etc/bastion/bastion.toml --format text {listed[0]['session_id']}"
        )
        assert "I-am-deploy-42" in replay.stdout, replay.stdout + replay.stderr
        owners = self.gateway.run(
            "find /var/lib/bastion/recordings -type f -exec stat -c '%U %a' {} +"
        ).stdout
        assert set(owners.split("\n")) == {"bastion 600", ""}, owners
        done = self.gateway.run(doctor)
        # NTP and the number of descriptors are this machine's, and no fault of what was typed.
        assert done.returncode == 0 and not re.search(r"(?m)^fail", done.stdout), done.stdout + done.stderr
        warned = [
            line for line in re.findall(r"(?m)^warn +(.*)", done.stdout) if "limits.sessions" not in line
        ]
        assert all(line.startswith("clock") for line in warned), done.stdout


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Machine]:
    # Below no folder that is closed to others, nor one that gets an overlay.
    machine = Offline(Path("/tmp") / f"bastion-typed-{tmp_path.parent.name}-{tmp_path.name}")
    try:
        yield machine
    finally:
        machine.close()


def test_typed_on_this_machine_under_overlays(offline: Machine, wheel: Path, tmp_path: Path) -> None:
    typing = Typing(offline, offline, tmp_path)
    shutil.copy(wheel, offline.folder / wheel.name)
    program = typing.blocks["gateway program"].line.replace(
        f"./{wheel.name}", str(offline.folder / wheel.name)
    )
    offline.setup(program.partition(" && ")[0])
    # The libraries: those of the tests, whatever folder they are in and whoever may read that.
    offline.setup(
        f"mkdir /srv/libraries && mount --bind {sysconfig.get_path('purelib')} /srv/libraries && "
        "echo /srv/libraries > $(echo /opt/bastion/0.1.0/lib/python3*/site-packages)/libraries.pth"
    )
    offline.setup(program.partition(" && ")[2])
    where = offline.run("/opt/bastion/0.1.0/bin/python -c 'import bastion; print(bastion.__file__)'").stdout
    assert where.startswith("/opt/bastion/0.1.0/"), "from the wheel, and nothing of the checkout"
    typing.init()
    typing.trust()
    typing.serve()
    typing.login()
    typing.after()


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("debootstrap") is None, reason="debootstrap is not installed")
@pytest.mark.parametrize("systemd", [True, False], ids=["under systemd", "without systemd"])
def test_typed_on_an_empty_debian_12(offline: Machine, wheel: Path, tmp_path: Path, systemd: bool) -> None:
    """The figures that README gives: commands and seconds until the gateway listens, downloads included."""
    if systemd and shutil.which("systemd-nspawn") is None:
        pytest.skip("systemd-nspawn is not installed")
    empty = Chroot(offline, offline.folder / "debian")
    try:
        typing = Typing(empty, offline, tmp_path)
        shutil.copy(wheel, empty.folder / wheel.name)
        began = time.monotonic()
        for name in ("gateway packages", "gateway program"):
            done = empty.online(typing.blocks[name].line, 900)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        downloaded = time.monotonic() - began
        if systemd:
            empty.boot()
        began = time.monotonic()
        typing.init()
        typing.trust()
        if systemd:
            typing.serve_under_systemd()
        else:
            typing.serve()
        ready = time.monotonic() - began
        typing.login()
        typing.after()
        commands = sum(len(typing.blocks[f"gateway {name}"].lines) for name in TYPED)
        print(
            f"\n{commands} commands, {downloaded + ready:.0f} s, of which {downloaded:.0f} s download and install"
        )
        # README's promise. Nearly all of it is the network's.
        assert commands <= 5 and downloaded + ready < 300
    finally:
        empty.close()
