"""What is counted of several gateways: which are there, and whether the locks are known (L0, pure)."""

from __future__ import annotations

from typing import Final

from bastion.errors import ControlReason
from bastion.observe.family import MICROSECONDS, Label, Merge, counter, gauge, reasons

STATES: Final = ("connected", "missing")

NODES: Final = gauge(
    "nodes",
    "Other gateways that are configured: those that answer, and those that do not.",
    Label("state", STATES),
)
LOCKS_CONFIRMED_AGE_SECONDS: Final = gauge(
    "locks_confirmed_age_seconds",
    "How long ago the store, or every other gateway, said what is locked; 0 where there are no other gateways.",
    merge=Merge.MAX,
    scale=MICROSECONDS,
)
UNCONFIRMED_REFUSALS: Final = counter(
    "locks_unconfirmed_refusals_total",
    "Sessions, tunnels and certificates refused because nobody had said for 30 s what is locked.",
)
NODE_REFUSALS: Final = counter(
    "node_refusals_total",
    "Connections and orders that came where other gateways connect to, and were refused.",
    reasons(
        "reason",
        (
            ControlReason.STRANGER,
            ControlReason.NO_ROLE,
            ControlReason.MALFORMED,
            ControlReason.UNKNOWN_COMMAND,
            ControlReason.TOO_MANY,
            ControlReason.SLOW,
        ),
    ),
)
