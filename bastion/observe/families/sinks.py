"""What is counted of sinks of the audit log (L0, pure): by kind, as their names are the operator's own."""

from __future__ import annotations

from typing import Final

from bastion.observe.family import Label, Merge, counter, gauge, reasons
from bastion.observe.labels import SINK_KINDS, SinkReason

_KIND: Final = Label("kind", SINK_KINDS)

SINKS: Final = gauge(
    "audit_sinks", "Sinks of the audit log, by how they are.", Label("state", ("ok", "failing"))
)
SINK_BEHIND_LINES: Final = gauge(
    "audit_sink_behind_lines",
    "Lines of the audit log that a sink has not confirmed: of the one of that kind that is furthest behind.",
    _KIND,
    merge=Merge.MAX,
)
SINK_BEHIND_BYTES: Final = gauge(
    "audit_sink_behind_bytes",
    "The same in bytes of the log's files, packed ones as they are.",
    _KIND,
    merge=Merge.MAX,
)
SINK_BEHIND_SECONDS: Final = gauge(
    "audit_sink_behind_seconds",
    "Age of the oldest line that a sink has not confirmed: of the one of that kind that is furthest behind.",
    _KIND,
    merge=Merge.MAX,
)
SINK_SPOOL_ENDING: Final = gauge(
    "audit_sink_spool_ending",
    "1: the oldest file of the log has lines that a sink has not got, and the next rotation may remove it.",
    _KIND,
    merge=Merge.MAX,
)
SINK_LINES: Final = counter(
    "audit_sink_lines_total", "Lines of the audit log that sinks have confirmed.", _KIND
)
SINK_LINES_REFUSED: Final = counter(
    "audit_sink_lines_refused_total",
    "Lines that a sink did not take for what they are, and that were left out after it had taken others.",
    _KIND,
)
SINK_LINES_LOST: Final = counter(
    "audit_sink_lines_lost_total", "Lines whose file was removed before a sink had got them.", _KIND
)
SINK_DELIVERIES: Final = counter(
    "audit_sink_deliveries_total",
    "Deliveries to sinks, by what came of them.",
    _KIND,
    reasons("result", SinkReason),
)
SINK_STARTS: Final = counter(
    "audit_sink_process_starts_total", "Starts of the process that sends the audit log on."
)
