"""A Debian of its own, made by debootstrap and booted: systemd is process 1 of namespaces and a cgroup of its own.

Root only. The base system is made once and kept; each `Machine` is a copy. It has a network with nothing but loopback.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.support.world import poll

BASE = Path(os.environ.get("BASTION_TEST_BASE", "/var/tmp/bastion-test-base"))
"""Kept from one run to the next: 300 MB, two minutes to make."""

PACKAGES = "systemd,systemd-sysv,dbus,python3,ca-certificates,openssh-client,openssh-server,logrotate,procps,iproute2"
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
BOOT = r"""
set -e
r=$1
ip link set lo up
mount --bind $r $r; cd $r
mount -t proc proc $r/proc
mount -t sysfs sysfs $r/sys
mount -t tmpfs tmpfs $r/run
mount -t tmpfs tmpfs $r/tmp
mount -t tmpfs -o mode=755 tmpfs $r/dev
for n in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 $r/dev/${n%:*} c 1 ${n#*:}; done
mknod -m 666 $r/dev/tty c 5 0
ln -s /proc/self/fd $r/dev/fd
for n in stdin:0 stdout:1 stderr:2; do ln -s fd/${n#*:} $r/dev/${n%:*}; done
mkdir $r/dev/pts $r/dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts $r/dev/pts
ln -s pts/ptmx $r/dev/ptmx
mount -t tmpfs tmpfs $r/dev/shm
mkdir -p $r/sys/fs/cgroup
mount -t cgroup2 cgroup2 $r/sys/fs/cgroup
# As systemd-nspawn does it: what systemd mounts for a service, such as its credentials, is seen there.
mount --make-rshared $r
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot $r /lib/systemd/systemd
"""


def machine_missing() -> str:
    """Why there can be none; "" when there can."""
    if os.geteuid() != 0:
        return "only root can boot a machine"
    missing = [tool for tool in ("debootstrap", "unshare", "nsenter", "dpkg-deb") if not shutil.which(tool)]
    return f"no {', '.join(missing)}" if missing else ""


class Machine:
    """Booted for a `with`; `run` runs a command in it."""

    def __init__(self) -> None:
        if not (BASE / "usr" / "bin" / "systemctl").exists():
            making = BASE.with_name(f"{BASE.name}.{secrets.token_hex(4)}")
            command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(making)]
            subprocess.run(command, check=True, capture_output=True, timeout=900)
            making.rename(BASE)
        self.root = Path(tempfile.mkdtemp(prefix="bastion-machine-")) / "root"
        subprocess.run(["cp", "-a", str(BASE), str(self.root)], check=True, timeout=300)
        unified = Path("/sys/fs/cgroup/unified")
        top = unified if unified.is_dir() else Path("/sys/fs/cgroup")
        self.cgroup = top / f"bastion-test-{secrets.token_hex(4)}"
        self._process: subprocess.Popen[bytes] | None = None
        self._systemd = 0

    def __enter__(self) -> Self:
        self.cgroup.mkdir()
        enter = f'echo $$ > {self.cgroup}/cgroup.procs; exec "$@"'
        apart = ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--net"]
        boot = ["bash", "-c", BOOT, "boot", str(self.root)]
        self._process = subprocess.Popen(
            ["bash", "-c", enter, "enter", *apart, "--propagation", "private", *boot],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self._systemd = int(poll(lambda: children.read_text().split(), 20, "nothing was started")[0])
        poll(self._is_up, 120, "systemd did not boot")
        return self

    def _is_up(self) -> bool:
        done = self.run("systemctl", "is-system-running", check=False)
        return done.stdout.strip() in ("running", "degraded")

    def __exit__(self, *_: object) -> None:
        if self._systemd:
            try:
                os.kill(self._systemd, signal.SIGKILL)  # process 1: all others with it
            except ProcessLookupError:
                pass
        if self._process is not None:
            self._process.wait(30)
        shutil.rmtree(self.root.parent, ignore_errors=True)
        folders = [folder for folder in self.cgroup.rglob("*") if folder.is_dir()]
        for folder in (*sorted(folders, key=lambda one: -len(one.parts)), self.cgroup):
            poll(lambda folder=folder: _removed(folder), 10, f"{folder} is still used")

    def run(
        self, *command: str, check: bool = True, timeout: float = 120, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root in the machine."""
        done = subprocess.run(
            [*self._enter, *command],
            capture_output=True,
            text=True,
            timeout=timeout,
            input=stdin,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    @contextmanager
    def network(self) -> Iterator[None]:
        """What this thread connects to, and what it starts, is in the machine's network."""
        theirs = Path(f"/proc/{self._systemd}/ns/net")
        with open("/proc/thread-self/ns/net") as own, theirs.open() as there:
            _enter_network(there.fileno())
            try:
                yield
            finally:
                _enter_network(own.fileno())

    def popen(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """A command that runs while others do."""
        pipe = subprocess.PIPE
        return subprocess.Popen([*self._enter, *command], stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)

    @property
    def _enter(self) -> list[str]:
        """What comes before a command, to be in the machine."""
        namespaces = ("-m", "-p", "-u", "-i", "-C", "-n")
        return ["nsenter", "-t", str(self._systemd), *namespaces, "chroot", str(self.root)]


def _enter_network(descriptor: int) -> None:
    """setns(2), which Python has from 3.12 on."""
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _removed(folder: Path) -> bool:
    """A cgroup goes when its last process has."""
    try:
        folder.rmdir()
    except OSError:
        return False
    return True
