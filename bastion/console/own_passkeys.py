"""Passkeys added and removed by their owners, and removed by admins (L4).

Invariants: one is added within minutes of a sign-in with more than a password, and never by whom a proxy let in; the
line about it stands in the audit log before it counts; with a passkey that is removed nobody stays signed in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bastion.auth.factors import PASSKEY
from bastion.console.accounts import LABEL_MAX, check_fresh, is_strong, label_of, page
from bastion.console.admission import TEXTS
from bastion.console.answers import Answer, document, see
from bastion.console.desk import Call
from bastion.console.reads import Trouble
from bastion.control.codec import to_json
from bastion.errors import ConsoleReason
from bastion.observe.events import AuditEvent
from bastion.observe.events.console import ConsolePasskeyAdded, ConsolePasskeyRemoved
from bastion.state.database import Database
from bastion.state.passkeys import MOST_OF_ONE, Passkey, find, keep, listed, remove

UNFIT: Final = (
    "that is no passkey that can be taken: load the page again, and use one that asks for a PIN or a finger"
)


async def add_passkey(call: Call) -> Answer:
    """Keep what the browser's authenticator has made."""
    desk, form, visit = call.desk, call.asked.form, call.somebody
    if desk.passkeys is None:
        raise Trouble(ConsoleReason.NOT_FOUND, "this console takes no passkeys")
    check_fresh(call)
    if not is_strong(visit):
        raise Trouble(ConsoleReason.STALE_SIGN_IN, TEXTS[ConsoleReason.STALE_SIGN_IN])
    label = label_of(form.get("label", ""))
    if not label:
        return await page(call, fault=f"give the passkey a name of up to {LABEL_MAX} characters")
    made = desk.passkeys.registered(form.get("passkey", ""), visit.key)
    if made is None:
        return await page(call, fault=UNFIT)
    passkey = Passkey(
        made.id,
        made.credential,
        made.public_key,
        visit.uid,
        visit.name,
        label,
        made.counter,
        int(made.synced),
        desk.clock.time(),
    )
    event = ConsolePasskeyAdded(passkey.id, label, made.synced)

    def kept(database: Database, told: Callable[[AuditEvent], None]) -> bool:
        return keep(database, passkey, lambda: told(event))

    if not await desk.reads.change(kept, call.emit, call.asker):
        return await page(call, fault=f"it is here already, or you have {MOST_OF_ONE} passkeys")
    return see("/account")


async def remove_passkey(call: Call) -> Answer:
    """One of one's own."""
    await _remove(call, call.somebody.uid)
    return see("/account")


async def remove_any_passkey(call: Call) -> Answer:
    """One of anybody's."""
    await _remove(call, None)
    return see("/accounts")


async def api_passkeys(call: Call) -> Answer:
    """Everybody's, for programs of those who keep the console."""
    call.note_read("accounts", "")
    found = await call.desk.reads.ask(listed, call.asker)
    return document({"passkeys": to_json(found)})


async def _remove(call: Call, uid: str | None) -> None:
    """Raises Trouble."""
    name, reads = call.asked.form.get("id", ""), call.desk.reads
    passkey = await reads.ask(lambda database: find(database, name, uid), call.asker)
    if passkey is None:
        raise Trouble(ConsoleReason.NOT_FOUND, "there is no such passkey")
    call.emit(ConsolePasskeyRemoved(passkey.id, passkey.name))
    await reads.ask(lambda database: remove(database, passkey.id), call.asker)
    call.desk.visits.end_those(passkey.uid, PASSKEY)
