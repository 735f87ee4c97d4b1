"""Words that orders come with and are answered in (L3): reasons, what was selected, who did not answer."""

from __future__ import annotations

from bastion.control.asking import ControlError, Ended
from bastion.control.node import Selection
from bastion.errors import ControlReason
from bastion.policy.locks import MAX_REASON
from bastion.wire.printable import printable


def everywhere(ended: Ended) -> Ended:
    """`ended`, unless somebody is silent: then ControlError with what has been done all the same."""
    if not ended.silent:
        return ended
    silent = ", ".join(ended.silent)
    text = f"{silent} did not answer: told, and does it when it comes to; {ended.all} have ended elsewhere"
    raise ControlError(ControlReason.TIMEOUT, text)


def reason_of(text: str) -> str:
    """What engineers are told: one line that shows as itself. Raises ControlError when there is none."""
    shown = " ".join(text.split())
    if not shown:
        raise ControlError(
            ControlReason.MALFORMED, "a reason is needed: engineers read it, and so does the audit log"
        )
    if len(shown) > MAX_REASON:
        raise ControlError(ControlReason.MALFORMED, f"the reason is longer than {MAX_REASON} characters")
    return printable(shown, len(shown))


def in_words(selection: Selection) -> str:
    """What was selected, for the audit log."""
    named = (("id", selection.id), ("user", selection.user), ("target", selection.target))
    return ", ".join(f"{what} {value}" for what, value in named if value) or "all"
