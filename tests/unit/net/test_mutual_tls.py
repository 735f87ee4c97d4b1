"""TLS between gateways: two real ends, back to back in memory, and ends that are not who they should be."""

from __future__ import annotations

import os
import ssl

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock

from bastion.clock import SystemClock
from bastion.errors import ConfigError
from bastion.net.mutual_tls import HANDSHAKE, LOOK, MutualTls, NodeTls, TlsFiles, context_of
from tests.support.node_certificates import BOTH, NodesCA


class Wire:
    """One end's transport: what it writes waits for `Pair.run`."""

    def __init__(self):
        self.sent, self.aborted, self.producer = b"", False, None

    def write(self, data):
        self.sent += data

    def registerProducer(self, producer, streaming):
        self.producer = producer

    def abortConnection(self):
        self.aborted = True


class Inside(Protocol):
    def __init__(self):
        self.got, self.lost = b"", False

    def dataReceived(self, data):
        self.got += data

    def connectionLost(self, reason=None):
        self.lost = True


class End:
    def __init__(self, clock, context, server, admits=True, time=None):
        self.inside, self.proved, self.over = Inside(), [], []
        self.wire = Wire()

        def admit(proved):
            self.proved.append(proved)
            return self.inside if admits else None

        self.tls = MutualTls(
            clock, time or SystemClock(), context, server, admit, lambda _, why: self.over.append(why)
        )


class Pair:
    def __init__(self, folder):
        self.ca = NodesCA(folder)
        self.clock = Clock()
        self.ends = []

    def files(self, name, **more):
        certificate, key = self.ca.node(name, **more)
        return TlsFiles(certificate, key, self.ca.certificate)

    def connect(self, server, client, **more):
        """Both ends with these files or contexts, after all that they have to say to each other."""
        contexts = [
            one if isinstance(one, ssl.SSLContext) else context_of(one, at == 0)
            for at, one in enumerate((server, client))
        ]
        self.ends = [End(self.clock, contexts[0], True, **more), End(self.clock, contexts[1], False)]
        for end in self.ends:
            end.tls.makeConnection(end.wire)
        self.run()
        return self.ends

    def run(self):
        one, other = self.ends
        while one.wire.sent or other.wire.sent:
            for end, far in ((one, other), (other, one)):
                data, end.wire.sent = end.wire.sent, b""
                if data:
                    far.tls.dataReceived(data)

    def close(self):
        for end in self.ends:
            end.tls.connectionLost()
        assert self.clock.getDelayedCalls() == []


@pytest.fixture
def pair(tmp_path):
    made = Pair(tmp_path)
    yield made
    made.close()


def test_both_prove_their_names_and_speak(pair):
    server, client = pair.connect(pair.files("gw1"), pair.files("gw2"))
    assert [proved.names for proved in server.proved] == [{"gw2"}]
    assert [proved.names for proved in client.proved] == [{"gw1"}]
    client.tls.write(b"a question")
    server.tls.write(b"x" * 200_000)
    pair.run()
    assert server.inside.got == b"a question" and client.inside.got == b"x" * 200_000
    assert b"a question" not in client.wire.sent
    server.tls.registerProducer("slow", True)
    assert server.wire.producer == "slow"
    client.tls.connectionLost()
    assert client.inside.lost and client.over == [""]


def refused(pair, server, client):
    """Whoever came is nobody: nothing is admitted at the server's end, and it is over there."""
    ends = pair.connect(server, client)
    assert ends[0].proved == [] and ends[0].wire.aborted and not ends[0].inside.got
    return ends[0].over[0]


def test_who_has_no_certificate_is_nobody(pair):
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    assert "certificate" in refused(pair, pair.files("gw1"), bare)


