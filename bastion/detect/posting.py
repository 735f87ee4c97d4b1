"""Findings posted to an Alertmanager (its API v2) or to a webhook (L2): in batches, retried, within limits.

Invariant: a step of a post takes PATIENCE at most and the whole DEADLINE; at most MOST_WAITING findings wait, the
oldest go and are counted; what a server refuses for what it is (400 to 499) is not posted again.
"""

from __future__ import annotations

import hmac
import http.client
import ssl
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import orjson

from bastion.ca.secrets import bearer, read_secret_file
from bastion.clock import Clock
from bastion.detect.findings import Finding
from bastion.errors import ConfigError, PostReason
from bastion.net.posting import Post
from bastion.observe.audit import timestamp

MOST_WAITING: Final = 1000  # findings, 2 KB each
BATCH: Final = 64
PATIENCE: Final = 10.0  # s, for each step of a post
DEADLINE: Final = 30.0  # s, for all of them
LEAST_PAUSE: Final = 1.0  # s between two posts
LONGEST_PAUSE: Final = 60.0  # s, where doubling after faults ends
LASTS: Final = 4 * 3600.0  # s that an alert is firing there after it was posted
LONGEST_TEXT: Final = 1024
RUNBOOK: Final = "docs/detections.md#what-each-looks-at"

# Asked to come again: no word about what was posted.
_LATER: Final = frozenset((401, 403, 404, 408, 425, 429))

Headers = Callable[[bytes, float], dict[str, str]]
"""What stands above a body that is posted at that time (seconds since 1970). Raises ConfigError."""

Encode = Callable[[Sequence[Finding], float], bytes]
"""A body of findings that are posted at that time."""


@dataclass(frozen=True, slots=True)
class Where:
    """Somebody who is told: `name` for people, where a body of what form goes, under which headers."""

    name: str
    url: str
    encode: Encode
    headers: Headers


def alertmanager(url: str, token_file: Path | None) -> Where:
    """An Alertmanager. The token is read for each post, so that it can change."""
    parts = urlsplit(url)
    place = urlunsplit(parts._replace(path=parts.path.rstrip("/") + "/api/v2/alerts"))
    return Where("alertmanager", place, alerts_of, lambda _, __: bearer(token_file, "token"))


def webhook(url: str, secret_file: Path | None, gateway: str) -> Where:
    """A webhook. With a secret (read for each post) it can tell whose post it is, and that it is none from before."""

    def headers(body: bytes, now: float) -> dict[str, str]:
        return {} if secret_file is None else {"Bastion-Signature": signature(secret_file, body, now)}

    return Where("webhook", url, lambda found, now: document_of(found, gateway), headers)


def places(
    alertmanager_url: str | None,
    token_file: Path | None,
    hook: str | None,
    secret_file: Path | None,
    gateway: str,
) -> list[Where]:
    """Where alerts are posted, as far as it is given; the gateway is called so."""
    found = [] if alertmanager_url is None else [alertmanager(alertmanager_url, token_file)]
    return found if hook is None else [*found, webhook(hook, secret_file, gateway)]


def signature(secret_file: Path, body: bytes, now: float) -> str:
    """`t=SECONDS,v1=HEX`: HMAC-SHA256 (RFC 2104) of `SECONDS.BODY`, keyed with the file's first line. Raises
    ConfigError."""
    seconds = int(now)
    made = hmac.new(read_secret_file(secret_file, "webhook's secret"), b"%d." % seconds + body, sha256)
    return f"t={seconds},v1={made.hexdigest()}"


@dataclass(slots=True)
class Posted:
    """What became of them: posts by result, `fault` why the last one failed, "" when it did not; and the names of those
    that are settled, until somebody takes them."""

    results: Counter[PostReason] = field(default_factory=Counter)
    fault: str = ""
    settled: list[tuple[str, PostReason]] = field(default_factory=list)


