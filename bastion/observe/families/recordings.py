"""What is counted of recordings: written, sealed, uploaded, proved (L0, pure)."""

from __future__ import annotations

from typing import Final

from bastion.errors import RecorderReason, StoreReason
from bastion.observe.family import MICROSECONDS, Label, Merge, counter, gauge, reasons

TASKS: Final = ("verify", "index", "reviews")
"""Commands of an operator's timer that leave word of how they ended (`state.runs`), and the console about reviews."""

RECORDINGS_LIVE: Final = gauge("recordings_live", "Recordings being written now.")
RECORDER_BYTES: Final = counter("recorder_bytes_total", "Bytes written to recordings.")
RECORDER_BLOCKS: Final = counter("recorder_blocks_total", "Blocks written to recordings, one write(2) each.")
RECORDER_FAILURES: Final = counter(
    "recorder_failures_total",
    "Recordings that could not be made or kept; each ended its session.",
    reasons("reason", RecorderReason),
)
RECORDER_REFUSALS: Final = counter(
    "recorder_admission_refusals_total",
    "Sessions refused before they began because no recording was possible.",
    reasons("reason", RecorderReason),
)
RECORDER_GAP_BYTES: Final = counter(
    "recorder_gap_bytes_total",
    "Bulk bytes relayed but left out by the recording rate rule, each in a gap record.",
)
RECORDER_UNSYNCED_SECONDS: Final = gauge(
    "recorder_unsynced_seconds",
    "Age of the oldest recorded byte that no fsync has covered yet.",
    merge=Merge.MAX,
    scale=MICROSECONDS,
)
RECORDER_SLOW_WRITES: Final = counter(
    "recorder_slow_writes_total",
    "Writes of recordings that took a second or more; each stopped every session for as long.",
)
RECORDINGS_SEALED: Final = counter(
    "recordings_sealed_total",
    "Recordings that got their signed end: from their own session, or from another process after its own had died.",
    Label("by", ("session", "successor")),
)
RECORDINGS_UNSEALED: Final = counter(
    "recordings_unsealed_total",
    "Recordings that ended without one: the disk took no more, or what a dead process left cannot be read to its end.",
    Label("by", ("session", "successor")),
)
RECORDING_STORE_FREE_BYTES: Final = gauge(
    "recording_store_free_bytes", "Free space under the recording store.", merge=Merge.MAX
)
SPOOL_RECORDINGS: Final = gauge(
    "recording_spool_recordings", "Recordings that have ended and are not in the bucket yet.", merge=Merge.MAX
)
SPOOL_BYTES: Final = gauge("recording_spool_bytes", "Bytes of those recordings.", merge=Merge.MAX)
SPOOL_OLDEST_SECONDS: Final = gauge(
    "recording_spool_oldest_seconds",
    "Seconds since the end of the oldest session whose recording is not in the bucket yet.",
    merge=Merge.MAX,
)
UPLOADS: Final = counter(
    "recording_uploads_total",
    "Uploads of recordings that were tried, by what came of them.",
    reasons("result", StoreReason),
)
UPLOAD_BYTES: Final = counter("recording_upload_bytes_total", "Bytes of recordings sent to the bucket.")
UPLOADER_STARTS: Final = counter(
    "recording_uploader_starts_total",
    "Starts of the process that uploads; more than one a reload is a fault.",
)
TASK_LAST_RUN: Final = gauge(
    "task_last_run_seconds",
    "When that last ended on this gateway's recordings, as seconds since 1970; 0: never.",
    Label("task", TASKS),
    merge=Merge.MAX,
)
TASK_FAULTS: Final = gauge(
    "task_faults",
    "What its last run found wrong: recordings that are not whole, not there, or could not be read; overdue reviews.",
    Label("task", TASKS),
    merge=Merge.MAX,
)
