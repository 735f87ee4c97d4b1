"""The gateway's counters, gauges and histograms as plain integers (L0).

Every family is declared once, below or in a module of `families` that is imported here, with closed sets of label
values; every combination exists at 0 from the start, so `rate()` and alerts work before the first failure. Nothing
a peer or a user sent ever becomes a label: a value outside a closed set is counted as `other` where the set has it, and
is an error where not.

The hot path touches no metric object: `cell = meters.cell(BYTES, "session", "to_client")` once, then
`cell[0] += n`. Durations are kept in whole microseconds, so a snapshot is made of integers only, is JSON, and
snapshots of several processes are merged by `merge()` (added up, or the largest where a sum means nothing).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final

from bastion.errors import (
    ApprovalReason,
    AuthReason,
    ControlReason,
    EndReason,
    HandshakeResult,
    HeaderResult,
    HealthPart,
    IssueReason,
    LimitReason,
    PolicyReason,
    TunnelReason,
    UpstreamReason,
    WorkerDeath,
)
from bastion.observe.families import detections as detections
from bastion.observe.families import directory as directory
from bastion.observe.families import flow as flow
from bastion.observe.families import inventories as inventories
from bastion.observe.families import keys as keys
from bastion.observe.families import nodes as nodes
from bastion.observe.families import opening as opening
from bastion.observe.families import recordings as recordings
from bastion.observe.families import sinks as sinks
from bastion.observe.families import standing as standing
from bastion.observe.family import (
    FAMILIES,
    LAG_BUCKETS,
    PHASE_BUCKETS,
    Family,
    Kind,
    Label,
    Merge,
    counter,
    gauge,
    histogram,
    reasons,
)
from bastion.observe.family import MICROSECONDS as MICROSECONDS
from bastion.observe.labels import (
    AGENT_ENDINGS,
    AGENT_USES,
    CHANNEL_KINDS,
    CONTROL_COMMANDS,
    METHODS,
    NEVER_OF_REQUESTS,
    OUTSIDE_FACTORS,
    REQUEST_NAMES,
)
from bastion.observe.labels import OTHER as OTHER
from bastion.wire.legacy import LEGACY_NAMES

PREFIX: Final = "bastion_"

# family name -> label values joined by "," -> the cell. A cell is [value], or for a histogram
# [count per bucket..., count above the last bucket, sum in microseconds].
Snapshot = dict[str, dict[str, list[int]]]

# Closed sets that are not reasons.

DOORS: Final = ("direct", "jump")
HANDSHAKES_AT: Final = ("front", "jump")
DIRECTIONS: Final = ("to_target", "to_client")
DIAL_PHASES: Final = ("resolve", "connect", "kex", "host_key", "login", "hop")
HOST_KEY_OUTCOMES: Final = ("ca_ok", "pinned_ok", "sshfp_ok", "unknown", "changed", "revoked", "cert_invalid")
PAYERS: Final = ("source", "identity")
WORK: Final = ("public_key", "key_exchange", "directory", "name_lookup", "log", "notes", "buffered")
AUDIT_FAILURES: Final = ("open_failed", "write_failed", "short_write")

# The families.

CONNECTIONS_ACCEPTED: Final = counter("connections_accepted_total", "TCP connections accepted.")
CONNECTIONS_CLOSED: Final = counter("connections_closed_total", "Accepted TCP connections that have ended.")
CONNECTIONS_LIVE: Final = gauge("connections_live", "Engineer connections open now.")
CONNECTIONS_REFUSED: Final = counter(
    "connections_refused_total",
    "Connections turned away or ended by a limit of the gateway.",
    reasons("reason", LimitReason),
)
PROXY_HEADERS: Final = counter(
    "proxy_headers_total",
    "Connections to listeners behind load balancers, by what came of the header that they begin with.",
    reasons("result", HeaderResult),
)
BUDGET_REFUSALS: Final = counter(
    "budget_refusals_total",
    "Work refused because its source or identity had used up what it may cost.",
    Label("work", WORK),
    Label("payer", PAYERS),
)
NAME_LOOKUPS: Final = gauge(
    "name_lookups",
    "Look-ups of target names: with a thread, waiting for one, or given up and not back yet.",
    Label("state", ("running", "waiting", "stuck")),
)
DESCRIPTORS_EXHAUSTED: Final = counter(
    "descriptors_exhausted_total",
    "Times the process had no file descriptor left, by what needed it.",
    Label("what", ("accept", "dial", "recording")),
)
HANDSHAKES: Final = counter(
    "handshakes_total",
    "First key exchanges with clients, at the front door and inside jumps, by how they ended.",
    Label("at", HANDSHAKES_AT),
    reasons("result", HandshakeResult),
)
HANDSHAKE_SECONDS: Final = histogram(
    "handshake_seconds", "From accept to the first NEWKEYS of an engineer connection.", buckets=PHASE_BUCKETS
)
AUTH_ATTEMPTS: Final = counter(
    "auth_attempts_total",
    "Authentication attempts by method and how each ended.",
    Label("method", METHODS),
    reasons("reason", AuthReason),
)
FACTORS_WAITING: Final = gauge(
    "factors_waiting", "Proofs that others are asked for now.", Label("factor", OUTSIDE_FACTORS)
)
FACTOR_FAULTS: Final = counter(
    "factor_faults_total",
    "Questions that an identity provider or a RADIUS server did not answer, or not in a way that proves anything.",
    Label("factor", OUTSIDE_FACTORS),
    Label("fault", ("unreachable", "malformed", "unverified")),
)
SECURITY_KEY_COUNTERS_FALLEN: Final = counter(
    "security_key_counters_fallen_total",
    "Logins by security keys whose counter did not rise: there may be copies of them.",
)
CERTIFICATES_ISSUED: Final = counter(
    "certificates_issued_total", "Certificates issued to people who had logged in."
)
CERTIFICATES_REFUSED: Final = counter(
    "certificates_refused_total",
    "Certificates that people who had logged in asked for and did not get.",
    reasons("reason", IssueReason),
)
BREAK_GLASS: Final = counter(
    "break_glass_total", "Tries of break-glass accounts.", Label("result", ("ok", "refused", "closed"))
)
AUTHORISATIONS: Final = counter(
    "authorisations_total",
    "Whether policy let an authenticated engineer go to a target.",
    reasons("reason", PolicyReason),
)
APPROVALS: Final = counter(
    "approvals_total",
    "Requests for approval and answers to them, by what came of each.",
    reasons("result", ApprovalReason),
)
APPROVAL_ANNOUNCEMENTS: Final = counter(
    "approval_announcements_total",
    "Requests for approval told to a webhook or by mail: sent, tries that failed, given up, too many at once.",
    Label("way", ("webhook", "mail")),
    Label("result", ("sent", "failed", "given_up", "dropped")),
)
TRACES: Final = counter(
    "traces_total",
    "Traces of logins: taken by the collector, refused by it, dropped for want of room or without a collector any more;"
    " failed: posts that are tried again.",
    Label("result", ("sent", "refused", "dropped", "failed")),
)
APPROVALS_WAITING: Final = gauge("approvals_waiting", "Connections that wait for an approval now.")
SESSIONS_LIVE: Final = gauge("sessions_live", "Sessions open now.", Label("door", DOORS))
SESSIONS_STARTED: Final = counter("sessions_started_total", "Sessions started.", Label("door", DOORS))
SESSIONS_ENDED: Final = counter(
    "sessions_ended_total",
    "Sessions ended, by what ended them.",
    Label("door", DOORS),
    reasons("reason", EndReason),
)
CHANNELS: Final = counter(
    "channels_total",
    "Channel opens by kind and by the verdict on them.",
    Label("kind", CHANNEL_KINDS),
    reasons("verdict", PolicyReason),
)
CHANNELS_LIVE: Final = gauge("channels_live", "Channels open now.", Label("kind", CHANNEL_KINDS))
REQUESTS: Final = counter(
    "requests_total",
    "Channel and global requests by name and by the verdict on them.",
    Label("name", REQUEST_NAMES),
    reasons("verdict", (reason for reason in PolicyReason if reason not in NEVER_OF_REQUESTS), OTHER),
)
BYTES: Final = counter(
    "channel_bytes_total",
    "Channel data relayed, both streams, without SSH framing.",
    Label("kind", CHANNEL_KINDS),
    Label("direction", DIRECTIONS),
)
SFTP_FILES: Final = counter(
    "sftp_files_total",
    "Files opened and closed over sftp, by which way their data went.",
    Label("transfer", ("download", "upload", "both", "none")),
)
SFTP_REFUSALS: Final = counter(
    "sftp_refusals_total",
    "Requests on sftp channels that a rule refused, by the verb they would have needed.",
    Label("verb", ("download", "upload", "list", "modify", OTHER)),
)
SFTP_UNPARSED: Final = counter(
    "sftp_unparsed_total",
    "Channels of sftp that could not be followed any further, by the side that caused it.",
    Label("by", ("client", "target")),
)
UPSTREAM_PHASE_SECONDS: Final = histogram(
    "upstream_phase_seconds",
    "Time each phase of reaching a target took.",
    Label("phase", DIAL_PHASES),
    buckets=PHASE_BUCKETS,
)
UPSTREAM_DIALS: Final = counter(
    "upstream_dials_total", "Attempts to reach a target.", reasons("reason", UpstreamReason)
)
_AGENT: Final = Label("use", AGENT_USES), Label("ended", AGENT_ENDINGS)
AGENT_SIGNATURES: Final = counter(
    "agent_signatures_total", "Signatures that an ssh-agent was asked for, by what they were for.", *_AGENT
)
UPSTREAM_LEGACY: Final = counter(
    "upstream_legacy_total",
    "Legs to targets that use a legacy algorithm, by its name.",
    Label("algorithm", LEGACY_NAMES),
)
TUNNEL_DIALS: Final = counter(
    "tunnel_dials_total",
    "Attempts to reach the far side of a tunnel that policy allowed.",
    reasons("reason", UpstreamReason),
)
TUNNELS_ENDED: Final = counter(
    "tunnels_ended_total", "Tunnels ended, by what ended them.", reasons("reason", TunnelReason)
)
HOST_KEY_CHECKS: Final = counter(
    "host_key_checks_total", "Verifications of a target's host key.", Label("outcome", HOST_KEY_OUTCOMES)
)
HEALTH: Final = gauge(
    "health",
    "How a part of the gateway is: 0 ok, 1 degraded, 2 sessions are refused because of it.",
    reasons("part", HealthPart),
    merge=Merge.MAX,
)
OLD_KEYS: Final = counter("old_keys_total", "Keys older than login.key_age that logged in, each once a day.")
STATE_OWED_ROWS: Final = gauge(
    "state_owed_rows", "Changes of rows that the state store has not taken yet; they are in a spool file."
)
STATE_OWED_OLDEST_SECONDS: Final = gauge(
    "state_owed_oldest_seconds",
    "Age of the oldest change that the state store has not taken yet.",
    merge=Merge.MAX,
    scale=MICROSECONDS,
)
STATE_WRITE_SECONDS: Final = histogram(
    "state_write_seconds", "Time that writing a batch to the state store took.", buckets=PHASE_BUCKETS
)
STATE_ROWS_WRITTEN: Final = counter("state_rows_written_total", "Changes of rows written to the state store.")
STATE_ERRORS: Final = counter(
    "state_errors_total",
    "Faults of the state store: it could not be used, it takes a change never, or the spool could not be written.",
    Label("fault", ("unavailable", "rejected", "spool")),
)
STATE_REFUSALS: Final = counter(
    "state_refusals_total",
    "Sessions refused because of the state store: it is away, or too much is owed.",
    reasons("reason", (LimitReason.STATE_UNAVAILABLE, LimitReason.STATE_OWED)),
)
CONTROL_REQUESTS: Final = counter(
    "control_requests_total",
    "Questions and orders at the control socket, by whether they were answered.",
    Label("command", CONTROL_COMMANDS),
    Label("result", ("ok", "refused")),
)
CONTROL_REFUSALS: Final = counter(
    "control_refusals_total",
    "Questions and orders at the control socket that were refused or not answered.",
    reasons("reason", ControlReason),
)
CONTROL_CLIENTS: Final = gauge("control_clients", "Connections to the control socket now.")
LOCKS: Final = gauge(
    "locks", "Locks in force.", Label("lock", ("user", "target", "certificate", "source")), merge=Merge.MAX
)
WATCHERS: Final = gauge("watchers", "Sessions that somebody watches now, once for each watcher.")
WATCH_DROPPED: Final = counter(
    "watch_blocks_dropped_total", "Blocks that a watcher was not shown, because it was too slow to take them."
)
LAG_SECONDS: Final = histogram(
    "event_loop_lag_seconds", "How late a timer of the event loop fired.", buckets=LAG_BUCKETS
)
LAG_MAX_SECONDS: Final = gauge(
    "event_loop_lag_max_seconds",
    "The largest event-loop lag of the last minute.",
    merge=Merge.MAX,
    scale=MICROSECONDS,
)
CLOCK_STEPS: Final = counter(
    "clock_steps_total",
    "Times that the machine's clock was set by a second or more, or that it slept.",
    Label("step", ("forward", "back")),
)
AUDIT_LINES: Final = counter("audit_lines_total", "Lines written to the audit log.")
AUDIT_FAILED: Final = counter(
    "audit_failures_total", "Audit lines that could not be written.", Label("reason", AUDIT_FAILURES)
)
AUDIT_SUMMED: Final = counter(
    "audit_lines_summed_total",
    "Lines not written one by one because their payer had used up its share of the audit log; a line counts them.",
    Label("payer", PAYERS),
)
DRAINING: Final = gauge(
    "draining", "1 while the gateway lets no new session begin because it is to end.", merge=Merge.MAX
)
CONFIG_RELOADS: Final = counter(
    "config_reloads_total",
    "Reloads of the configuration, by what came of them.",
    Label("result", ("ok", "restart_needed", "refused")),
)
CONFIG_LAST_RELOAD: Final = gauge(
    "config_last_reload_seconds",
    "When the configuration in force was taken, as seconds since 1970.",
    merge=Merge.MAX,
)
CONFIG_RESTART_PENDING: Final = gauge(
    "config_restart_pending",
    "Options of the configuration file that differ from those in force and need a restart.",
    merge=Merge.MAX,
)
WORKERS: Final = gauge(
    "workers",
    "Processes that serve, or will: 1 serving for a gateway of one process.",
    Label("state", ("starting", "serving", "ending")),
)
WORKER_DEATHS: Final = counter(
    "worker_deaths_total",
    "Workers that ended without being told to, or had to be ended; each was started again.",
    reasons("reason", WorkerDeath),
)
ROLES: Final = ("gateway", "supervisor", "worker")
PROCESS_CPU_SECONDS: Final = counter(
    "process_cpu_seconds_total",
    "Processor time, in user mode and the kernel, of all processes in that role.",
    Label("role", ROLES),
    scale=MICROSECONDS,
)
PROCESS_RESIDENT_BYTES: Final = gauge(
    "process_resident_bytes",
    "Resident memory of all processes in that role, added up; what they share is in it once for each.",
    Label("role", ROLES),
)
PROCESS_OPEN_FDS: Final = gauge(
    "process_open_fds", "Open descriptors of all processes in that role, added up.", Label("role", ROLES)
)
BUILD_LABELS: Final = ("version", "python", "twisted", "cryptography")


class Meters:
    """One process's cells. `build` fills the labels of `bastion_build_info` (`BUILD_LABELS`)."""

    def __init__(self, build: Mapping[str, str] | None = None) -> None:
        labels = tuple(Label(name, ((build or {}).get(name, "unknown"),)) for name in BUILD_LABELS)
        info = Family("build_info", Kind.GAUGE, "What is running; always 1.", labels, merge=Merge.MAX)
        self.families: tuple[Family, ...] = (*FAMILIES, info)
        self._cells: dict[Family, dict[tuple[str, ...], list[int]]] = {
            family: {values: [0] * family.width for values in family.combinations()}
            for family in self.families
        }
        self.set(info, 1, *(label.values[0] for label in labels))
        self.exemplars: dict[str, tuple[str, float, float]] = {}  # `observe.exemplars` keeps them

    def declare(self, family: Family) -> None:
        """One more family, of this process alone: before anybody looks at `families`."""
        self.families = (*self.families, family)
        self._cells[family] = {values: [0] * family.width for values in family.combinations()}

    def cell(self, family: Family, *values: str) -> list[int]:
        """The live cell of one combination, to be kept by the caller: `cell[0] += n` is the whole hot path.

        A value outside its closed set is taken as `other`; KeyError (naming no value) where there is none.
        """
        cells = self._cells[family]
        found = cells.get(values)
        if found is not None:
            return found
        if len(values) != len(family.labels):
            raise KeyError(f"{family.name} has {len(family.labels)} labels, not {len(values)}")
        known = []
        for label, value in zip(family.labels, values, strict=True):
            if value not in label.values and OTHER not in label.values:
                raise KeyError(f"{family.name}: a value outside the closed set of label {label.name}")
            known.append(value if value in label.values else OTHER)
        return cells[tuple(known)]

    def add(self, family: Family, *values: str, by: int = 1) -> None:
        """Count `by` more (a gauge may go down with a negative `by`)."""
        self.cell(family, *values)[0] += by

    def set(self, family: Family, value: int, *values: str) -> None:
        """Set a gauge; a gauge of seconds is set in microseconds."""
        self.cell(family, *values)[0] = value

    def observe(self, family: Family, seconds: float, *values: str) -> None:
        """Put one duration into a histogram. A negative one (a clock that stepped) counts as 0."""
        cell = self.cell(family, *values)
        seconds = max(seconds, 0.0)
        cell[bisect_left(family.buckets, seconds)] += 1
        cell[-1] += round(seconds * MICROSECONDS)

    def value(self, family: Family, *values: str) -> int:
        """The integer of one counter or gauge; of a histogram, the number of observations."""
        cell = self.cell(family, *values)
        return sum(cell[:-1]) if family.kind is Kind.HISTOGRAM else cell[0]

    def snapshot(self) -> Snapshot:
        """A copy of every cell as integers: JSON-able, mergeable, sharing nothing with the live cells."""
        return {
            family.name: {",".join(values): cell.copy() for values, cell in cells.items()}
            for family, cells in self._cells.items()
        }


def merge(families: Iterable[Family], snapshots: Iterable[Snapshot]) -> Snapshot:
    """One snapshot of several processes.

    What this build does not declare is dropped and what is missing is 0, so that two versions may run side by
    side while one drains.
    """
    taken = list(snapshots)
    merged: Snapshot = {}
    for family in families:
        cells = merged[family.name] = {}
        for values in family.combinations():
            key = ",".join(values)
            rows = [part.get(family.name, {}).get(key, []) for part in taken]
            columns = zip(*(row for row in rows if len(row) == family.width), strict=True)
            cells[key] = [family.picked(column) for column in columns] or [0] * family.width
    return merged
