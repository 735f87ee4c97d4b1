"""Alerts posted to an Alertmanager (L2): its API v2, in batches, retried, within limits.

Invariant: nothing waits for more than TIMEOUT; at most MOST_WAITING alerts wait, the oldest go and are counted; what a
server refuses for what it is (400 to 499) is not posted again.
"""

from __future__ import annotations

import http.client
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import orjson

from bastion.ca.secrets import read_secret_file
from bastion.clock import Clock
from bastion.detect.findings import Finding
from bastion.errors import ConfigError
from bastion.observe.audit import timestamp

MOST_WAITING: Final = 1000  # alerts, 2 KB each
BATCH: Final = 64
TIMEOUT: Final = 10.0  # s, for each step of a post
LEAST_PAUSE: Final = 1.0  # s between two posts
LONGEST_PAUSE: Final = 60.0  # s, where doubling after faults ends
LASTS: Final = 4 * 3600.0  # s that an alert is firing there after it was posted
LONGEST_TEXT: Final = 1024
RUNBOOK: Final = "docs/detections.md#what-each-looks-at"

Send = Callable[[bytes], int]
"""A body posted: the status of the answer. Raises OSError, http.client.HTTPException or ConfigError."""

# Asked to come again: no word about what was posted.
_LATER: Final = frozenset((401, 403, 404, 408, 425, 429))


def sender(url: str, token_file: Path | None) -> Send:
    """Posts to that Alertmanager. The token is read for each post, so that it can change; no redirect is followed."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/") + "/api/v2/alerts"

    def send(body: bytes) -> int:
        headers = {"Content-Type": "application/json"}
        if token_file is not None:
            headers["Authorization"] = "Bearer " + read_secret_file(token_file, "token").decode(
                "ascii", "replace"
            )
        host = parts.hostname or ""
        if parts.scheme == "https":
            context = ssl.create_default_context()
            link: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, parts.port, timeout=TIMEOUT, context=context
            )
        else:
            link = http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT)
        try:
            link.request("POST", path, body, headers)
            return link.getresponse().status
        finally:
            link.close()

    return send


@dataclass(slots=True)
class Posted:
    """What became of the alerts: `dropped` for want of room, `refused` by the server."""

    posted: int = 0
    dropped: int = 0
    refused: int = 0
    fault: str = ""  # why the last post failed, "" when it did not


class Poster:
    """Alerts on their way. `flush` blocks for a post; call it again and again."""

    def __init__(self, send: Send, clock: Clock) -> None:
        self._send, self._clock = send, clock
        self._waiting: deque[Finding] = deque()
        self._next, self._pause = 0.0, LEAST_PAUSE
        self.told = Posted()

    def put(self, finding: Finding) -> None:
        """One more; with MOST_WAITING the oldest goes."""
        if len(self._waiting) == MOST_WAITING:
            self._waiting.popleft()
            self.told.dropped += 1
        self._waiting.append(finding)

    @property
    def waiting(self) -> int:
        """How many are not posted yet."""
        return len(self._waiting)

    def flush(self) -> None:
        """Post a batch, unless it is too soon after the last one."""
        now = self._clock.monotonic()
        if not self._waiting or now < self._next:
            return
        batch = list(self._waiting)[:BATCH]
        wall = self._clock.time()
        try:
            status = self._send(orjson.dumps([_alert(one, wall) for one in batch]))
            fault = "" if status < 300 else f"it answers {status}"
        except (OSError, http.client.HTTPException, ConfigError) as error:
            status, fault = 0, str(error) or type(error).__name__
        self.told.fault = fault
        final = 400 <= status < 500 and status not in _LATER
        self._pause = LEAST_PAUSE if not fault or final else min(self._pause * 2, LONGEST_PAUSE)
        self._next = self._clock.monotonic() + self._pause
        if fault and not final:
            return
        for _ in batch:
            self._waiting.popleft()
        if fault:
            self.told.refused += len(batch)
        else:
            self.told.posted += len(batch)


def _alert(one: Finding, now: float) -> dict[str, object]:
    """As the API has it. The same finding has the same labels, so that posting it twice makes no second alert."""
    labels = {
        "alertname": "BastionDetection",
        "severity": "security",
        "detection": one.kind.value,
        "finding": one.id,
        **({"user": _text(one.user)} if one.user else {}),
    }
    annotations = {
        "summary": _text(f"{one.kind.value}: {one.came}"),
        "expected": _text(one.expected),
        "came": _text(one.came),
        "sessions": " ".join(map(_text, one.sessions)),
        "runbook_url": RUNBOOK,
    }
    begins = timestamp(one.at)
    return {
        "labels": labels,
        "annotations": annotations,
        "startsAt": begins,
        "endsAt": timestamp(now + LASTS),
    }


def _text(value: str) -> str:
    """What JSON and its readers take: no lone surrogates."""
    return value[:LONGEST_TEXT].encode("utf-8", "replace").decode("utf-8")
