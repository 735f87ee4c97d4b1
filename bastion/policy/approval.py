"""Who has to approve before a session opens, as rules say it (L1, pure).

A rule names approvers, `group:NAME` or `user:NAME`, and one of them is enough for it. Of several rules that ask, each
asks for itself: whoever approves is an approver of every one of them. Invariant: nobody is an approver of nothing, so
a need that cannot be read is met by nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from bastion.auth.identity import LOGIN_NAME, group_form
from bastion.options import At, Kind, shown
from bastion.options.kinds import list_of, quoted

GROUP: Final = "group:"
USER: Final = "user:"

Needed = tuple[tuple[str, ...], ...]
"""Of each rule that asks its approvers, in a fixed order: equal needs are equal values."""


def _read_approver(value: object, at: At) -> str:
    if isinstance(value, str):
        if value.startswith(GROUP) and (name := group_form(value.removeprefix(GROUP))):
            return GROUP + name
        if value.startswith(USER) and LOGIN_NAME.match(value.removeprefix(USER)):
            return value
    raise at.wrong(f"{shown(value)} is no approver", APPROVERS.allowed)


_APPROVER: Kind[str] = Kind("approver", '"group:NAME" or "user:NAME"', _read_approver, quoted)
_LIST = list_of(_APPROVER, at_least=1)


def _read_approvers(value: object, at: At) -> tuple[str, ...]:
    return _LIST.read([value] if isinstance(value, str) else value, at)


APPROVERS: Kind[tuple[str, ...]] = Kind(
    "approvers", '"group:leads", or a list such as ["group:leads", "user:bob"]', _read_approvers, _LIST.write
)


def needed_by(approvers: Iterable[tuple[str, ...]]) -> Needed:
    """What rules with these approvers ask for together; those without any ask for nothing."""
    return tuple(sorted({tuple(sorted(set(one))) for one in approvers if one}))


def may_approve(needed: Needed, name: str, groups: Iterable[str]) -> bool:
    """May the account `name`, which is in `groups` (in their one form), approve what needs that?"""
    mine = {USER + name, *(GROUP + group for group in groups)}
    return bool(needed) and all(not mine.isdisjoint(one) for one in needed)


def in_words(needed: Needed) -> str:
    """`group leads or bob`; of several rules `(group leads) who is also (bob or carol)`."""
    told = [
        " or ".join(f"group {name[6:]}" if name.startswith(GROUP) else name[5:] for name in one)
        for one in needed
    ]
    return told[0] if len(told) == 1 else " who is also ".join(f"({one})" for one in told)


def as_text(needed: Needed) -> str:
    """One line for the store; equal for equal."""
    return json.dumps(needed, ensure_ascii=True, separators=(",", ":"))


def from_text(text: str) -> Needed:
    """`as_text` read back; what is none is () and approved by nobody."""
    try:
        document = json.loads(text)
    except ValueError:
        return ()
    if not isinstance(document, list) or not all(
        isinstance(one, list) and one and all(isinstance(name, str) for name in one) for one in document
    ):
        return ()
    return tuple(tuple(one) for one in document)
