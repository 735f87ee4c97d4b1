"""Signing in and out (L4)."""

from __future__ import annotations

import re
import secrets
from base64 import b32encode
from dataclasses import replace
from typing import Final

from twisted.internet.defer import Deferred

from bastion.auth.factors import CODE, PASSWORD
from bastion.auth.identity import Identity, shown_by
from bastion.auth.webauthn import asserted
from bastion.console.answers import Answer, cookie, cookie_name, see
from bastion.console.desk import Call
from bastion.console.passkeys import Passkeys
from bastion.console.reads import Trouble
from bastion.console.routes import LOOKS, leads_back
from bastion.console.signing_in import NotSignedIn, Returned, Shown, SigningIn, Typed, roles_of
from bastion.console.visits import ID_BYTES, Visit
from bastion.control.roles import Role
from bastion.errors import ConsoleReason, Refused
from bastion.observe.events import About
from bastion.observe.events.console import ConsoleRefused, ConsoleSignedIn
from bastion.policy.locks import party_of
from bastion.state.passkeys import Passkey, find, use

FIELDS: Final = ("name", "password", "code")

NO_ROLE: Final = "you have no role in this console: ask whoever keeps it"


def new_connection() -> str:
    """A name for the lines about one sign-in."""
    return b32encode(secrets.token_bytes(10)).decode("ascii").lower()


async def sign_in_form(call: Call) -> Answer:
    """The form; `next` is where somebody wanted to go."""
    return form_again(call, call.asked.query.get("next", ""))


async def home(call: Call) -> Answer:
    """Where somebody begins."""
    return see("/sessions" if call.somebody.roles & LOOKS else "/live")


async def sign_in(call: Call) -> Answer:
    """Prove who it is, and begin a visit."""
    desk, form = call.desk, call.asked.form
    back = form.get("next", "")
    given: Typed | Shown
    if desk.passkeys is not None and "passkey" in form:
        given = await _shown(call, desk.passkeys, form["passkey"])
    else:
        given = Typed(*(form.get(name, "") for name in FIELDS))
    made = await admit(call, given, back)
    if isinstance(made, Answer):
        return made
    return see(back if leads_back(back) else "/", made)


async def admit(call: Call, given: Typed | Shown | Returned, back: str) -> Answer | tuple[str, str]:
    """The cookie of a new visit, or the form again, with what is wrong."""
    desk, connection = call.desk, new_connection()
    context = desk.context(call.asked.source, connection)
    try:
        locks = await desk.reads.locks(call.asker)
        identity = await SigningIn(desk.reactor, context, locks).prove(given)
    except NotSignedIn as refused:
        return form_again(call, back, refused.text, 401)
    except Refused as refused:  # the audit log cannot be written
        raise Trouble(ConsoleReason.UNAUDITED, refused.text) from None
    roles = roles_of(identity.groups, desk.groups)
    about = About(connection=connection, user=identity.name, source=call.asked.source)
    if not roles:
        desk.rationed.note(
            desk.budget.identity(identity.name),
            identity.name,
            ConsoleRefused(ConsoleReason.NO_ROLE, call.found.route.name, call.asked.method, call.asked.path),
            about,
        )
        return form_again(call, back, NO_ROLE, 403)
    call.emit(ConsoleSignedIn(tuple(sorted(roles))), about)
    made = _begin(call, identity, roles)
    return cookie(cookie_name(desk.place.is_secure), made, desk.place.is_secure)


async def _shown(call: Call, passkeys: Passkeys, text: str) -> Shown:
    """What a browser brought of a passkey. Raises Trouble."""
    desk, browser = call.desk, _browser_of(call).encode()
    given, passkey = asserted(text), None
    if given is not None:
        wanted = given.id
        passkey = await desk.reads.ask(lambda database: find(database, wanted), call.asker)

    def judge(known: Passkey) -> int:
        assert given is not None
        return passkeys.judge(given, known, browser)

    def note(name: str, counter: int) -> Deferred[bool]:
        now = desk.clock.time()
        return desk.reads.ask(lambda database: use(database, name, counter, now), call.asker)

    return Shown(passkey, judge, note)


def _browser_of(call: Call) -> str:
    """What tells a browser from others before anybody has signed in with it; "" where it has nothing yet."""
    given = call.asked.cookies.get(_before(call), "")
    return given if re.fullmatch(r"[A-Za-z0-9_-]{43}", given) else ""


def _before(call: Call) -> str:
    return cookie_name(call.desk.place.is_secure) + "-before"


def _begin(call: Call, identity: Identity, roles: frozenset[Role]) -> str:
    """A new id, never one that a browser had before; whoever was signed in with that is no longer."""
    desk = call.desk
    before, _ = desk.visits.find(call.asked.cookies.get(cookie_name(desk.place.is_secure), ""))
    if before is not None:
        desk.visits.end(before, ConsoleReason.SIGNED_OUT)
    made, _ = desk.visits.begin(
        identity.name,
        identity.uid,
        roles,
        call.asked.source,
        factors=identity.factors,
        shown=shown_by(identity),
    )
    return made


async def sign_out(call: Call) -> Answer:
    """The visit is over, here and in the browser."""
    desk = call.desk
    desk.visits.end(call.somebody, ConsoleReason.SIGNED_OUT)
    secure = desk.place.is_secure
    taken = cookie(cookie_name(secure), "", secure)
    return see("/sign-in", taken, ("clear-site-data", '"cache", "storage"'))


async def proxied(call: Call) -> tuple[Visit, str] | None:
    """The visit of somebody whom a listed proxy names, begun now, and its id; None: nobody, or nobody with a role."""
    desk, name = call.desk, call.asked.user
    try:
        account = await desk.directory.lookup(name, call.asker)
        locks = await desk.reads.locks(call.asker)
    except (Refused, Trouble):
        return None
    if account.service is not None or account.only_targets:
        return None
    source = call.asked.source
    identity = Identity(account.name, account.uid, account.groups, account.source, ("proxy",), None, source)
    roles = roles_of(account.groups, desk.groups)
    from_now = desk.clock.time()
    if not roles or locks.party(party_of(identity), from_now) is not None:
        return None
    call.emit(ConsoleSignedIn(tuple(sorted(roles)), True), About(user=account.name, source=source))
    made, visit = desk.visits.begin(account.name, account.uid, roles, source, proxied=name)
    return visit, made


def form_again(call: Call, back: str, fault: str = "", status: int = 200) -> Answer:
    """The form, with what is wrong."""
    desk, request = call.desk, ""
    more: tuple[tuple[str, str], ...] = ()
    if desk.passkeys is not None:
        browser = _browser_of(call)
        if not browser:
            browser = secrets.token_urlsafe(ID_BYTES)
            more = (cookie(_before(call), browser, desk.place.is_secure),)
        request = desk.passkeys.request(browser.encode())
    answer = call.page(
        "sign_in.html",
        status,
        fault=fault,
        back=back if leads_back(back) else "",
        codes=any(CODE in chain for chain in desk.auth.chains),
        passwords=any(PASSWORD in chain for chain in desk.auth.chains),
        passkey=request,
        elsewhere="" if desk.elsewhere is None else desk.elsewhere.name,
    )
    return replace(answer, headers=more)
