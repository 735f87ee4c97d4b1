"""Whether a gateway of this configuration runs (L4), seen in the table of processes: also one that does not answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bastion.doctor.findings import Area, Finding, Level, shell
from bastion.doctor.machine import descriptors_for, more_descriptors
from bastion.doctor.ports import command_of
from bastion.doctor.subject import Subject


def examine_gateway(subject: Subject) -> Iterator[Finding]:
    """One finding: runs (as whom, with how many files), or does not."""
    running = gateways(subject.config.file)
    if not running:
        yield Finding(Area.GATEWAY, Level.OK, str(subject.config.file), "no gateway runs with it now")
        return
    wanted = descriptors_for(subject.config.limits.sessions)
    for pid, uid in running.items():
        about = f"pid {pid}"
        if uid == subject.user.uid:
            yield Finding(Area.GATEWAY, Level.OK, about, f"runs as {subject.user.name}")
        else:
            text = (
                f"runs as uid {uid}, and not as {subject.user.name}: what it makes, the other cannot change"
            )
            yield Finding(
                Area.GATEWAY, Level.FAIL, about, text, shell("ps", "-o", "pid,user,args", "-p", pid)
            )
        have = _open_files(pid)
        if have is not None and have < wanted:
            text = f"may open {have} files; limits.sessions = {subject.config.limits.sessions} needs {wanted}"
            yield Finding(Area.GATEWAY, Level.WARN, about, text, more_descriptors(wanted))


def gateways(config: Path) -> dict[int, int]:
    """pid -> uid of each `bastion serve` with this configuration, by its command line; no workers."""
    wanted = os.path.realpath(config)
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        words = command_of(int(entry))
        # Not runuser, sudo or strace, which have the same words behind their own.
        if (
            "serve" not in words
            or "--worker" in words
            or not Path(words[0]).name.startswith(("python", "bastion"))
        ):
            continue
        try:
            folder = os.readlink(f"/proc/{entry}/cwd")
            uid = os.stat(f"/proc/{entry}").st_uid
        except OSError:
            continue
        values = [word.partition("=")[2] if word.startswith("--config=") else word for word in words]
        if any(
            os.path.realpath(os.path.join(folder, value)) == wanted
            for value in values
            if value.endswith(".toml")
        ):
            found[int(entry)] = uid
    return found


def _open_files(pid: int) -> int | None:
    """How many files a process may open, from /proc; None when that cannot be seen."""
    try:
        lines = Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[3]) for line in lines if line.startswith("Max open files"))
    except (OSError, StopIteration, ValueError):
        return None
