"""Traces of logins on their way to a collector: OTLP over HTTP, as JSON (L3).

Off unless `[traces] endpoint` is set: then `begin` is one look at a value, and nothing else of this runs. Invariants:
no login waits for any of it, a thread of its own builds and posts; at most WAITING traces wait, the oldest go and are
counted; who has proved nothing leaves no trace, so that a flood of strangers fills no collector; what a collector
refuses for what it is (any status but 408, 429 and those of 500 on) is not posted again.
"""

from __future__ import annotations

import http.client
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Final

import orjson
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion import __version__
from bastion.ca.secrets import bearer
from bastion.clock import Clock, Timers
from bastion.net.posting import Post
from bastion.observe.meters import TRACES, Meters
from bastion.observe.spans import Link, Trace, request
from bastion.session.announcing import Run

WAITING: Final = 256
"""Finished traces that wait: 12 spans of some 300 bytes each, 1 MiB in all."""

BATCH: Final = 16
"""Traces of one post: 200 spans, 1 ms of a thread that holds the interpreter."""

GATHER: Final = 1.0
"""Seconds from the first trace that waits to the post that has it."""

LONGEST_PAUSE: Final = 60.0
"""Seconds between two tries, where doubling after faults ends."""

DEADLINE: Final = 10.0
"""Seconds for one post."""

PATIENCE: Final = 5.0
"""Seconds for one step of it: a connection, a part of the answer."""


_CHANCE: Final = SystemRandom().random


@dataclass(frozen=True, slots=True)
class TraceTerms:
    """Where traces go, "" for nowhere; of how many logins, 0 to 1; `token_file` has what stands behind `Bearer`; `node`
    is the gateway's own name."""

    endpoint: str = ""
    ratio: float = 1.0
    token_file: Path | None = None
    node: str = ""


class Traces:
    """One per process."""

    def __init__(
        self,
        timers: Timers,
        clock: Clock,
        run: Run,
        meters: Meters,
        terms: Callable[[], TraceTerms],
        random: Callable[[], float] = _CHANCE,
    ) -> None:
        self._timers, self._clock, self._run, self._meters = timers, clock, run, meters
        self._terms, self._random = terms, random
        self._waiting: deque[Trace] = deque()
        self._posting = False  # or about to
        self._pause = GATHER
        self._log = Logger(namespace="bastion.traces")

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def begin(self, session: str, came: float, began: float) -> Trace | None:
        """That of a connection that came at `came` and is one since `began` (`seconds()` of the timers), with its first
        span; None when it leaves none."""
        terms = self._terms()
        if not terms.endpoint or (terms.ratio < 1.0 and self._random() >= terms.ratio):
            return None
        made = self._made(session, came, None)
        made.took("accept", began - came, ended=began)
        return made

    def inside(self, session: str, link: Link) -> Trace | None:
        """That of a login inside a connection that has one, unless a reload has switched it off."""
        if not self._terms().endpoint:
            return None
        made = self._made(session, self._timers.seconds(), link)
        made.proved = True
        return made

    def _made(self, session: str, began: float, link: Link | None) -> Trace:
        values = {"bastion.session": session}
        return Trace("login", began, self._timers.seconds, self._clock.time(), values, link)

    def finish(self, trace: Trace, door: str, target: str = "", error: str = "") -> None:
        """It is over, with `error`, a reason of a closed set, or well. Twice is once."""
        told = {"bastion.door": door, "bastion.target": target, "bastion.reason": error}
        values = {name: value for name, value in told.items() if value}
        if not trace.finish(values, error) or not trace.proved:
            return
        if len(self._waiting) >= WAITING:
            self._waiting.popleft()
            self._meters.add(TRACES, "dropped")
        self._waiting.append(trace)
        self._post_after(GATHER)

    def _post_after(self, seconds: float) -> None:
        if not self._posting:
            self._posting = True
            self._timers.callLater(seconds, self._post)

    def _post(self) -> None:
        terms = self._terms()
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        if not terms.endpoint:  # a reload has switched it off
            self._over(batch + list(self._waiting), "dropped")
            self._waiting.clear()
            return
        one = Batch(terms, batch)
        posted = self._run(one.send, DEADLINE, one.cut)
        posted.addCallbacks(lambda _: self._over(batch, "sent"), lambda failure: self._failed(batch, failure))

    def _over(self, batch: list[Trace], result: str) -> None:
        for _ in batch:
            self._meters.add(TRACES, result)
        self._posting, self._pause = False, GATHER
        if self._waiting:
            self._post_after(0.0)

    def _failed(self, batch: list[Trace], failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Unwanted) and not error.later:
            self._log.warn(
                "a collector of traces refuses what it is sent: status {status}", status=error.status
            )
            self._over(batch, "refused")
            return
        if self._pause == GATHER:  # of an outage the first failure
            self._log.warn("traces cannot be posted: {why}", why=type(error).__name__)
        room = max(0, WAITING - len(self._waiting))
        for _ in batch[room:]:
            self._meters.add(TRACES, "dropped")
        self._waiting.extendleft(reversed(batch[:room]))
        self._meters.add(TRACES, "failed")
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._posting = False
        self._post_after(self._pause)


class Unwanted(http.client.HTTPException):
    """A collector that answers, and does not take what was posted. `later`: it may, another time."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.later = status in (408, 429) or status >= 500


class Batch:
    """One post; its body is made in the thread that sends it."""

    def __init__(self, terms: TraceTerms, traces: list[Trace]) -> None:
        self._terms, self._traces = terms, traces
        self._post: Post | None = None

    def send(self) -> None:
        """Raises OSError, ConfigError for the token, Unwanted for any status but 2xx, http.client.HTTPException."""
        terms = self._terms
        resource = {
            "service.name": "bastion",
            "service.version": __version__,
            "service.instance.id": terms.node,
        }
        body = orjson.dumps(request(self._traces, resource, __version__))
        self._post = Post(f"{terms.endpoint.rstrip('/')}/v1/traces", body, PATIENCE)
        status = self._post.send(bearer(terms.token_file, "collector's token"))
        if not 200 <= status < 300:
            raise Unwanted(status)

    def cut(self) -> None:
        """Whatever it waits for is over."""
        if self._post is not None:
            self._post.cut()
