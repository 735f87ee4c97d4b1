"""What is remembered of one person (L1, pure): bounded and decaying.

The limits below come to 250 KB for somebody who does everything at once with the longest names, and 3 KB for most.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bastion.detect.memory import Daily, Hours, Names, Recent
from bastion.detect.places import Spot

MOST_NETWORKS: Final = 32
MOST_DESTINATIONS: Final = 128
MOST_TARGETS: Final = 256
MOST_TOLD: Final = 64
MOST_TRIED: Final = 512  # targets of the last minutes; new ones and refusals are at most MOST_RECENT
MOST_RECENT: Final = 128
MOST_OPENINGS: Final = 256  # tunnels of late, in which a rhythm is looked for
MOST_CERTIFICATES: Final = 16
MOST_SOFT: Final = 16


@dataclass(slots=True)
class Person:
    """One person. Times in seconds since 1970, 0 for never."""

    first: float = 0.0
    last: float = 0.0  # the last login
    last_session: str = ""
    networks: Names = field(default_factory=lambda: Names(MOST_NETWORKS))
    destinations: Names = field(default_factory=lambda: Names(MOST_DESTINATIONS))
    targets: Names = field(default_factory=lambda: Names(MOST_TARGETS))
    rhythms: Names = field(default_factory=lambda: Names(MOST_DESTINATIONS))
    told: Names = field(default_factory=lambda: Names(MOST_TOLD))
    hours: Hours = field(default_factory=Hours)
    sftp: Daily = field(default_factory=Daily)
    tunnels: Daily = field(default_factory=Daily)
    burst: Daily = field(default_factory=Daily)  # targets within the window
    tried: Recent = field(default_factory=lambda: Recent(MOST_TRIED))
    fresh: Recent = field(default_factory=lambda: Recent(MOST_RECENT))  # those of them that were new
    refused: Recent = field(default_factory=lambda: Recent(MOST_RECENT))
    openings: Recent = field(default_factory=lambda: Recent(MOST_OPENINGS))
    certificates: Recent = field(default_factory=lambda: Recent(MOST_CERTIFICATES))
    soft: Recent = field(default_factory=lambda: Recent(MOST_SOFT))
    place: tuple[float, Spot, str, str] | None = None  # when, where, its network, the session
