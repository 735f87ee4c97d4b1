"""To the identity provider and back (L4).

Browsers bring no cookie that is `SameSite=Strict` when another site leads them here: what is brought back is a cookie
of its own, Lax, for this one sign-in; and whoever has signed in is shown a page that leads on, from which the cookie of
the visit goes along.
"""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bastion.auth.penalty_sources import source_block
from bastion.console.answers import Answer, cookie, cookie_name, see
from bastion.console.desk import Call
from bastion.console.entry import admit, form_again
from bastion.console.reads import Trouble
from bastion.console.routes import leads_back
from bastion.console.signing_in import SHOWN, Returned
from bastion.console.visits import ID_BYTES
from bastion.errors import AuthReason, ConsoleReason, Refused

if TYPE_CHECKING:  # it loads what verifies tokens, which comes with the extra `oidc`
    from bastion.console.elsewhere import Elsewhere, Told

BACK_MAX: Final = 1024
"""Characters of where somebody wanted to go that are kept meanwhile."""

_KEPT: Final = re.compile(r"[A-Za-z0-9_-]{43}\.[A-Za-z0-9_-]{0,1400}")


async def elsewhere(call: Call) -> Answer:
    """Lead a browser to the provider."""
    there, back = _there(call), call.asked.query.get("next", "")
    back = back if leads_back(back) and len(back) <= BACK_MAX else ""
    place = urlsafe_b64encode(back.encode()).decode("ascii").rstrip("=")
    browser = f"{secrets.token_urlsafe(ID_BYTES)}.{place}"
    try:
        where = await there.lead(browser.encode())
    except Refused:
        return form_again(call, back, SHOWN[AuthReason.FACTOR_UNAVAILABLE], 503)
    return see(where, _cookie(call, browser))


async def back_from_elsewhere(call: Call) -> Answer:
    """Somebody comes back: who is it?"""
    there, browser = _there(call), call.asked.cookies.get(_name(call), "")
    if not _KEPT.fullmatch(browser):
        browser = ""
    told: Told | Refused
    try:
        told = await there.told(call.asked.query, browser.encode(), source_block(call.asked.source))
    except Refused as refused:
        told = refused
    back = _place_in(browser)
    made = await admit(call, Returned(told, there.binding), back)
    gone = _cookie(call, "")
    if isinstance(made, Answer):
        return replace(made, headers=(*made.headers, gone))
    answer = call.page("returned.html", where=back or "/")
    return replace(answer, headers=(*answer.headers, made, gone))


def _there(call: Call) -> Elsewhere:
    """Raises Trouble."""
    if call.desk.elsewhere is None:
        raise Trouble(ConsoleReason.NOT_FOUND, "there is no such page")
    return call.desk.elsewhere


def _place_in(browser: str) -> str:
    """Where somebody wanted to go, of what a browser brings; "" for nowhere, and for what we have not written."""
    text = browser.partition(".")[2]
    try:
        back = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""
    return back if leads_back(back) else ""


def _name(call: Call) -> str:
    return cookie_name(call.desk.place.is_secure) + "-elsewhere"


def _cookie(call: Call, value: str) -> tuple[str, str]:
    return cookie(_name(call), value, call.desk.place.is_secure, "Lax")
