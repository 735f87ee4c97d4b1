"""What is counted of detections: findings, posts, and how far behind the log they are (L0, pure)."""

from __future__ import annotations

from typing import Final

from bastion.errors import Detection, PostReason
from bastion.observe.family import Label, Merge, counter, gauge, reasons

WAYS: Final = ("alertmanager", "webhook")
LEVELS: Final = ("alert", "notice")

FINDINGS: Final = counter(
    "detection_findings_total",
    "Findings of the process that detects, by how loud they are; muted ones are posted to nobody.",
    reasons("detection", Detection),
    Label("level", (*LEVELS, "muted")),
)
FINDING_POSTS: Final = counter(
    "detection_posts_total",
    "Posts of findings that were tried, by what came of them; `dropped` counts findings.",
    Label("to", WAYS),
    reasons("result", PostReason),
)
FINDINGS_WAITING: Final = gauge(
    "detection_posts_waiting", "Findings that are to be posted.", Label("to", WAYS), merge=Merge.MAX
)
DETECTOR_BEHIND_SECONDS: Final = gauge(
    "detector_behind_seconds",
    "Seconds since the process that detects had last read the log to its end and kept what it found; 0 without one.",
    merge=Merge.MAX,
)
DETECTION_MUTES: Final = gauge("detection_mutes", "Mutes of findings in force.", merge=Merge.MAX)
DETECTOR_STARTS: Final = counter(
    "detector_starts_total", "Starts of the process that detects; more than one a reload is a fault."
)
