"""Which group of the machine gives which role at the control socket (L4)."""

from __future__ import annotations

from bastion.config.outputs import Control
from bastion.control.roles import Role


def role_groups(control: Control) -> dict[Role, str]:
    """Role -> the group whose members have it."""
    return {
        Role.ADMIN: control.admin_group,
        Role.RESPONDER: control.responder_group,
        Role.APPROVER: control.approver_group,
        Role.AUDITOR: control.auditor_group,
    }
