"""Whether a gateway of this configuration runs now (L4), seen in the table of processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bastion.doctor.findings import Area, Finding, Level, shell
from bastion.doctor.ports import command_of
from bastion.doctor.subject import Subject


def examine_gateway(subject: Subject) -> Iterator[Finding]:
    """One finding: runs (as whom), or does not."""
    running = list(gateways(subject.config.file))
    if not running:
        yield Finding(Area.GATEWAY, Level.OK, str(subject.config.file), "no gateway runs with it now")
        return
    for pid, uid in running:
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


def gateways(config: Path) -> Iterator[tuple[int, int]]:
    """(pid, uid) of each `bastion serve` with this configuration, by its command line."""
    wanted = os.path.realpath(config)
    for entry in filter(str.isdigit, os.listdir("/proc")):
        words = command_of(int(entry))
        # Not runuser, sudo or strace, which have the same words behind their own.
        if "serve" not in words or not Path(words[0]).name.startswith(("python", "bastion")):
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
            yield int(entry), uid
