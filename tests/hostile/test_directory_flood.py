"""Who gets the directory when many ask at once: by hand-made packets over TCP, with a real slapd behind TLS.

Nothing here is timed: the directory stands still until every question has come, and outcomes are counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from bastion.wire.data import boolean, string
from bastion.wire.keys import PrivateKey
from bastion.wire.numbers import MSG_SERVICE_ACCEPT, MSG_USERAUTH_FAILURE, MSG_USERAUTH_SUCCESS
from tests.hostile.rawssh import RawSsh, SocketWire
from tests.support.faulty_proxy import FaultyProxy
from tests.support.slapd import PASSWORD, Slapd, group, person, slapd_missing
from tests.support.sshd import sshd_missing
from tests.support.world import World, poll

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
    pytest.mark.skipif(bool(slapd_missing()), reason=slapd_missing() or "available"),
]

THREADS = 8
PATIENCE = 60.0
KEY = PrivateKey.generate_ed25519().public


class Site:
    """olga in slapd behind ldaps, and a proxy before it that can stand still."""

    def __init__(self) -> None:
        self.slapd = Slapd([person("olga"), group("ops", "olga")])
        self.slapd.start()
        self.proxy = FaultyProxy(self.slapd.tls_port)
        self.world = World(
            slapd=self.slapd,
            slapd_url=f"ldaps://127.0.0.1:{self.proxy.port}",
            ldap=f'ca_file = "{self.slapd.authority.certificate}"\nconnect_timeout = "60s"\n'
            'timeout = "60s"\ndeadline = "60s"\n',
            limits="penalties = { free = 1000, accounts = 1000 }",
        ).start()

    def close(self) -> None:
        self.world.close()
        self.proxy.close()
        self.slapd.close()

    def client(self) -> RawSsh:
        """Connected, and at the point where somebody says who they are."""
        wire = SocketWire.connect(self.world.port)
        wire.sock.settimeout(PATIENCE)
        client = RawSsh(wire)
        client.handshake()
        client.request_service()
        client.read_until(MSG_SERVICE_ACCEPT)
        return client

    def wait_until_busy(self) -> None:
        poll(lambda: self.world.metric("bastion_ldap_pool_in_use") == THREADS, PATIENCE)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


def query(client: RawSsh, user: str) -> None:
    """Would this key do (RFC 4252 section 7)? It needs no proof and costs who asks nothing."""
    client.request_login(
        user.encode(), b"publickey", boolean(False) + string("ssh-ed25519") + string(KEY.blob)
    )


def password(client: RawSsh) -> None:
    client.request_login(b"olga", b"password", boolean(False) + string(PASSWORD))


def answer(client: RawSsh) -> int:
    """SUCCESS or FAILURE, whatever banners come before."""
    while True:
        number = client.read()[0]
        if number in (MSG_USERAUTH_SUCCESS, MSG_USERAUTH_FAILURE):
            return number


def test_sixty_who_ask_about_keys_keep_nobody_with_a_password_out(site: Site) -> None:
    """All from one address, which may hold a hundred connections open."""
    with contextlib.ExitStack() as stack:
        strangers = [site.client() for _ in range(60)]
        honest = [site.client() for _ in range(12)]
        for client in strangers + honest:
            stack.callback(client.wire.close)
        site.proxy.stall()
        stack.callback(site.proxy.heal)
        for number, client in enumerate(strangers):
            query(client, f"guess{number}")
        site.wait_until_busy()
        for client in honest:
            password(client)
        site.proxy.heal()
        assert [answer(client) for client in honest] == [MSG_USERAUTH_SUCCESS] * 12
        assert [answer(client) for client in strangers] == [MSG_USERAUTH_FAILURE] * 60


def test_sixty_honest_logins_at_once_are_all_let_in(site: Site) -> None:
    with contextlib.ExitStack() as stack:
        office = [site.client() for _ in range(60)]
        for client in office:
            stack.callback(client.wire.close)
        site.proxy.stall()
        stack.callback(site.proxy.heal)
        for client in office:
            password(client)
        site.wait_until_busy()
        site.proxy.heal()
        assert [answer(client) for client in office] == [MSG_USERAUTH_SUCCESS] * 60
