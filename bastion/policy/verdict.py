"""What policy answers when the relay asks: a `Verdict`, a plain value."""

from __future__ import annotations

from dataclasses import dataclass

from bastion.errors import PolicyReason


@dataclass(frozen=True, slots=True)
class Verdict:
    """Yes or no to one channel open or request.

    `reason` is `PolicyReason.ALLOWED` exactly when `allowed`; `rule` names the rule that decided ("" = none); `text`
    is the line the engineer reads when the answer is no. `allow_ssh`: SSH may pass inside the channel that was
    allowed. `runs`: this command runs in the place of what was asked for; `sees_asked`: its own server puts it there,
    and tells it what was asked for.
    """

    allowed: bool
    reason: PolicyReason
    rule: str = ""
    text: str = ""
    allow_ssh: bool = False
    runs: str | None = None
    sees_asked: bool = False
