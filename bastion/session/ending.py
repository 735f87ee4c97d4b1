"""How a session ended, and the one line that the engineer reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bastion.errors import EndReason, PolicyReason, Refused
from bastion.transport.settings import ClosedBy, CloseReason
from bastion.wire.numbers import Disconnect
from bastion.wire.printable import printable, quoted

BEFORE_IT_BEGAN: Final = {
    EndReason.KILLED: PolicyReason.KILLED,
    EndReason.LOCKED: PolicyReason.LOCKED,
    EndReason.RIGHTS_WITHDRAWN: PolicyReason.ACCOUNT_GONE,
}
"""What ends something that runs -> what refuses it while it is still being opened."""

# Characters of a peer's own words that are kept.
DETAIL_LIMIT = 200


@dataclass(frozen=True, slots=True)
class End:
    """One ending: `text` is ours and safe to show, `code` the DISCONNECT code for the engineer's leg."""

    reason: EndReason
    text: str
    code: int = Disconnect.BY_APPLICATION
    ref: str = ""

    @property
    def line(self) -> str:
        """The line for the engineer."""
        ref = f" (ref {self.ref})" if self.ref else ""
        return f"bastion: {self.text}{ref}"

    @property
    def refusal(self) -> Refused:
        """The same for what is still being opened."""
        return Refused(BEFORE_IT_BEGAN[self.reason], self.text)

    @classmethod
    def of_close(cls, reason: EndReason, why: CloseReason) -> End:
        """The ending when a leg's connection closed; `why` is the transport's CloseReason."""
        who = "the target" if reason is EndReason.TARGET_CLOSED else "the client"
        detail = ""
        if why.text:
            ours = why.by is ClosedBy.US
            detail = printable(why.text, DETAIL_LIMIT) if ours else quoted(why.text, DETAIL_LIMIT)
        return cls(reason, f"{who} closed the connection" + (f": {detail}" if detail else ""))
