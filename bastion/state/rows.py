"""From what the gateway knows of a session, tunnel, lock or configuration to changes of rows, and back (L2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

import orjson

from bastion.recording.format import Header
from bastion.recording.listing import SessionEntry
from bastion.recording.ran import Asked, pack
from bastion.state.changes import ADD, DROP, PUT, SET, Change, Value

LIVE: Final = "live"
ENDED: Final = "ended"
INCOMPLETE: Final = "incomplete"
"""States of sessions, tunnels and recordings; a recording that was deleted is `DELETED`."""
DELETED: Final = "deleted"

SESSION: Final = "session"
TUNNEL: Final = "tunnel"


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: the gateway's name, this process of it, and the configuration in force."""

    node: str
    instance: str
    config: str = ""

    def columns(self) -> dict[str, str]:
        return {"node": self.node, "instance": self.instance, "config": self.config}


@dataclass(frozen=True, slots=True)
class Moved:
    """What passed through a session or tunnel, at its end. `summary`: what was asked for, and how often; `ran`: by kind
    and end (`recording.ran.AskedSoFar`), without a word of a peer's."""

    bytes_in: int
    bytes_out: int
    channels: int = 0
    opaque: int = 0
    summary: Mapping[str, int] | None = None
    ran: tuple[Asked, ...] = ()


@dataclass(frozen=True, slots=True)
class TunnelStart:
    """A tunnel that is connected. `id` is the connection's, and the number of the channel on it."""

    id: str
    connection: str
    identity: str
    uid: str
    host: str
    port: int
    address: str
    source: str
    rules: str
    started_at: float


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock. `kind` is user, target, certificate or source; `until` is seconds since the epoch, None for ever; `uid`
    is the immutable id of a user's account, "" where the lock is on the name."""

    kind: str
    value: str
    reason: str
    made_by: str
    made_at: float
    until: float | None = None
    uid: str = ""


def session_started(header: Header, path: str, writer: Writer, connection: str = "") -> list[Change]:
    """The rows of a session that begins. `path` is the recording's, relative to the folder of recordings, `connection`
    the outer one that it came through."""
    row: dict[str, Value] = {
        "id": header.session_id,
        "kind": SESSION,
        "state": LIVE,
        **_described(header),
        **({"connection": connection} if connection else {}),
        "started_at": header.started_at,
        **writer.columns(),
    }
    file: dict[str, Value] = {
        "session_id": header.session_id,
        "node": writer.node,
        "path": path,
        "size": 0,
        "state": LIVE,
    }
    return [Change(ADD, "sessions", row), Change(ADD, "recordings", file), *_emergency(header)]


def _emergency(header: Header) -> list[Change]:
    """A line of its own: a version that has no such column drops it alone."""
    return (
        [Change(SET, "sessions", {"id": header.session_id, "emergency": 1})] if header.break_glass_why else []
    )


def _described(header: Header) -> dict[str, Value]:
    return {
        "identity": header.identity,
        "uid": header.uid,
        "target": header.target,
        "login": header.login,
        "host": header.host,
        "port": header.port,
        "door": header.door,
        "source": header.source_address,
        "rules": ",".join(header.rules),
        "header": orjson.dumps(header.document(), option=orjson.OPT_NON_STR_KEYS).decode(),
    }


def session_ended(
    session: str, state: str, ended_at: float | None, reason: str, moved: Moved, size: int
) -> list[Change]:
    """The rows of a session that is over. `state` is ENDED, or INCOMPLETE when its process died; `size` the file's."""
    return [
        _ended(session, state, ended_at, reason, moved),
        Change(SET, "recordings", {"session_id": session, "state": state, "size": size}),
        *session_ran(session, moved.ran),
    ]


def session_ran(session: str, ran: tuple[Asked, ...]) -> list[Change]:
    """What was asked of a session's channels. A line of its own: a version that has no such column drops it alone."""
    return [Change(SET, "sessions", {"id": session, "ran": pack(ran)})] if ran else []


def session_died(session: str, reason: str) -> Change:
    """Nobody can tell more of it than that."""
    return Change(SET, "sessions", {"id": session, "reason": reason})


def ending_of(entry: SessionEntry) -> list[Change]:
    """As `session_ended`, from the recording's own file, for a session that nobody else can tell about.

    A file without an end does not tell bytes there from bytes back: they count as the latter.
    """
    totals = entry.totals
    moved = Moved(0, entry.bytes)
    if totals is not None:
        moved = Moved(totals.bytes_in, totals.bytes_out, totals.channels, totals.opaque)
    ended_at = entry.header.started_at + entry.duration
    state = INCOMPLETE if totals is None else ENDED
    return session_ended(entry.path.stem, state, ended_at, entry.reason, moved, entry.size)


def tunnel_started(tunnel: TunnelStart, writer: Writer) -> Change:
    """The row of a tunnel that is connected."""
    row: dict[str, Value] = {
        "id": tunnel.id,
        "kind": TUNNEL,
        "state": LIVE,
        "identity": tunnel.identity,
        "uid": tunnel.uid,
        "target": tunnel.host,
        "host": tunnel.address,
        "port": tunnel.port,
        "door": TUNNEL,
        "source": tunnel.source,
        "rules": tunnel.rules,
        "connection": tunnel.connection,
        "started_at": tunnel.started_at,
        **writer.columns(),
    }
    return Change(ADD, "sessions", row)


def tunnel_ended(tunnel: str, state: str, ended_at: float | None, reason: str, moved: Moved) -> Change:
    """The row of a tunnel that is over."""
    return _ended(tunnel, state, ended_at, reason, moved)


def _ended(row: str, state: str, ended_at: float | None, reason: str, moved: Moved) -> Change:
    return Change(
        SET,
        "sessions",
        {
            "id": row,
            "state": state,
            "ended_at": ended_at,
            "reason": reason,
            "bytes_in": moved.bytes_in,
            "bytes_out": moved.bytes_out,
            "channels": moved.channels,
            "opaque": moved.opaque,
            "summary": orjson.dumps(dict(moved.summary or {})).decode(),
        },
    )


def node_seen(name: str, version: str, started_at: float, now: float) -> Change:
    """A gateway is there."""
    return Change(PUT, "nodes", {"name": name, "version": version, "started_at": started_at, "seen_at": now})


def config_loaded(digest: str, node: str, now: float, by: str, version: str) -> Change:
    """A configuration is in force; who loads it again is not noted."""
    return Change(
        ADD,
        "configs",
        {"digest": digest, "node": node, "loaded_at": now, "loaded_by": by, "version": version},
    )


def ledger_head(node: str, serial: int, digest: str, now: float) -> Change:
    """The newest line of a gateway's ledger of recordings."""
    values: dict[str, Value] = {"node": node, "serial": serial, "digest": digest, "told_at": now}
    return Change(PUT, "ledger_heads", values)


def lock_added(lock: Lock) -> Change:
    """A lock, in the place of an earlier one of the same."""
    return Change(PUT, "locks", asdict(lock))


def lock_ended(kind: str, value: str, made_at: float, now: float) -> Change:
    """That the lock which was made then is over. Written before its row goes: else whoever never saw the row would
    never hear of it."""
    values: dict[str, Value] = {"kind": kind, "value": value, "made_at": made_at, "ended_at": now}
    return Change(PUT, "lock_ends", values)


def lock_removed(kind: str, value: str, made_at: float) -> Change:
    """No such lock any more; one that was made after that stays."""
    return Change(DROP, "locks", {"kind": kind, "value": value, "made_at": made_at})
