"""Figures collected over rounds, the bars they are held against, one table and one JSON file.

A figure is named `GROUP | UNIT`; its value for a contender is the median over the rounds. A bar compares two
contenders in the same figure, so that it holds on any machine.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.bench.contenders import NAMES

OFF, DEFAULT, FULL, JUMP, PROXY = "gateway-off", "gateway-default", "gateway-full", "ssh-J", "tcp-proxy"
JUMP_DOOR, GO_RELAY = "gateway-jump", "go-relay"

CLIENTS = 12
"""That log in at once: as many as keep two processors busy with the gateway's share of it."""

TOGETHER = f"{CLIENTS} clients at once"


@dataclass(frozen=True)
class Bar:
    """`figure` of `ours` divided by that of `against` (or as it is, when that is empty) and its limit."""

    figure: str
    ours: str
    against: str
    sign: str
    limit: float

    def judge(self, results: Results) -> dict[str, Any] | None:
        ours = results.median(self.figure, self.ours)
        base = results.median(self.figure, self.against) if self.against else 1.0
        if ours is None or not base:
            return None
        value = ours / base
        ok = value >= self.limit if self.sign == ">=" else value <= self.limit
        against = f" / {self.against}" if self.against else ""
        return {
            "bar": f"{self.figure}: {self.ours}{against}",
            "value": round(value, 3),
            "limit": f"{self.sign} {self.limit:g}",
            "result": "ok" if ok else "missed",
        }


def bars() -> list[Bar]:
    """What is promised: the direct door against a jump host and a plain proxy, the jump door at least even."""
    found = []
    for cipher, way, off, default in (
        ("default", "down", 2.5, 2.3), ("default", "up", 2.5, 2.3), ("gcm", "down", 1.6, 1.5), ("gcm", "up", 1.8, 1.7),
    ):  # fmt: skip
        speed = f"bulk {way}, {cipher}, 1 stream | MiB/s"
        found += [Bar(speed, OFF, JUMP, ">=", off), Bar(speed, DEFAULT, JUMP, ">=", default)]
        found += [Bar(speed, FULL, JUMP, ">=", 1.0), Bar(speed, JUMP_DOOR, JUMP, ">=", 1.0)]
    for way, off, default, floor in (("down", 0.75, 0.85, 1.2), ("up", 1.0, 1.1, 1.5)):
        cost = f"bulk {way}, gcm, 1 stream | CPU s/GiB"
        found += [Bar(cost, OFF, JUMP, "<=", off), Bar(cost, DEFAULT, JUMP, "<=", default)]
        found.append(Bar(cost, OFF, PROXY, "<=", floor))
    return [
        *found,
        Bar("logins, default | CPU ms each", DEFAULT, JUMP, "<=", 0.2),
        Bar("logins, default | per s", DEFAULT, JUMP, ">=", 4.0),
        Bar("logins, default | per s", JUMP_DOOR, JUMP, ">=", 1.0),
        Bar("keystroke alone | p50 us", DEFAULT, JUMP, "<=", 1.1),
        Bar("keystroke alone | p99 us", DEFAULT, JUMP, "<=", 1.0),
        Bar("keystroke beside bulk | p99 us", DEFAULT, JUMP, "<=", 1.5),
        Bar("idle sessions | KiB each of 200", DEFAULT, "", "<=", 30.0),
        Bar("idle sessions | KiB each of 2000", DEFAULT, "", "<=", 30.0),
        Bar("stopped reader | MiB grown", DEFAULT, "", "<=", 2.0),
        *_behind_in_no_row(),
    ]