class Poster:
    """Findings on their way to one place. `flush` blocks for a post; call it again and again, from one thread; all else
    may be called from any."""

    def __init__(self, where: Where, clock: Clock) -> None:
        self.where = where
        self._clock = clock
        self._waiting: deque[Finding] = deque()
        self._lock = threading.Lock()
        self._next, self._pause = 0.0, LEAST_PAUSE
        self._at_work: Post | None = None
        self._until = 0.0  # when it is cut
        self.told = Posted()

    def put(self, finding: Finding) -> None:
        """One more; with MOST_WAITING the oldest goes."""
        with self._lock:
            if len(self._waiting) == MOST_WAITING:
                self._settle([self._waiting.popleft()], PostReason.DROPPED)
                self.told.results[PostReason.DROPPED] += 1
            self._waiting.append(finding)

    @property
    def waiting(self) -> int:
        """How many are not posted yet."""
        return len(self._waiting)

    def take_settled(self) -> list[tuple[str, PostReason]]:
        """Those of which nothing more is to come, and how it ended; each is given once."""
        with self._lock:
            settled, self.told.settled = self.told.settled, []
        return settled

    def counts(self) -> dict[str, int]:
        """Posts by result, until now."""
        with self._lock:
            return {str(result): count for result, count in self.told.results.items()}

    def cut_late(self) -> None:
        """A post that takes longer than DEADLINE is over: some servers answer a byte at a time."""
        post = self._at_work
        if post is not None and self._clock.monotonic() >= self._until:
            post.cut()

    def flush(self) -> None:
        """Post a batch, unless it is too soon after the last one."""
        now = self._clock.monotonic()
        with self._lock:
            batch = list(self._waiting)[:BATCH]
        if not batch or now < self._next:
            return
        result, self.told.fault = self._post(batch, now)
        final = result in (PostReason.SENT, PostReason.REFUSED)
        self._pause = LEAST_PAUSE if final else min(self._pause * 2, LONGEST_PAUSE)
        self._next = self._clock.monotonic() + self._pause
        with self._lock:
            self.told.results[result] += 1
            if final:
                gone = {one.id for one in batch}
                kept = [one for one in self._waiting if one.id not in gone]
                self._settle([one for one in batch if one in self._waiting], result)
                self._waiting = deque(kept)

    def _settle(self, found: Sequence[Finding], result: PostReason) -> None:
        self.told.settled += [(one.id, result) for one in found]

    def _post(self, batch: list[Finding], now: float) -> tuple[PostReason, str]:
        wall = self._clock.time()
        body = self.where.encode(batch, wall)
        try:
            headers = self.where.headers(body, wall)
            self._at_work, self._until = Post(self.where.url, body, PATIENCE), now + DEADLINE
            return result_of(self._at_work.send(headers))
        except (OSError, http.client.HTTPException, ConfigError, ValueError) as error:
            return fault_of(error)
        finally:
            self._at_work = None


def result_of(status: int) -> tuple[PostReason, str]:
    """What an answer means, and in words where it is a fault."""
    if 200 <= status < 300:
        return PostReason.SENT, ""
    final = 400 <= status < 500 and status not in _LATER
    return PostReason.REFUSED if final else PostReason.STATUS, f"it answers {status}"


def fault_of(error: Exception) -> tuple[PostReason, str]:
    """Why there was none."""
    text = str(error) or type(error).__name__
    match error:
        case ssl.SSLError():
            return PostReason.TLS, text
        case ConfigError():
            return PostReason.SECRET, text
        case ValueError():  # what http.client says of a header; it repeats it
            return PostReason.SECRET, "the token cannot stand in a header"
        case TimeoutError():
            return PostReason.TIMEOUT, text
        case http.client.HTTPException() if not isinstance(error, ConnectionError):
            return PostReason.BAD_ANSWER, text
    return PostReason.UNREACHABLE, text


# -- what is posted --------------------------------------------------------------------------------------------------


def alerts_of(found: Sequence[Finding], now: float) -> bytes:
    """As the Alertmanager's API has them."""
    return orjson.dumps([_alert(one, now) for one in found])


def document_of(found: Sequence[Finding], gateway: str) -> bytes:
    """As a webhook gets them."""
    findings = [{name: _plain(value) for name, value in _told(one).items()} for one in found]
    return orjson.dumps({"event": "detections", "gateway": gateway, "findings": findings})


def _told(one: Finding) -> dict[str, Any]:
    return {"ts": timestamp(one.at), **one.document()}


def _plain(value: Any) -> Any:
    return [_text(one) for one in value] if isinstance(value, list) else _text(value)


def _alert(one: Finding, now: float) -> dict[str, object]:
    """The same finding has the same labels, so that posting it twice makes no second alert."""
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
