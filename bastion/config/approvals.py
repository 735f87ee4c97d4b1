"""The section about requests for approval (L2)."""

from __future__ import annotations

from dataclasses import dataclass

from bastion.options import option
from bastion.options.kinds import duration


@dataclass(frozen=True, slots=True)
class Approvals:
    """How long what rules want approved (`approval`) may be answered and used (`docs/approvals.md`)."""

    pending: float = option(
        duration(60, 7 * 86400), "A request that nobody has answered for this long expires.", default=3600.0
    )
    valid: float = option(
        duration(10, 86400), "An approval that has not been used for this long expires.", default=900.0
    )
