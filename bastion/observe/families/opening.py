"""What is counted of the way into a session, step by step (L0, pure)."""

from __future__ import annotations

from typing import Final

from bastion.observe.family import PHASE_BUCKETS, Label, histogram

PROOFS: Final = ("publickey", "certificate", "password", "keyboard-interactive", "totp", "other")
STEPS: Final = ("policy", "record")

AUTH_SECONDS: Final = histogram(
    "auth_seconds",
    "Time from a proof to the answer that it is right; of refusals the time is no measure, it is made to tell nothing.",
    Label("method", PROOFS),
    buckets=PHASE_BUCKETS,
)
OPENING_STEP_SECONDS: Final = histogram(
    "opening_step_seconds",
    "Time that the gateway's own steps of opening a session took: the rules, and the first block of the recording.",
    Label("step", STEPS),
    buckets=PHASE_BUCKETS,
)
OPENING_SECONDS: Final = histogram(
    "opening_seconds",
    "From the last proof, or the approval, to a session that runs; nobody was asked anything meanwhile.",
    buckets=PHASE_BUCKETS,
)
FIRST_OUTPUT_SECONDS: Final = histogram(
    "first_output_seconds",
    "From the same moment to the first byte of the target's output.",
    buckets=PHASE_BUCKETS,
)