def _behind_in_no_row() -> list[Bar]:
    """What a gateway in Go must not do better. It records what targets send, all of it: so does our full mode of what
    comes down, our default mode of what is typed and of what goes up."""
    rows = [
        Bar(f"logins, {how} | CPU ms each", DEFAULT, GO_RELAY, "<=", 1.0) for how in ("default", TOGETHER)
    ]
    for beside in ("alone", "beside bulk"):
        rows += [Bar(f"keystroke {beside} | p{part} us", DEFAULT, GO_RELAY, "<=", 1.0) for part in (50, 99)]
    for way, ours in (("down", FULL), ("up", DEFAULT)):
        for which in ("default, 1 stream", "gcm, 1 stream", "default, 6 streams", "gcm, 6 streams"):
            rows.append(Bar(f"bulk {way}, {which} | MiB/s", ours, GO_RELAY, ">=", 1.0))
            rows.append(Bar(f"bulk {way}, {which} | CPU s/GiB", ours, GO_RELAY, "<=", 1.0))
    return [*rows, Bar("idle sessions | KiB each of 200", DEFAULT, GO_RELAY, "<=", 1.0)]


class Results:
    """What the rounds gave; each figure is told as it comes, so that a run that is cut short gave something."""

    def __init__(self, tell: Callable[[str], None] = lambda text: None) -> None:
        self._tell = tell
        self.values: dict[str, dict[str, list[float]]] = {}

    def add(self, group: str, contender: str, figures: dict[str, float]) -> None:
        for unit, value in figures.items():
            self.values.setdefault(f"{group} | {unit}", {}).setdefault(contender, []).append(value)
        figures_told = ", ".join(f"{_shown(value)} {unit}" for unit, value in figures.items())
        self._tell(f"  {group}: {contender}: {figures_told}")

    def median(self, figure: str, contender: str) -> float | None:
        values = self.values.get(figure, {}).get(contender)
        return statistics.median(values) if values else None

    def table(self) -> str:
        """Figures down, contenders across; a last column says how much the rounds differed."""
        width = max(map(len, self.values), default=0)
        others = dict.fromkeys(name for found in self.values.values() for name in found if name not in NAMES)
        names = (*NAMES, *others)
        lines = [f"{'figure':{width}} " + " ".join(f"{name:>15}" for name in names) + "   spread"]
        for figure, values in self.values.items():
            cells = [self.median(figure, name) for name in names]
            spread = max(
                ((max(v) - min(v)) / statistics.median(v) for v in values.values() if any(v)), default=0
            )
            row = " ".join(f"{'-' if cell is None else _shown(cell):>15}" for cell in cells)
            lines.append(f"{figure:{width}} {row} {spread:>7.0%}")
        return "\n".join(lines)

    def verdicts(self) -> list[dict[str, Any]]:
        return [verdict for bar in bars() if (verdict := bar.judge(self)) is not None]

    def write(self, path: Path, arguments: dict[str, Any], seconds: float) -> None:
        document = {
            "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": round(seconds),
            "arguments": arguments,
            "machine": machine(),
            "bars": self.verdicts(),
            "figures": self.values,
        }
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n")


def _shown(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"


def verdict_lines(verdicts: list[dict[str, Any]]) -> str:
    width = max((len(verdict["bar"]) for verdict in verdicts), default=0)
    return "\n".join(
        f"{v['result']:6} {v['bar']:{width}} {v['value']:>8.2f}  (bar {v['limit']})" for v in verdicts
    )


def cipher_cost() -> float:
    """Microseconds to seal 32 KiB with aes256-gcm: with wide vectors 2.5, without 9; no way through costs less than
    a few of these for each message, so it decides how a gateway and a jump host compare."""
    cipher, nonce, data = AESGCM(bytes(32)), bytes(12), bytes(32 * 1024)
    sealed, least = bytearray(len(data) + 16), 1.0
    for _ in range(200):
        began = time.perf_counter()
        cipher.encrypt_into(nonce, data, None, sealed)
        least = min(least, time.perf_counter() - began)
    return least * 1e6


def machine() -> dict[str, Any]:
    """What a reader must know to compare."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    client = subprocess.run(["ssh", "-V"], capture_output=True, text=True, timeout=10).stderr.strip()
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.machine(),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssh": client,
        "aes256-gcm, us per 32 KiB": round(cipher_cost(), 1),
        "load_at_end": os.getloadavg()[0],
    }
