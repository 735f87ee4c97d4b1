"""Sessions and tunnels as lines of a listing, from whichever source, and which of them are wanted (L2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Final, NamedTuple

from bastion.recording.listing import SessionEntry

SESSION: Final = "session"
TUNNEL: Final = "tunnel"

UNFINISHED: Final = ("truncated", "damaged")
"""States of what has no end of its own."""

Network = IPv4Network | IPv6Network


class Listed(NamedTuple):
    """One session or tunnel. `state` is as `recording.listing` says it; from an index also `deleted` and `missing`.
    Times are in seconds, `path` is relative to the folder of recordings, or s3://bucket/key, "" without a file.
    `rules` are joined by commas, `opaque` counts channels that nobody can replay, `ran` is what an index keeps of them
    (`ran.pack`).

    A tuple, and not a dataclass: there may be 100,000 of them.
    """

    id: str
    state: str
    started_at: float
    identity: str
    login: str
    target: str
    duration: float
    bytes: int
    path: str = ""
    kind: str = SESSION
    ran: str = ""
    source: str = ""
    rules: str = ""
    opaque: int = 0
    more: Mapping[str, Any] | None = None  # what only --json tells


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which ones: those that overlap the time from `since` to `until` (seconds since the epoch) and are of this user,
    target, login, rule and source. None, "" and False choose nothing.
    """

    since: float | None = None
    until: float | None = None
    user: str = ""
    target: str = ""
    login: str = ""
    rule: str = ""
    source: Network | None = None
    live: bool = False
    incomplete: bool = False
    opaque: bool = False
    tunnels: bool | None = None  # none, or nothing else

    @property
    def everything(self) -> bool:
        """Nothing is left out."""
        return self == Wanted()

    def takes(self, one: Listed) -> bool:
        """Is it one of them? What does not know when it began (a damaged header) is taken for any time."""
        return (
            self._overlaps(one.started_at, one.duration)
            and (not self.user or one.identity == self.user)
            and (not self.target or self.target in (one.target, one.target.rpartition(":")[0]))
            and (not self.login or one.login == self.login)
            and (not self.rule or self.rule in one.rules.split(","))
            and (self.source is None or within(one.source, self.source))
            and (not self.live or one.state == "live")
            and (not self.incomplete or one.state in UNFINISHED)
            and (not self.opaque or one.opaque > 0 or one.kind == TUNNEL)
            and (self.tunnels is None or (one.kind == TUNNEL) is self.tunnels)
        )

    def spans(self, at: float) -> bool:
        """Does this moment (seconds since the epoch) lie in the time asked for? What happened in a session that reaches
        into it may lie outside."""
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)

    def _overlaps(self, started: float, duration: float) -> bool:
        if started == 0:
            return True
        if self.until is not None and started >= self.until:
            return False
        return self.since is None or started + duration >= self.since


def within(address: str, network: Network) -> bool:
    """Is it an address of this network? What is no address is none."""
    try:
        return ip_address(address) in network
    except ValueError:
        return False


def of_entry(entry: SessionEntry) -> Listed:
    """A file of the folder of recordings."""
    header = entry.header
    more = {
        **header.document(),
        "kind": SESSION,
        "problem": entry.problem,
        "reason": entry.reason,
        "opaque": entry.opaque,
        "file_size": entry.size,
    }
    return Listed(
        entry.path.stem,
        entry.state,
        header.started_at,
        header.identity,
        header.login,
        header.target,
        entry.duration,
        entry.bytes,
        f"{entry.path.parent.name}/{entry.path.name}",
        SESSION,
        "",
        header.source_address,
        ",".join(header.rules),
        entry.opaque,
        more,
    )
