"""The audit log's events: each is a value with a type, so that no tool is asked to find a misspelt word (L0, pure).

What it is for: whoever writes a line makes one of these and hands it to `observe.audit.AuditLog`, with an `About` that
says whose line it is. `docs/audit.md` has its table from them, `bastion explain` its sentences.

Invariant: an event is written only as one of `EVENTS`, its reasons are of the closed sets in `bastion.errors`, and
nothing secret is a field of any.

It may import `bastion.errors` and nothing else.

    base        AuditEvent and About, and the words that sentences share
    process     the gateway itself: started, stopped, reloaded, ill, lines counted or lost
    workers     processes of a gateway that has several
    nodes       other gateways: there or missing, refused, adopted
    logins      connections, attempts, decisions, outer connections, jumps, the lobby and what it issues
    sessions    sessions, their channels and requests, files over sftp
    control     what the security team and operators did, and who was refused that
    keys        what the gateway signs with: rotated, retired, brought back
    reading     people who look at recordings
    console     who signed in to the review console, and what was ordered there
    reviewing   what reviewers leave at sessions
    retention   recordings that are removed or held
    detections  what was found in the log, and what is muted
    tunnels     opened, SSH seen inside, closed
    approvals   somebody asked for an approval, and somebody answered
    refusals    everything the gateway said no to: one event, `refused`, told apart by `what`
"""

from __future__ import annotations

from typing import Final

from bastion.observe.events import (
    approvals,
    console,
    control,
    detections,
    keys,
    logins,
    nodes,
    process,
    reading,
    refusals,
    retention,
    reviewing,
    sessions,
    tunnels,
    workers,
)
from bastion.observe.events.base import NOBODY, NOWHERE, About, AuditEvent, Facts, Line, explained

__all__ = ["EVENTS", "NOBODY", "NOWHERE", "About", "AuditEvent", "Facts", "Line", "sentence", "table"]

EVENTS: Final[tuple[type[AuditEvent], ...]] = (
    process.ClockStepped,
    process.GatewayStarted,
    workers.WorkerStarted,
    workers.WorkerDied,
    process.HandedOver,
    process.HandoverFailed,
    process.DrainStarted,
    process.DrainEnded,
    process.GatewayStopped,
    process.Reload,
    process.InventoryState,
    process.AuditSinkState,
    process.HealthChanged,
    nodes.NodeState,
    nodes.NodeRefused,
    nodes.NodeAdopted,
    logins.ConnectionRefused,
    logins.HeaderRefused,
    logins.HandshakeFailed,
    logins.Auth,
    logins.SecurityKeyCounter,
    logins.OldKey,
    logins.BreakGlassUsed,
    logins.Authorise,
    approvals.ApprovalFiled,
    approvals.ApprovalAnswered,
    refusals.ConnectionCutOff,
    refusals.SessionRefused,
    refusals.ChannelRefused,
    refusals.RequestRefused,
    refusals.StreamRefused,
    refusals.SftpRefused,
    refusals.TunnelRefused,
    refusals.BufferRefused,
    refusals.CertificateRefused,
    refusals.AnswerRefused,
    refusals.MoreRefused,
    logins.OuterStarted,
    logins.Jump,
    logins.Lobby,
    logins.TotpSetUp,
    logins.CertificateIssued,
    logins.OuterEnded,
    sessions.TargetBanner,
    sessions.SessionStarted,
    sessions.SessionEnded,
    sessions.ChannelOpened,
    sessions.ChannelFailed,
    sessions.ChannelClosed,
    sessions.Request,
    sessions.SftpFile,
    sessions.SftpOperation,
    sessions.SftpUnparsed,
    sessions.SessionOpaque,
    sessions.StreamSsh,
    tunnels.TunnelOpened,
    tunnels.TunnelSsh,
    tunnels.TunnelClosed,
    sessions.RecorderFailed,
    keys.KeyChanged,
    keys.KeysImported,
    reading.RecordingsRead,
    console.ConsoleStarted,
    console.ConsoleStopped,
    console.ConsoleSignedIn,
    console.ConsoleSignedOut,
    console.ConsoleRefused,
    console.ConsoleOrdered,
    reviewing.SessionReviewed,
    reviewing.SearchSaved,
    console.ConsolePasskeyAdded,
    console.ConsolePasskeyRemoved,
    console.ConsoleTokenMade,
    console.ConsoleTokenRevoked,
    process.LedgerHead,
    process.LedgerBroken,
    retention.RecordingDeleted,
    retention.DeletionRefused,
    retention.DeletionAsked,
    retention.DeletionAgreed,
    retention.DeletionStopped,
    retention.DeletionNotDone,
    retention.HoldPlaced,
    retention.HoldRemoved,
    retention.HoldLiftAsked,
    retention.HoldLiftRefused,
    detections.Detected,
    detections.DetectionMuted,
    detections.DetectionUnmuted,
    control.Killed,
    control.Locked,
    control.Unlocked,
    control.LockFollowed,
    control.UnlockFollowed,
    control.WatchStarted,
    control.WatchEnded,
    control.PenaltiesCleared,
    control.TotpEnrolled,
    control.TotpInvited,
    control.TotpTakenAway,
    control.BreakGlassOpened,
    control.BreakGlassClosed,
    control.BreakGlassFollowed,
    control.LogLevelSet,
    control.ControlRefused,
    process.LinesSummed,
    process.AuditResumed,
    process.AuditContinued,
)
"""In the order of docs/audit.md: as they happen."""

_BY_NAME: Final = {(one.event, one.what): one for one in EVENTS}

_FIXED: Final = {"ts", "event", "session", "ref", "connection", "chain", "seq", "prev"}


def sentence(line: Line) -> str:
    """What happened, as one sentence without a time. A line of another version is shown as its fields."""
    name = str(line.get("event"))
    known = _BY_NAME.get((name, str(line.get("what", "")))) or _BY_NAME.get((name, ""))
    if known is not None:
        return known.sentence(line)
    shown = " ".join(f"{key}={value}" for key, value in line.items() if key not in _FIXED)
    return f"{name}: {shown}" if shown else name


def table() -> list[str]:
    """The table of docs/audit.md, a line each."""
    rows = ["| event | says | fields |", "|---|---|---|"]
    for one in EVENTS:
        name = f"`{one.event}`" + (f", `what` = `{one.what}`" if one.what else "")
        told = " ".join((one.__doc__ or "").split())
        fields = [f"`{field}`" for field in one.about]
        fields += [f"`{field}`" + (f" ({text})" if text else "") for field, text in explained(one).items()]
        rows.append(f"| {name} | {told} | {', '.join(fields)} |")
    return rows
