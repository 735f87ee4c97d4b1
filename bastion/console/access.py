"""Who can reach what, and by which rule (L4): what `bastion access` lists, of the policy as its files are now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from twisted.logger import Logger

from bastion.auth.identity import LOGIN_NAME, Account
from bastion.cli.access import document_of, embedded_accounts
from bastion.config.load import load
from bastion.console.answers import Answer, document
from bastion.console.desk import Call
from bastion.console.reads import Trouble
from bastion.console.signing_in import is_silent
from bastion.errors import ConfigError, ConsoleReason, LimitReason, Refused
from bastion.policy.access import Access, of_target, of_user

MOST_ROWS: Final = 2000
"""Of one answer."""

NAME_MAX: Final = 253

_log = Logger(namespace="bastion.console")


@dataclass(frozen=True, slots=True)
class Listed:
    """What was asked for, and the rows: MOST_ROWS and one more where there are more. `fault`: why there are none."""

    user: str = ""
    target: str = ""
    rows: tuple[Access, ...] = ()
    fault: str = ""

    @property
    def more(self) -> bool:
        return len(self.rows) > MOST_ROWS


async def _listed(call: Call) -> Listed:
    query = call.asked.query
    user, target = (query.get(name, "").strip()[:NAME_MAX] for name in ("user", "target"))
    if not user and not target:
        return Listed()
    call.note_read("access", f"user={user}" if user else f"target={target}")
    if user and target:
        return Listed(user, target, fault="give a user or a target, not both")
    account = None
    if user:
        if not LOGIN_NAME.match(user):
            return Listed(user, fault="that is no user name: small letters, digits and . _ -")
        account = await _account(call, user)
        if account is None:
            return Listed(user, fault=f"the directory knows no {user}, or the account is closed")
    return await call.desk.reads.ask(lambda _: _rows(call, user, account, target), call.asker)


async def _account(call: Call, user: str) -> Account | None:
    """None: there is none that may log in. Raises Trouble while the directory is away."""
    try:
        return await call.desk.directory.lookup(user, call.asker)
    except Refused as refusal:
        if is_silent(refusal) or isinstance(refusal.reason, LimitReason):
            raise Trouble(ConsoleReason.UNAVAILABLE, "the directory does not answer") from None
        return None


def _rows(call: Call, user: str, account: Account | None, target: str) -> Listed:
    """In a thread: reading the policy takes a tenth of a second and more."""
    try:
        config = load(call.desk.config_file)
        known = embedded_accounts(config) if account is None else []
    except ConfigError as error:
        _log.warn("the access page: {text}", text=str(error))
        text = "the configuration cannot be read as it is now: `bastion check` says why"
        raise Trouble(ConsoleReason.UNAVAILABLE, text) from None
    if account is not None:
        found = of_user(config.rules, config.inventory, account)
    else:
        place = config.inventory.find(target)
        if place is None:
            return Listed(target=target, fault=f"no target is called {target}")
        found = of_target(config.rules, place, known)
    return Listed(
        user, target, tuple(replace(row, origin=_place(row)) for row in islice(found, MOST_ROWS + 1))
    )


def _place(row: Access) -> str:
    """File and line; the folder is the gateway's own business."""
    return row.origin.rpartition("/")[2]


async def access(call: Call) -> Answer:
    """The page."""
    listed = await _listed(call)
    return call.page(
        "access.html",
        400 if listed.fault else 200,
        listed=listed,
        rows=listed.rows[:MOST_ROWS],
        most=MOST_ROWS,
    )


async def api_access(call: Call) -> Answer:
    """The same for programs."""
    listed = await _listed(call)
    if listed.fault or not (listed.user or listed.target):
        text = listed.fault or "give a user or a target"
        return document({"error": str(ConsoleReason.BAD_REQUEST), "text": text}, 400)
    rows = [document_of(row) for row in listed.rows[:MOST_ROWS]]
    return document({"access": rows, "more": listed.more})
