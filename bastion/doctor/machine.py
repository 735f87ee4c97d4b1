"""This machine and what is installed on it (L4): the clock, limits, versions, and whether the user may run them."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import resource
import ssl
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from bastion import __version__
from bastion.doctor.findings import Area, Finding, Level, shell
from bastion.doctor.subject import Subject
from bastion.net.descriptors import MOST

UNSYNCHRONISED: Final = 0x0040  # STA_UNSYNC of adjtimex(2)
TIME_ERROR: Final = 5
PER_SESSION: Final = 3  # two sockets and a recording
SPARE: Final = 256
RUN_SECONDS: Final = 20.0
BOOTED: Final = Path("/run/systemd/system")
AHEAD: Final = (
    60.0  # seconds that a file may be younger than now: copied from a machine whose clock is a little ahead
)


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), up to what is read here; the kernel writes 208 bytes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def examine_clock(subject: Subject) -> Iterator[Finding]:
    """Is it kept right, and is it after what was written before?"""
    newest = 0.0
    for path in (subject.config.file, Path(__file__)):
        newest = max(newest, path.stat().st_mtime)
    now = subject.clock.time()
    if now < newest - AHEAD:
        text = f"is behind: files of the gateway are {newest - now:.0f} s younger than now"
        yield Finding(
            Area.CLOCK, Level.FAIL, "clock", f"{text}, so certificates are not valid yet", "timedatectl"
        )
    judged = synchronised(*kernel_clock())
    if judged:
        line = "timedatectl set-ntp true" if BOOTED.is_dir() else "apt-get install chrony"
        yield Finding(Area.CLOCK, Level.WARN, "clock", judged, line)
    elif now >= newest - AHEAD:
        yield Finding(Area.CLOCK, Level.OK, "clock", "is kept right (NTP), as the kernel says")


def kernel_clock() -> tuple[int, int, int]:
    """(state, status, greatest error in microseconds) of adjtimex(2), which reads when `modes` is 0."""
    answer = _Timex()
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(answer))
    return int(state), int(answer.status), int(answer.maxerror)


def synchronised(state: int, status: int, max_error: int) -> str:
    """What is wrong with a clock of which the kernel says this; "" when it is kept right."""
    if state < 0:
        return "cannot be judged: the kernel does not say how it is kept"
    if state == TIME_ERROR or status & UNSYNCHRONISED:
        return "is kept by nobody (no NTP): certificates live for minutes, and targets refuse what is off by more"
    if max_error > 1_000_000:
        return f"may be wrong by {max_error / 1e6:.1f} s"
    return ""


def descriptors_for(sessions: int) -> int:
    """File descriptors for that many sessions at the same time."""
    return min(sessions * PER_SESSION + SPARE, MOST)


def more_descriptors(wanted: int) -> str:
    """What to type for a higher limit."""
    if BOOTED.is_dir():
        return f"systemctl edit bastion.service   # [Service] LimitNOFILE={wanted}"
    return f"ulimit -Hn {wanted}"


def examine_limits(subject: Subject) -> Iterator[Finding]:
    """File descriptors: of the one who looks, which for a service is not what the service gets."""
    sessions = subject.config.limits.sessions
    wanted = descriptors_for(sessions)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    have = MOST if hard == resource.RLIM_INFINITY else hard
    text = f"{have} file descriptors here; limits.sessions = {sessions} needs {wanted}"
    if have < wanted:
        yield Finding(
            Area.LIMITS,
            Level.WARN,
            "descriptors",
            text,
            more_descriptors(wanted),
        )
    else:
        yield Finding(Area.LIMITS, Level.OK, "descriptors", text)


def examine_program(subject: Subject) -> Iterator[Finding]:
    """Versions that go together, and a program that the service's user can run."""
    yield from _versions()
    user = subject.user
    if not user.as_root or user.uid == 0:
        return
    words = [sys.executable, "-c", "import bastion.app"]
    try:
        done = subprocess.run(
            words, user=user.uid, group=user.gid, extra_groups=sorted(user.groups), cwd="/", capture_output=True,
            timeout=RUN_SECONDS, env={"PATH": os.environ.get("PATH", ""), "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        failed = done.returncode != 0
    except PermissionError:
        failed = True
    except subprocess.TimeoutExpired:
        yield Finding(
            Area.PROGRAM, Level.WARN, sys.executable, f"took longer than {RUN_SECONDS:.0f} s to begin"
        )
        return
    if failed:
        text = f"cannot be run by {user.name}: install it where everybody may read it, such as /opt/bastion"
        yield Finding(Area.PROGRAM, Level.FAIL, sys.executable, text, shell("namei", "-l", sys.executable))
    else:
        yield Finding(Area.PROGRAM, Level.OK, sys.executable, f"can be run by {user.name}")


def _versions() -> Iterator[Finding]:
    text = f"{__version__}, Python {platform.python_version()}, {ssl.OPENSSL_VERSION}"
    yield Finding(Area.PROGRAM, Level.OK, "bastion", text)
    faults = list(missing_requirements("bastion-gateway"))
    for name, problem in faults:
        line = shell(sys.executable, "-m", "pip", "install", name)
        yield Finding(Area.PROGRAM, Level.FAIL, name, problem, line)
    if not faults:
        yield Finding(
            Area.PROGRAM, Level.OK, "libraries", "have the versions that the tests ran with, or newer ones"
        )


def missing_requirements(distribution: str) -> Iterator[tuple[str, str]]:
    """(requirement, what is wrong) for each library of `distribution` that is missing or out of its range."""
    try:
        requires = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return
    for line in requires:
        found = _REQUIREMENT.match(line)
        if found is None or "extra" in line.partition(";")[2]:
            continue
        name, wanted = found["name"], found["range"]
        try:
            have = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield f"{name}{wanted}", "is not installed"
            continue
        if not all(holds(have, *clause) for clause in _CLAUSE.findall(wanted)):
            yield f"{name}{wanted}", f"{have} is installed"


# `twisted[conch]<26.11,>=26.10.0`, as a wheel's metadata has it
_REQUIREMENT = re.compile(r"\A(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*\(?(?P<range>[^;)]*)")
_CLAUSE = re.compile(r"(>=|<=|==|!=|<|>)\s*([0-9.]+)")


def holds(have: str, sign: str, wanted: str) -> bool:
    """Does the version `have` fit `sign wanted`? What follows its numbers (rc1, .post2) does not count."""
    numbers = re.match(r"[0-9.]+", have)
    left = _numbers(numbers[0] if numbers else "0")
    right = _numbers(wanted)
    size = max(len(left), len(right))
    left, right = left + (0,) * (size - len(left)), right + (0,) * (size - len(right))
    return {
        ">=": left >= right, "<=": left <= right, "==": left == right, "!=": left != right,
        "<": left < right, ">": left > right,
    }[sign]  # fmt: skip


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part)
