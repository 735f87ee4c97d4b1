"""One's own account in the console, and everybody's for admins (L4): API tokens made, listed and taken away.

Invariants: a token is shown once, in the answer that made it, to whom it belongs; the line about it stands in the audit
log before it is in the store; whoever has signed in a while ago, or was let in by a proxy, makes none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from bastion.auth.factors import PASSKEY
from bastion.console.answers import Answer, document, see
from bastion.console.desk import Call
from bastion.console.reads import Trouble
from bastion.console.routes import SCOPES
from bastion.console.tokens import make
from bastion.console.visits import Visit
from bastion.errors import ConsoleReason
from bastion.observe.events import About, AuditEvent
from bastion.observe.events.console import ConsoleTokenMade, ConsoleTokenRevoked
from bastion.options.kinds import seconds_of, show_seconds
from bastion.state.console_tokens import MOST_OF_ONE, KeptToken, find, keep, listed, revoke
from bastion.state.database import Database
from bastion.state.passkeys import Passkey
from bastion.state.passkeys import listed as passkeys_listed
from bastion.wire.printable import printable

FRESH_SIGN_IN: Final = 600.0
"""Seconds after a sign-in in which something may be made that outlives it: a cookie stolen later makes none."""

LABEL_MAX: Final = 64
SHORTEST: Final = 300.0
"""Seconds of a token's life."""


async def account(call: Call) -> Answer:
    """What hangs on one's own account."""
    call.note_read("account", "")
    return await page(call)


async def make_token(call: Call) -> Answer:
    """A new API token, shown this once."""
    check_fresh(call)
    form, longest = call.asked.form, call.desk.token_lifetime
    if longest is None:
        raise Trouble(ConsoleReason.BAD_REQUEST, "this console takes no API tokens")
    label = label_of(form.get("label", ""))
    scope = tuple(name for name in SCOPES if form.get(f"scope.{name}"))
    life = seconds_of(form.get("life", "").strip()) or 0.0
    if not label:
        return await page(call, fault=f"say in up to {LABEL_MAX} characters what the token is for")
    if not scope:
        return await page(call, fault="choose what the token may ask for")
    if not SHORTEST <= life <= longest:
        return await page(
            call, fault=f"give a time from {show_seconds(SHORTEST)} to {show_seconds(longest)}, such as 30d"
        )
    visit, now = call.somebody, call.desk.clock.time()
    text, presented = make()
    token = KeptToken(presented.id, label, visit.uid, visit.name, scope, now, visit.name, now + life)
    event = ConsoleTokenMade(token.id, visit.name, visit.name, label, scope, token.ends_at)

    def kept(database: Database, told: Callable[[AuditEvent], None]) -> bool:
        return keep(database, token, presented.digest, now, lambda: told(event))

    def tell(line: AuditEvent) -> None:
        call.emit(line, About(source=call.asked.source))

    if not await call.desk.reads.change(kept, tell, call.asker):
        return await page(call, fault=f"you have {MOST_OF_ONE} tokens: take one away first")
    return await page(call, made=text)


async def revoke_token(call: Call) -> Answer:
    """One of one's own."""
    await _revoke(call, call.somebody.uid)
    return see("/account")


async def accounts(call: Call) -> Answer:
    """Everybody's tokens, for those who keep the console."""
    tokens = await _everybodys(call)
    passkeys = await call.desk.reads.ask(passkeys_listed, call.asker)
    return call.page("accounts.html", tokens=tokens, passkeys=passkeys, now=call.desk.clock.time())


async def revoke_any_token(call: Call) -> Answer:
    """One of anybody's."""
    await _revoke(call, None)
    return see("/accounts")


async def api_me(call: Call) -> Answer:
    """Who asks, for programs: what the token in use may."""
    visit = call.somebody
    call.note_read("me", "")
    tokens = await _own(call)
    used = next((asdict(one) for one in tokens if one.id == visit.by_token), None)
    return document({"name": visit.name, "roles": sorted(visit.roles), "token": used})


async def api_tokens(call: Call) -> Answer:
    """Everybody's tokens, for programs of those who keep the console."""
    return document({"tokens": [asdict(one) for one in await _everybodys(call)]})


def label_of(text: str) -> str:
    """What somebody calls a token or a passkey, safe to show; "" for nothing, and for what is too long."""
    label = printable(" ".join(text.split()))
    return label if len(label) <= LABEL_MAX else ""


def check_fresh(call: Call) -> None:
    """Has somebody proved a moment ago who it is? Raises Trouble."""
    if not is_fresh(call):
        text = f"for that sign in here, no longer than {show_seconds(FRESH_SIGN_IN)} ago"
        raise Trouble(ConsoleReason.STALE_SIGN_IN, text)


def is_fresh(call: Call) -> bool:
    """Has somebody proved a moment ago who it is, here?"""
    visit = call.somebody
    return not visit.proxied and call.desk.clock.monotonic() - visit.began_at < FRESH_SIGN_IN


def is_strong(visit: Visit) -> bool:
    """With more than something that can be guessed or overheard?"""
    return PASSKEY in visit.factors or len(visit.factors) > 1


async def own_passkeys(call: Call) -> list[Passkey]:
    """Those of whoever asks."""
    uid = call.somebody.uid
    return await call.desk.reads.ask(lambda database: passkeys_listed(database, uid), call.asker)


async def _own(call: Call) -> list[KeptToken]:
    uid = call.somebody.uid
    return await call.desk.reads.ask(lambda database: listed(database, uid), call.asker)


async def _everybodys(call: Call) -> list[KeptToken]:
    call.note_read("accounts", "")
    return await call.desk.reads.ask(listed, call.asker)


async def page(call: Call, made: str = "", fault: str = "") -> Answer:
    """The page of one's own account; `made` is a token that is shown once."""
    desk, visit = call.desk, call.somebody
    longest, passkeys = desk.token_lifetime, await own_passkeys(call)
    creation = ""
    if desk.passkeys is not None and is_fresh(call) and is_strong(visit):
        creation = desk.passkeys.creation(visit.key, visit.uid, visit.name, passkeys)
    return call.page(
        "account.html",
        400 if fault else 200,
        tokens=await _own(call),
        now=call.desk.clock.time(),
        made=made,
        fault=fault,
        scopes=SCOPES if longest is not None else (),
        longest=show_seconds(longest or 0),
        passkeys=passkeys,
        creation=creation,
        has_passkeys=desk.passkeys is not None,
    )


async def _revoke(call: Call, uid: str | None) -> None:
    """Raises Trouble."""
    name, reads = call.asked.form.get("id", ""), call.desk.reads
    token = await reads.ask(lambda database: find(database, name, uid), call.asker)
    if token is None:
        raise Trouble(ConsoleReason.NOT_FOUND, "there is no such token")
    call.emit(ConsoleTokenRevoked(token.id, token.name, call.somebody.name), About(source=call.asked.source))
    await reads.ask(lambda database: revoke(database, token.id), call.asker)
