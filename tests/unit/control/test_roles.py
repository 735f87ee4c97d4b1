"""Who may what: every command that people may give is in the table, and nothing that processes ask each other."""

from __future__ import annotations

import pytest

from bastion.control.node import REQUESTS
from bastion.control.roles import MAY, Role, may
from bastion.observe.labels import CONTROL_COMMANDS, OTHER

ACTS = {
    "kill",
    "lock",
    "unlock",
    "clear_penalties",
    "log_level",
    "upgrade",
    "reload",
    "totp_enrol",
    "totp_invite",
    "totp_reset",
    "break_glass_open",
    "break_glass_close",
}
BETWEEN_PROCESSES = {
    "set_locks",
    "kept_locks",
    "keep_lock",
    "account_id",
    "set_break_glass",
    "keep_break_glass",
    "kept_break_glass",
    "shared_locks",
    "confirm_locks",
    "share_penalties",
}


def test_every_command_has_its_roles_or_is_between_processes():
    assert set(MAY) | BETWEEN_PROCESSES == set(REQUESTS)
    assert set(MAY) & BETWEEN_PROCESSES == set()


@pytest.mark.parametrize("command", sorted(REQUESTS))
def test_what_acts_is_not_for_who_only_looks(command):
    allowed = {role for role in Role if may(command, frozenset((role,)))}
    assert not may(command, frozenset())
    if command in ("approval_answer", "deletion_ask", "deletion_answer"):
        assert allowed == {Role.ADMIN, Role.APPROVER}
    elif command in BETWEEN_PROCESSES:
        assert allowed == set()
    elif command in ACTS:
        assert Role.ADMIN in allowed and not allowed & {Role.AUDITOR, Role.APPROVER}
    else:
        assert {Role.ADMIN, Role.AUDITOR, Role.RESPONDER} <= allowed


def test_nothing_else_is_a_command():
    assert not may("shutdown", frozenset(Role))


def test_every_command_is_a_label_of_its_counter():
    assert set(CONTROL_COMMANDS) == set(REQUESTS) | {OTHER}
