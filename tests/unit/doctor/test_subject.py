"""Whom the gateway runs as, and what that user may."""

import os
import pwd

import pytest

from bastion.doctor.subject import ServiceUser, usual_user


def test_rights_are_those_of_owner_group_or_others(tmp_path):
    path = tmp_path / "file"
    path.touch()
    user = ServiceUser("x", 4242, 4343, frozenset((4343,)), False)
    for mode, uid, gid, may in [
        (0o600, 4242, 0, True),
        (0o040, 4242, 4343, False),  # the owner's bits count for the owner, whatever the group's say
        (0o640, 0, 4343, True),
        (0o640, 0, 0, False),
        (0o604, 0, 0, True),
    ]:
        status = os.stat_result((0o100000 | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))
        assert user.may(status, 4) is may
    assert ServiceUser.of("root").may(path.stat(), 7)


def test_the_usual_user_owns_the_recordings(gateway, look):
    subject = look()
    own = pwd.getpwuid(os.geteuid()).pw_name
    assert usual_user(subject.config) == own
    if os.geteuid() == 0:
        os.chown(gateway / "recordings", pwd.getpwnam("nobody").pw_uid, -1)
        assert usual_user(subject.config) == "nobody"
    (gateway / "recordings").rmdir()
    assert usual_user(subject.config) == own


def test_an_unknown_user_is_none():
    with pytest.raises(KeyError):
        ServiceUser.of("no-such-user")
