"""Which group gives which role."""

from __future__ import annotations

from bastion.assembly.roles import role_groups
from bastion.config.outputs import Control
from bastion.control.roles import Role


def test_roles_have_their_groups():
    groups = role_groups(Control(auditor_group="readers"))
    assert groups == {
        Role.ADMIN: "bastion-admin",
        Role.RESPONDER: "bastion-responder",
        Role.APPROVER: "bastion-approver",
        Role.AUDITOR: "readers",
    }
