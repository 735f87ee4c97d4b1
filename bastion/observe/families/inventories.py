"""What is counted of inventories that are asked (L0, pure)."""

from __future__ import annotations

from typing import Final

from bastion.errors import InventoryReason
from bastion.observe.family import Label, Merge, counter, gauge, reasons

STATES: Final = ("ok", "failing", "expired")

INVENTORIES: Final = gauge(
    "inventories",
    "Inventories that are asked: by how they are; of one that is failing the last answer counts.",
    Label("state", STATES),
)
INVENTORY_AGE_SECONDS: Final = gauge(
    "inventory_age_seconds",
    "Age of the oldest answer of an inventory that counts, or counted.",
    merge=Merge.MAX,
)
INVENTORY_ANSWERS: Final = counter(
    "inventory_answers_total",
    "Questions to inventories, by what came of them.",
    reasons("result", InventoryReason),
)
INVENTORY_STARTS: Final = counter(
    "inventory_process_starts_total", "Starts of the process that asks inventories."
)
