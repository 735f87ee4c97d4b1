"""The door for emergencies: what a break-glass account needs besides its proof, and who hears of it (L3).

After the login as everybody's (`[login] require`; such an account has no password) it takes that the accounts are open,
a one-time code, and a reason, asked for by keyboard-interactive before the success. Invariants: every try is a line in
the audit log and a count, also that of a stranger who knows no more than the name; who has proved nothing is not told
that the name is a special one; without a reason nobody is let in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from twisted.internet.defer import CancelledError

from bastion.auth.break_glass import reason_in
from bastion.auth.context import AuthContext
from bastion.auth.factors import CODE
from bastion.auth.identity import Destination, Identity
from bastion.errors import AuthReason, PolicyReason, Refused
from bastion.observe.events.logins import BreakGlassUsed
from bastion.observe.meters import BREAK_GLASS
from bastion.policy.grant import FactorsNeeded
from bastion.wire.userauth import Prompt

CLOSED: Final = (
    "break-glass accounts are closed while the directory works: log in as yourself, or ask an admin"
)
ASKED: Final = "This account is for emergencies. The login is recorded, and whoever is on duty hears of it."
PROMPT: Final = "Reason: "
NO_REASON: Final = "a break-glass login needs a reason"
REASON_TIME: Final = 60.0
"""Seconds to type it."""

Prove = Callable[[Identity, Destination, FactorsNeeded], Awaitable[Identity]]
AskOne = Callable[[Prompt, str, float], Awaitable[bytes]]


def alarm(
    context: AuthContext, user: str, result: str, reason: str = "", *,
    opened_by: str = "", why: str = "",
) -> None:  # fmt: skip
    """A line and a count. The line is paid for by whoever causes it, the count is of all."""
    context.meters.add(BREAK_GLASS, result)
    line = BreakGlassUsed(
        connection=context.connection,
        user=user,
        source=context.source,
        result=result,
        reason=reason,
        opened_by=opened_by,
        why=why,
    )
    if result == "ok":
        context.audit.emit(line)
    else:
        context.rationed.note(context.purse, context.payer, line)


async def break_glass(
    context: AuthContext,
    opened_by: str,
    identity: Identity,
    destination: Destination,
    prove: Prove,
    ask: AskOne,
) -> Identity:
    """The identity with its code and reason. Raises Refused, and AuditFailed where a line must be there."""
    if not opened_by:
        alarm(context, identity.name, "closed")
        raise Refused(PolicyReason.ACCOUNT_GONE, CLOSED)
    try:
        if CODE not in identity.factors:
            needed = FactorsNeeded("a break-glass login", (CODE,))
            identity = await prove(identity, destination, needed)
        why = reason_in(await ask(Prompt(PROMPT, echo=True), ASKED, REASON_TIME))
        if not why:
            raise Refused(PolicyReason.FACTOR_NEEDED, NO_REASON)
    except (Refused, CancelledError) as error:
        reason = str(error.reason) if isinstance(error, Refused) else str(AuthReason.ABANDONED)
        alarm(context, identity.name, "refused", reason, opened_by=opened_by)
        raise
    alarm(context, identity.name, "ok", opened_by=opened_by, why=why)
    return replace(identity, why=why)
