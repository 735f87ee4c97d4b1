"""Who is there: the kernel says the account and its groups, and what is not known gives no role."""

from __future__ import annotations

import grp
import os
import pwd
import queue
import socket
import threading
from types import SimpleNamespace

import pytest

from bastion.control.asking import By
from bastion.control.peer import Caller, Peer, gid_of, in_thread, look_up, peer_of, unnamed
from bastion.control.roles import Role

GROUPS = {Role.ADMIN: "adm", Role.AUDITOR: "audio", Role.RESPONDER: "no-such-group-here"}


def test_a_socket_pair_is_us():
    one, two = socket.socketpair()
    with one, two:
        peer = peer_of(one)
    assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())
    assert peer.groups is not None and peer.groups >= set(os.getgroups()) | {os.getegid()}


def test_what_is_no_local_socket_has_no_peer():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as alone:
        peer = peer_of(alone)  # Linux answers with nobody
        assert peer.uid in (-1, 65534)


def test_root_and_the_gateways_own_account_are_admin():
    for uid in (0, os.geteuid()):
        assert look_up(Peer(1, uid, 0, frozenset()), {}).roles == {Role.ADMIN}
        assert unnamed(Peer(1, uid, 0, frozenset())).roles == {Role.ADMIN}


def test_roles_are_those_of_the_groups():
    stranger = max(entry.pw_uid for entry in pwd.getpwall()) + 1000
    audio = grp.getgrnam("audio").gr_gid
    found = look_up(Peer(1, stranger, 1, frozenset((audio,))), GROUPS)
    assert found.roles == {Role.AUDITOR} and found.by.name == f"uid {stranger}"
    assert look_up(Peer(1, stranger, 1, frozenset((audio + 100_000,))), GROUPS).roles == set()
    assert look_up(Peer(1, stranger, audio, None), GROUPS).roles == {
        Role.AUDITOR
    }  # more groups than are told


def test_who_speaks_for_others_is_in_the_group_for_that_or_may_do_everything():
    stranger = max(entry.pw_uid for entry in pwd.getpwall()) + 1000
    held = frozenset((grp.getgrnam("audio").gr_gid,))
    assert look_up(Peer(1, stranger, 1, held), {}, "audio") == Caller(
        By(stranger, f"uid {stranger}"), frozenset(), True
    )
    for speakers in ("", "adm", "no-such-group-here"):
        assert not look_up(Peer(1, stranger, 1, held), GROUPS, speakers).speaks
    assert unnamed(Peer(1, os.geteuid(), 0, frozenset())).speaks
    assert not unnamed(Peer(1, stranger, 0, held)).speaks


def test_more_groups_than_are_told_are_looked_up(monkeypatch):
    daemon = pwd.getpwnam("daemon")
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, grp.getgrnam("adm").gr_gid])
    found = look_up(Peer(1, daemon.pw_uid, daemon.pw_gid, None), GROUPS)
    assert found.by.name == "daemon" and Role.ADMIN in found.roles


def test_a_group_that_is_not_there_has_no_number():
    assert gid_of("no-such-group-here") is None and gid_of("adm") == grp.getgrnam("adm").gr_gid


@pytest.mark.parametrize("fault", [None, RuntimeError("x")])
def test_names_are_looked_up_in_a_thread(fault):
    calls = queue.Queue()
    reactor = SimpleNamespace(callFromThread=lambda *call: calls.put(call))
    found = Caller(unnamed(Peer(1, 1, 1, None)).by, frozenset())
    seen = []

    def work():
        seen.append(threading.current_thread() is threading.main_thread())
        if fault:
            raise fault
        return found

    in_thread(reactor, work, seen.append)
    then, answer = calls.get(timeout=10)
    assert then == seen.append and answer is (None if fault else found) and seen == [False]
