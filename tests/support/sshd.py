"""A private OpenSSH sshd on loopback: own folder, keys and port, log in a file, gone after `stop`.

Keys and certificates are made with ssh-keygen, so that nothing of ours vouches for itself. sshd runs in the
foreground as the invoking user (root for real logins) and says on stderr when it listens, which is what
`start` waits for. Its sessions carry a mark in their environment, so that `stop` finds all they started.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support.net import LOOPBACK, free_port
from tests.support.processes import kill_all, pids

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
MARK = "BASTION_TEST_SSHD"
START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
START_ATTEMPTS = 5  # free_port() is a guess; somebody else may take the port first


def sshd_missing() -> str:
    """Why these tests cannot run here, or "" when they can."""
    if SSHD is None or shutil.which("ssh-keygen") is None:
        return "OpenSSH's sshd is not installed"
    return "" if os.geteuid() == 0 else "a real sshd login needs root"


def make_key(path: Path, kind: str = "ed25519", comment: str = "test", bits: int | None = None) -> Path:
    """A new private key at `path` (public half at `path`.pub), without a passphrase."""
    more = ["-b", str(bits)] if bits else []
    keygen("-q", "-t", kind, *more, "-N", "", "-C", comment, "-f", str(path))
    return path


def sign_key(
    ca: Path,
    public: Path,
    identity: str,
    principals: Sequence[str],
    *more: str,
    host: bool = False,
    validity: str = "-5m:+1h",
) -> Path:
    """Certify `public` (a .pub file) and return the path of the certificate beside it."""
    flags = ["-h"] if host else []
    names = ["-n", ",".join(principals)] if principals else []
    keygen("-q", "-s", str(ca), "-I", identity, *flags, *names, "-V", validity, *more, str(public))
    return public.with_name(public.name.removesuffix(".pub") + "-cert.pub")


def keygen(*arguments: str) -> str:
    """Run ssh-keygen and return what it printed."""
    done = subprocess.run(["ssh-keygen", *arguments], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"ssh-keygen {arguments}: {done.stderr}")
    return done.stdout


class Sshd:
    """One sshd. Used as a context manager, or with `start` and `stop`.

    user_ca: public key file whose certificates are trusted; principals: login -> accepted principals (without
    it, sshd's own rule applies: the login must be one of the certificate's principals).
    host_ca: private key file that certifies the host key for `host_names`.
    authorized_keys: lines that hold for every login. options: more lines of sshd_config, which win over ours.
    """

    def __init__(
        self,
        folder: Path,
        *,
        user_ca: Path | None = None,
        principals: Mapping[str, Sequence[str]] | None = None,
        host_ca: Path | None = None,
        host_names: Sequence[str] = (LOOPBACK,),
        host_key_type: str = "ed25519",
        authorized_keys: str = "",
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        (folder / "home").mkdir(exist_ok=True)
        self.login = pwd.getpwuid(os.geteuid()).pw_name
        self.port = 0
        self.log = folder / "sshd.log"
        self.host_key = make_key(folder / "host_key", host_key_type, "host")
        self.host_certificate = (
            sign_key(host_ca, folder / "host_key.pub", "host", host_names, host=True) if host_ca else None
        )
        self._user_ca, self._principals, self._options = user_ca, principals, tuple(options)
        self._mark = secrets.token_hex(8)
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "authorized_keys").write_text(authorized_keys)
        self._write_principals()

    # What a client needs to know.

    @property
    def host_public(self) -> str:
        """`type base64` of the host key."""
        return " ".join((self.folder / "host_key.pub").read_text().split()[:2])

    @property
    def host_fingerprint(self) -> str:
        """`SHA256:...` of the host key."""
        return keygen("-l", "-f", str(self.host_key)).split()[1]

    @property
    def known_hosts_line(self) -> str:
        """The host key as a line of known_hosts for this port."""
        return f"[{LOOPBACK}]:{self.port} {self.host_public}\n"

    def authorize(self, public: Path) -> None:
        """Accept a public key for every login, from the next connection on."""
        with (self.folder / "authorized_keys").open("a") as file:
            file.write(public.read_text())

    # Life.

    def start(self, port: int = 0) -> Sshd:
        """Start on `port`, or on a free one. Returns when it listens; RuntimeError when it does not."""
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd insists on it; the same folder Debian's service makes
        for _ in range(START_ATTEMPTS):
            self.port = port or free_port()
            if self._try_start():
                return self
            self.stop()
        raise RuntimeError(f"sshd did not start:\n{self.log_text()}")

    def _try_start(self) -> bool:
        self._write_config()
        assert SSHD is not None, "sshd is not installed"
        with self.log.open("ab") as log:
            start = log.tell()
            self._process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        pattern = rf"Server listening on .* port {self.port}\."
        return bool(self._poll(pattern, start, START_TIMEOUT, lambda: self._running))

    def stop(self) -> None:
        """End sshd and every process that its sessions started."""
        victims = self.session_processes()
        if self._process is not None:
            victims |= _descendants(self._process.pid)
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait(STOP_TIMEOUT)
            self._process = None
        kill_all(victims | self.session_processes())

    def __enter__(self) -> Sshd:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The listener's process id."""
        assert self._process is not None, "sshd is not running"
        return self._process.pid

    @property
    def _running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # What happened.

    def log_text(self) -> str:
        """Everything sshd has said so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for_log(self, pattern: str, timeout: float = 10.0) -> re.Match[str]:
        """The first match of `pattern` in the log; AssertionError with the log after `timeout` seconds."""
        match = self._poll(pattern, 0, timeout, lambda: True)
        assert match, f"sshd never said {pattern!r}:\n{self.log_text()}"
        return match

    def session_processes(self) -> set[int]:
        """The processes that carry this sshd's mark: shells, commands and what they left running."""
        mark = f"{MARK}={self._mark}".encode()
        found = set()
        for entry in pids():
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    found.add(entry)
        return found

    def _poll(
        self, pattern: str, start: int, timeout: float, alive: Callable[[], bool]
    ) -> re.Match[str] | None:
        give_up_at, pause = time.monotonic() + timeout, threading.Event()
        while True:
            match = re.search(pattern, self.log.read_bytes()[start:].decode(errors="replace"))
            if match or time.monotonic() > give_up_at or not alive():
                return match
            pause.wait(0.02)

    # Files.

    def _write_principals(self) -> None:
        if self._principals is None:
            return
        folder = self.folder / "principals"
        folder.mkdir(exist_ok=True)
        for login, names in self._principals.items():
            (folder / login).write_text("".join(f"{name}\n" for name in names))

    def _write_config(self) -> None:
        lines = [
            *self._options,  # sshd takes the first value it meets
            f"ListenAddress {LOOPBACK}:{self.port}",
            f"HostKey {self.host_key}",
            "PidFile none",
            "LogLevel VERBOSE",
            "StrictModes no",
            "UsePAM no",
            "UseDNS no",
            "PermitRootLogin yes",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PubkeyAuthentication yes",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            "AllowTcpForwarding yes",
            "AllowStreamLocalForwarding yes",
            "AllowAgentForwarding yes",
            "X11Forwarding no",
            "AcceptEnv LANG LC_* COLORTERM GIT_PROTOCOL",
            # An empty home: what the account's own start-up files do (and hold locked when killed) is no test's.
            f"SetEnv {MARK}={self._mark} HOME={self.folder}/home",
            "PrintMotd no",
            "PrintLastLog no",
            "MaxStartups 1000",
            "MaxSessions 500",
            "Subsystem sftp internal-sftp",
        ]
        if self.host_certificate:
            lines.append(f"HostCertificate {self.host_certificate}")
        if self._user_ca:
            lines.append(f"TrustedUserCAKeys {self._user_ca}")
        if self._principals is not None:
            lines.append(f"AuthorizedPrincipalsFile {self.folder}/principals/%u")
        if _has_penalties():
            lines.append("PerSourcePenalties no")
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")


def _has_penalties() -> bool:
    """OpenSSH 9.8 and later slow down a source that fails; every test comes from one source."""
    shown = subprocess.run(["ssh", "-V"], capture_output=True, text=True, timeout=60).stderr
    match = re.match(r"OpenSSH_(\d+)\.(\d+)", shown)
    return match is not None and (int(match[1]), int(match[2])) >= (9, 8)


def _descendants(root: int) -> set[int]:
    """Every process below `root`, by parent links."""
    parents = {}
    for pid in pids():
        with contextlib.suppress(OSError, IndexError, ValueError):
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    found: set[int] = set()
    grown = True
    while grown:
        grown = False
        for pid, parent in parents.items():
            if pid not in found and (parent == root or parent in found):
                found.add(pid)
                grown = True
    return found
