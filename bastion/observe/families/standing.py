"""What is counted of limits: how near they are, and who has to wait (L0, pure)."""

from __future__ import annotations

from typing import Final

from bastion.observe.family import Label, Merge, counter, gauge

SESSIONS_LIMIT: Final = gauge(
    "sessions_limit", "Sessions that may run at the same time, over all workers.", merge=Merge.MAX
)
UNFINISHED_LOGINS: Final = gauge("unfinished_logins", "Connections that have not logged in yet.")
UNFINISHED_LOGINS_LIMIT: Final = gauge(
    "unfinished_logins_limit",
    "Of those, from where on sources that hold most are refused by chance, and where places are taken from them.",
    Label("mark", ("begin", "full")),
    merge=Merge.MAX,
)
PENALTIES: Final = gauge(
    "penalties",
    "Blocks after failed logins that run now: of an account from one source, and of a source as a whole.",
    Label("of", ("account", "source")),
    merge=Merge.MAX,
)
PENALTY_BLOCKS: Final = counter(
    "penalty_blocks_total", "Blocks that have begun, or were made longer.", Label("of", ("account", "source"))
)
PENALTY_CLAIMS_LEFT_OUT: Final = counter(
    "penalty_claims_left_out_total",
    "Penalties of other gateways that were not taken: malformed, of a source that is exempt, or about more people"
    " who have logged in here than one gateway may hold up.",
    Label("why", ("malformed", "known", "exempt")),
)
