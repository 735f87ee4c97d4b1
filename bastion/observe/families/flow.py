"""What is counted of back-pressure: who does not take what is sent, and what waits for it (L0, pure)."""

from __future__ import annotations

from typing import Final

from bastion.observe.family import MICROSECONDS, Label, counter, gauge

LEGS: Final = ("engineer", "target")

PAUSED_SECONDS: Final = counter(
    "paused_seconds_total",
    "Time in which that end of a connection took nothing and whoever sends to it was not read, over all connections.",
    Label("leg", LEGS),
    scale=MICROSECONDS,
)
LEGS_PAUSED: Final = gauge("legs_paused", "Connections whose peer takes nothing now.", Label("leg", LEGS))
BUFFERED_BYTES: Final = gauge(
    "buffered_bytes",
    "Bytes that wait in the gateway's memory: for a peer that takes nothing, and in channels of outer connections.",
    Label("where", (*LEGS, "channels")),
)