def test_who_has_one_of_another_authority_is_nobody(pair, tmp_path):
    (tmp_path / "other").mkdir()
    other = NodesCA(tmp_path / "other")
    certificate, key = other.node("gw2")
    assert refused(pair, pair.files("gw1"), TlsFiles(certificate, key, pair.ca.certificate))
    assert refused(pair, TlsFiles(certificate, key, pair.ca.certificate), pair.files("gw2")), (
        "nor is a server"
    )


@pytest.mark.parametrize("more", [{"days": -0.5}, {"usages": BOTH[:1]}])
def test_who_has_one_that_has_ended_or_is_for_something_else_is_nobody(pair, more):
    assert refused(pair, pair.files("gw1"), pair.files("gw2", **more))


def test_what_is_older_than_tls_1_3_is_not_spoken(pair):
    old = context_of(pair.files("gw2"), server=False)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    assert refused(pair, pair.files("gw1"), old)


def test_no_session_is_taken_up_again(pair):
    assert context_of(pair.files("gw1"), server=True).num_tickets == 0


def test_who_is_not_wanted_is_let_go(pair):
    server, client = pair.connect(pair.files("gw1"), pair.files("gw2"), admits=False)
    assert server.proved and server.wire.aborted and server.over == [""] and not server.inside.lost
    client.tls.write(b"let me")
    pair.run()
    assert server.inside.got == b""


@pytest.mark.parametrize(
    "said", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\x02\x00\x01", os.urandom(5000)]
)
def test_who_says_something_else_or_nothing_is_cut_off_in_time(pair, said):
    end = End(pair.clock, context_of(pair.files("gw1"), server=True), True)
    pair.ends = [end]
    end.tls.makeConnection(end.wire)
    if said:
        end.tls.dataReceived(said)
    pair.clock.advance(HANDSHAKE)
    assert end.wire.aborted and end.proved == [] and len(end.over) == 1 and end.over[0]
    end.tls.dataReceived(b"more")


def test_it_ends_with_the_certificate(pair):
    class Later(SystemClock):
        ahead = 0.0

        def time(self):
            return SystemClock.time() + self.ahead

    time = Later()
    server, _ = pair.connect(pair.files("gw1"), pair.files("gw2", days=1), time=time)
    pair.clock.advance(LOOK)
    assert not server.wire.aborted
    time.ahead = 2 * 86400
    pair.clock.advance(LOOK)
    assert server.wire.aborted and server.inside.lost and "ended" in server.over[0]


def test_a_goodbye_ends_it(pair):
    server, client = pair.connect(pair.files("gw1"), pair.files("gw2"))
    try:
        client.tls._tls.unwrap()
    except ssl.SSLWantReadError:
        pass
    client.tls._flush()
    pair.run()
    assert server.wire.aborted and server.inside.lost


# -- the files ---------------------------------------------------------------------------------------------------------


def test_a_certificate_that_is_replaced_is_used_and_a_broken_one_is_not(pair):
    files, faults = pair.files("gw1"), []
    tls = NodeTls(files, faults.append)
    first = tls.context(True)
    assert tls.context(True) is first
    os.utime(pair.files("gw1").certificate, ns=(1, 1))
    second = tls.context(True)
    assert second is not first and faults == []
    files.key.write_text("broken")
    assert tls.context(True) is second and tls.context(False) and len(faults) == 1
    files.key.unlink()
    assert tls.context(True) is second


@pytest.mark.parametrize(
    "fault", ["no key", "another's key", "open key", "no authority", "an empty authority"]
)
def test_files_that_cannot_be_used_are_said(pair, fault):
    files, other = pair.files("gw1"), pair.files("gw2")
    match fault:
        case "no key":
            files.key.unlink()
        case "another's key":
            files = TlsFiles(files.certificate, other.key, files.authority)
        case "open key":
            files.key.chmod(0o644)
        case "no authority":
            files = TlsFiles(files.certificate, files.key, files.key.parent / "none")
        case _:
            files.authority.write_text("")
    with pytest.raises(ConfigError):
        context_of(files, server=True)
