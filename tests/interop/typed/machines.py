"""Machines to type on: a network namespace with 10.0.0.1 and 10.0.0.5, and file systems of their own in it.

`Machine` is this one with overlays over what an installation writes, gone at the end. `Chroot` is an empty Debian 12 by
debootstrap, in the same network; `boot` starts its systemd, by systemd-nspawn. Every process in them
dies with the namespace.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pexpect

from tests.support.processes import kill_all
from tests.support.world import poll

GATEWAY, TARGET = "10.0.0.1", "10.0.0.5"
OVERLAID = ("etc", "opt", "usr", "var", "root", "home", "srv")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 120.0
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bastion-tests"
SUITE = "bookworm"
INCLUDED = "systemd,systemd-sysv,dbus,iproute2"  # which Debian's installer puts on every machine
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def machines_missing() -> str:
    """Why no machine can be made here, or ""."""
    if os.geteuid() != 0:
        return "namespaces and mounts need root"
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return "unshare, nsenter or ip is not installed"
    words = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "true"]
    return (
        "" if subprocess.run(words, capture_output=True).returncode == 0 else "no namespace can be made here"
    )


class Machine:
    """Run things with `run`, type on a terminal with `terminal`; `close` ends everything."""

    def __init__(self, folder: Path, hidden: Sequence[Path] = ()) -> None:
        """`folder` is where the overlays are kept."""
        self.folder = folder
        self._holder = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sleep",
                "infinity",
            ],
            stdin=subprocess.DEVNULL,
        )
        self.pid = poll(self._inner, text="the namespace did not come up")
        self.enter = ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid"]
        self.root: list[str] = []
        try:
            self._mount()
        except BaseException:
            self.close()
            raise

    def _mount(self) -> None:
        folder = self.folder
        for name in OVERLAID:
            upper, work = folder / name / "upper", folder / name / "work"
            upper.mkdir(parents=True)
            work.mkdir()
            upper.chmod(Path("/", name).stat().st_mode & 0o7777 if Path("/", name).is_dir() else 0o755)
            if Path("/", name).is_dir():
                options = f"lowerdir=/{name},upperdir={upper},workdir={work}"
                self.setup(f"mount -t overlay overlay -o {options} /{name}")
        self.setup(
            "mount -t tmpfs -o mode=755 none /run && mkdir -p /run/sshd && ip link set lo up && "
            f"ip address add {GATEWAY}/32 dev lo && ip address add {TARGET}/32 dev lo && "
            f"echo '{GATEWAY} gate.example.com' >> /etc/hosts"
        )

    def _inner(self) -> int:
        """The process that unshare has forked: number 1 of the namespace."""
        with contextlib.suppress(OSError, IndexError):
            children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text()
            pid = int(children.split()[0])
            if Path(f"/proc/{pid}/comm").read_text() == "sleep\n":
                return pid
        return 0

    def setup(self, script: str) -> None:
        """What the test does behind the scenes."""
        done = self.run(script)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"

    def words(self, script: str) -> list[str]:
        environment = [f"PATH={PATH}", "HOME=/root", "TERM=xterm", "LC_ALL=C.UTF-8"]
        return [
            *self.enter,
            *self.root,
            "env",
            "-i",
            *environment,
            *self.more_environment(),
            "sh",
            "-c",
            script,
        ]

    def more_environment(self) -> list[str]:
        return []

    def run(self, script: str, stdin: str = "", timeout: float = SECONDS) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(script), input=stdin, capture_output=True, text=True, timeout=timeout, cwd="/"
        )

    def terminal(self, line: str, timeout: float = SECONDS) -> pexpect.spawn:
        words = self.words(line)
        child = pexpect.spawn(
            words[0], words[1:], timeout=timeout, encoding="utf-8", dimensions=(50, 200), cwd="/"
        )
        child.delaybeforesend = None
        return child

    def start(self, line: str, log: Path) -> subprocess.Popen[bytes]:
        """Something that goes on until the machine is closed."""
        with log.open("ab") as file:
            return subprocess.Popen(
                self.words(line), stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd="/"
            )

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        poll(
            lambda: not Path(f"/proc/{self.pid}").exists() or _is_zombie(self.pid),
            text="the namespace did not end",
        )
        shutil.rmtree(self.folder, ignore_errors=True)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


class Offline(Machine):
    """Where pip installs what it is given and nothing else: the libraries are those of the tests."""

    def more_environment(self) -> list[str]:
        return [
            "PIP_NO_INDEX=1",
            "PIP_NO_DEPS=1",
            "PIP_DISABLE_PIP_VERSION_CHECK=1",
            "PIP_ROOT_USER_ACTION=ignore",
        ]


class Chroot(Machine):
    """An empty Debian 12 in the network of another machine. With `online` it has the network of the host."""

    def __init__(self, beside: Machine, root: Path) -> None:
        self.folder = root
        self._beside = beside
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0
        with tarfile.open(base_tarball()) as tar:
            tar.extractall(root, filter="fully_trusted")
        self.enter = list(beside.enter)
        self.root = ["chroot", str(root)]
        for line in (
            f"mount --bind /dev {root}/dev",
            f"mount -t proc proc {root}/proc",
            f"mount -t tmpfs -o mode=755 none {root}/run",
        ):
            beside.setup(line)
        # How this network is reached is no part of what is typed.
        for there, here in (("/etc/resolv.conf", "resolv.conf"), (AUTHORITIES, "network-authorities.pem")):
            if Path(there).exists():
                shutil.copy(there, root / "etc" / here)
        with (root / "etc" / "hosts").open("a") as hosts:
            hosts.write(f"127.0.0.1 localhost\n{GATEWAY} gate.example.com\n")

    def more_environment(self) -> list[str]:
        return ["PIP_CERT=/etc/network-authorities.pem"] if Path(AUTHORITIES).exists() else []

    def online(self, script: str, timeout: float) -> subprocess.CompletedProcess[str]:
        """With the host's network: what downloads."""
        words = self.words(script)
        words.remove("--net")
        return subprocess.run(
            words, capture_output=True, text=True, timeout=timeout, cwd="/", stdin=subprocess.DEVNULL
        )

    def boot(self) -> None:
        """From now on what is run is run beside its systemd (`systemctl is-system-running` says running)."""
        net = f"/proc/{self._beside.pid}/ns/net"
        # nspawn wants the unified hierarchy, which a host may have only beside the old one.
        script = (
            "[ -e /sys/fs/cgroup/cgroup.controllers ] || "
            "{ umount -l /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; }; "
            "exec systemd-nspawn --quiet --register=no --keep-unit --resolv-conf=off --console=pipe --boot "
            f"--hostname=gate --network-namespace-path={net} --directory={self.folder}"
        )
        self.unmount()
        self._nspawn = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._init = poll(self._booted, SECONDS, "systemd did not come up")
        self.enter, self.root = ["nsenter", "--target", str(self._init), "--all"], []
        poll(
            lambda: self.run("systemctl is-system-running").stdout == "running\n",
            SECONDS,
            "systemd never ran",
        )

    def _booted(self) -> int:
        """Number 1 of the container, as the host numbers it."""
        assert self._nspawn is not None and self._nspawn.poll() is None, "systemd-nspawn ended"
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text()
            for child in map(int, children.split()):
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return child
        return 0

    def unmount(self) -> None:
        for name in ("dev", "proc", "run"):
            self._beside.run(f"umount --lazy {self.folder}/{name}")

    def close(self) -> None:
        if self._nspawn is not None:
            if self._init:
                kill_all([self._init])
            self._nspawn.kill()
            self._nspawn.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def base_tarball() -> Path:
    """An empty Debian 12, made once and kept outside of the checkout. Raises CalledProcessError."""
    path = CACHE / f"{SUITE}-systemd.tar"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        folder = CACHE / f".{SUITE}.{os.getpid()}"
        try:
            words = ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", SUITE, str(folder)]
            subprocess.run(words, check=True, capture_output=True, timeout=900)
            made = CACHE / f".{SUITE}.{os.getpid()}.tar"
            subprocess.run(["tar", "-C", str(folder), "-cf", str(made), "."], check=True, timeout=300)
            made.rename(path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return path
