"""The demo's target: a small SSH server with a real shell, so that `make run` needs no sshd (L4).

Our transport and userauth below, Conch's connection service, session channel and SFTP server above. It
listens on 127.0.0.1 only, lets in nobody but holders of a certificate of the demo's upstream CA for its
one login, and runs everything as the user who started the demo. Not for anything but the demo.

Run as `python -m bastion.demo.target --folder demo`; says `{"event": "ready", "port": N}` on standard output.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import struct
import sys
import termios
from pathlib import Path
from typing import Any, Final

from twisted.conch import ttymodes
from twisted.conch.avatar import ConchUser
from twisted.conch.interfaces import ISession, ISessionSetEnv, ISFTPServer
from twisted.conch.ssh import filetransfer, forwarding
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.session import SUPPORTED_SIGNALS, SSHSession
from twisted.conch.unix import SFTPServerForUnixConchUser, UnixSFTPFile
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import react
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.components import registerAdapter
from twisted.python.filepath import FilePath
from zope.interface import implementer

from bastion.auth.certificates import CertificateFacts, check_user_certificate
from bastion.auth.credentials import Credential, read_credential, verify_possession
from bastion.ca.keys import load_certificate, load_private_key, load_public_keys
from bastion.clock import SystemClock
from bastion.errors import AuthReason, ProtocolError, Refused
from bastion.net import socket as io
from bastion.transport.settings import HostKey, TransportSettings
from bastion.transport.transport import Transport, server_transport
from bastion.userauth.server import UserauthService
from bastion.wire.certificates import UnverifiedCertificate
from bastion.wire.data import Reader, byte
from bastion.wire.kexinit import FRONT
from bastion.wire.keys import PublicKey
from bastion.wire.numbers import Disconnect

LOGIN: Final = "demo"
LOOPBACK: Final = "127.0.0.1"
SHELLS: Final = ("/bin/bash", "/bin/sh")
# Environment variable by which the demo finds, at its end, whatever its sessions left running.
MARK: Final = "BASTION_DEMO"
ENV_ALLOWED: Final = ("LANG", "LC_", "COLORTERM", "GIT_PROTOCOL")


class TargetUser(ConchUser):
    """Who is logged in: Conch's avatar, and what Conch's SFTP server asks of one."""

    def __init__(self, facts: CertificateFacts, home: Path, reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.facts, self.home, self.reactor = facts, home, reactor
        self.channelLookup[b"session"] = TargetSession
        if "permit-port-forwarding" in facts.extensions:
            self.channelLookup[b"direct-tcpip"] = forwarding.openConnectForwardingClient
        if facts.force_command is None:
            self.subsystemLookup[b"sftp"] = filetransfer.FileTransferServer

    def getHomeDir(self) -> FilePath[str]:
        return FilePath(str(self.home))

    def _runAsUser(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        """Conch would change users here; this process is the user already."""
        if callable(call):
            return call(*args, **kwargs)
        result = None
        for function, values in call:
            result = function(*values)
        return result


class TargetSession(SSHSession):
    """Conch's session channel, with signals, and with a process that is not read faster than the window."""

    def request_signal(self, data: bytes) -> int:
        # RFC 4254 section 6.9: the name without SIG
        name = Reader(data).text(32)
        process: Any = self.client and self.client.transport
        if name not in SUPPORTED_SIGNALS or process is None:
            return 0
        try:
            process.signalProcess(name)
        except ProcessExitedAlready:
            return 0
        return 1

    def eofReceived(self) -> None:
        if self.session is None and self.client is not None:  # a subsystem: sftp and scp ask how it ended
            conn: Any = self.conn
            conn.sendRequest(self, b"exit-status", struct.pack(">L", 0))
        super().eofReceived()

    def stopWriting(self) -> None:
        self._tell_process("pauseProducing")

    def startWriting(self) -> None:
        self._tell_process("resumeProducing")

    def _tell_process(self, method: str) -> None:
        process: Any = self.client and self.client.transport
        tell = getattr(process, method, None)
        if tell is not None:
            tell()


@implementer(ISession, ISessionSetEnv)
class TargetShell:
    """What a session channel may start: a login shell or a command, with or without a terminal."""

    def __init__(self, user: TargetUser) -> None:
        self._user = user
        self._environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(user.home),
            "USER": LOGIN,
            "LOGNAME": LOGIN,
            "SHELL": next(shell for shell in SHELLS if os.path.exists(shell)),
            MARK: os.environ.get(MARK, ""),
        }
        self._terminal: tuple[int, int, str] | None = None
        self._process: Any = None

    def setEnv(self, name: bytes, value: bytes) -> None:
        key = name.decode("ascii", "replace")
        if key.startswith(ENV_ALLOWED) and b"\0" not in value:
            self._environment[key] = value.decode("utf-8", "replace")

    def getPty(self, term: bytes, size: tuple[int, ...], modes: list[tuple[int, int]]) -> None:
        if "permit-pty" not in self._user.facts.extensions:
            raise PermissionError("the certificate does not permit a terminal")
        master, slave = os.openpty()
        self._terminal = (master, slave, os.ttyname(slave))
        _set_size(master, size)
        _set_modes(slave, modes)
        self._environment["TERM"] = term.decode("ascii", "replace")
        self._environment["SSH_TTY"] = self._terminal[2]

    def openShell(self, proto: Any) -> None:
        self._start(proto, None)

    def execCommand(self, proto: Any, command: bytes) -> None:
        self._start(proto, command)

    def _start(self, proto: Any, command: bytes | None) -> None:
        forced = self._user.facts.force_command
        if forced is not None:
            self._environment["SSH_ORIGINAL_COMMAND"] = (command or b"").decode("utf-8", "replace")
            command = forced.encode()
        shell = self._environment["SHELL"]
        arguments = [f"-{os.path.basename(shell)}"] if command is None else [shell, "-c", command]
        self._process = self._user.reactor.spawnProcess(
            proto,
            shell,
            arguments,
            self._environment,
            str(self._user.home),
            usePTY=self._terminal or False,
        )
        self._terminal = None  # Twisted has closed the slave, and owns the master

    def windowChanged(self, size: tuple[int, ...]) -> None:
        _set_size(self._process.fileno(), size)

    def eofReceived(self) -> None:
        if self._process is not None:
            self._process.closeStdin()

    def closed(self) -> None:
        if self._terminal is not None:
            os.close(self._terminal[0])
            os.close(self._terminal[1])
            self._terminal = None
        if self._process is not None:
            try:
                self._process.signalProcess("HUP")
            except (OSError, ProcessExitedAlready):
                pass
            self._process.loseConnection()


def _set_size(fd: int, size: tuple[int, ...]) -> None:
    """`size` is rows, columns, width and height in pixels, as Conch hands it over."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", *(min(value, 0xFFFF) for value in size)))


def _set_modes(fd: int, modes: list[tuple[int, int]]) -> None:
    """RFC 4254 section 8: those of the client's modes that this system knows; speeds mean nothing here."""
    attributes = termios.tcgetattr(fd)
    for number, value in modes:
        known = ttymodes.TTYMODES.get(number)
        if isinstance(known, tuple):
            index, flag = known[0], getattr(termios, known[1], 0)
            attributes[index] = attributes[index] | flag if value else attributes[index] & ~flag
        elif isinstance(known, str) and hasattr(termios, known):
            attributes[6][getattr(termios, known)] = bytes((value & 0xFF,))
    termios.tcsetattr(fd, termios.TCSANOW, attributes)


class TargetFiles(SFTPServerForUnixConchUser):
    """Conch's SFTP server, whose open files take attributes: scp sets mode and times before it closes one."""

    def openFile(self, filename: bytes, flags: int, attrs: dict[str, Any]) -> TargetFile:
        path = os.path.join(self.avatar.getHomeDir().path, os.fsdecode(filename))
        return TargetFile(self, path, flags, attrs)  # type: ignore[no-untyped-call]


class TargetFile(UnixSFTPFile):
    """One open file."""

    def setAttrs(self, attrs: dict[str, Any]) -> None:
        if "size" in attrs:
            os.ftruncate(self.fd, attrs["size"])
        if "uid" in attrs and "gid" in attrs:
            os.chown(self.fd, attrs["uid"], attrs["gid"])
        if "permissions" in attrs:
            os.chmod(self.fd, attrs["permissions"])
        if "atime" in attrs and "mtime" in attrs:
            os.utime(self.fd, (attrs["atime"], attrs["mtime"]))


registerAdapter(TargetShell, TargetUser, ISession)  # type: ignore[no-untyped-call]
registerAdapter(TargetFiles, TargetUser, ISFTPServer)  # type: ignore[no-untyped-call]


class OnlyCertificates:
    """userauth.authenticator.Authenticator: certificates of one CA for one login, and nothing else."""

    def __init__(self, connection: TargetConnection, cas: tuple[PublicKey, ...]) -> None:
        self.connection, self.cas = connection, cas

    def methods(self) -> tuple[str, ...]:
        return ("publickey",)

    def open(self, user: str, method: str) -> CertificateAttempt:
        return CertificateAttempt(self, user, method)

    def prompt(self, user: str) -> str:
        return ""

    def stop(self) -> None: ...


class CertificateAttempt:
    """userauth.authenticator.Attempt of the demo's target."""

    whole = True
    owed: tuple[str, ...] = ()

    def __init__(self, door: OnlyCertificates, user: str, method: str) -> None:
        self._door, self._user, self._method = door, user, method
        self._facts: CertificateFacts | None = None

    def none(self) -> Deferred[None]:
        return self._no()

    def password(self, password: str) -> Deferred[None]:
        return self._no()

    answer = password

    def read_key(self, algorithm: str, blob: bytes) -> Credential:
        return read_credential(algorithm, blob, self._judge, lambda microseconds: None)

    def verify(self, credential: Credential, algorithm: str, signature: bytes, data: bytes) -> None:
        verify_possession(credential, algorithm, signature, data, lambda microseconds: None)

    def key_known(self, credential: Credential) -> Deferred[None]:
        return succeed(None) if self._facts is not None else self._no()

    key_proved = key_known

    def keep(self) -> None:
        """One proof is enough here."""

    def settle(self, reason: AuthReason) -> None:
        if self._facts is not None and reason is AuthReason.OK:
            facts = self._facts
            print(f"accepted {self._user}: ID {facts.key_id} (serial {facts.serial})", file=sys.stderr)
        elif self._method != "none":
            print(f"refused {self._method}: {reason}", file=sys.stderr)

    def succeed(self) -> None:
        assert self._facts is not None
        self._door.connection.begin(self._facts)

    def _judge(self, claims: UnverifiedCertificate) -> None:
        if self._user != LOGIN:
            raise Refused(AuthReason.KEY_NOT_AUTHORISED, "only the demo's certificates log in here")
        now = SystemClock().time()
        self._facts = check_user_certificate(claims, self._door.cas, (LOGIN,), now, LOOPBACK)

    @staticmethod
    def _no() -> Deferred[None]:
        return fail(Refused(AuthReason.METHOD_NOT_OFFERED, "only certificates log in here"))


class ConchsTransport:
    """What Conch's connection service has below it: who is logged in, and a way to send."""

    def __init__(self, transport: Transport, avatar: TargetUser) -> None:
        self.avatar = avatar
        self._transport = transport

    def sendPacket(self, number: int, body: bytes) -> None:
        self._transport.send([byte(number) + body])


class TargetConnection:
    """One connection of the gateway: transport, login, and Conch's connection service on top."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.transport = server_transport(server.settings, server.reactor)
        self._userauth = UserauthService(self.transport, OnlyCertificates(self, server.cas), server.reactor)
        self.transport.service = self._userauth.receive
        self.transport.on_closed = self._closed
        self._channels: Any = None

    def begin(self, facts: CertificateFacts) -> None:
        """Logged in: the connection protocol begins."""
        user = TargetUser(facts, self._server.home, self._server.reactor)
        self._channels = SSHConnection()  # type: ignore[no-untyped-call]
        self._channels.transport = ConchsTransport(self.transport, user)
        self._channels.serviceStarted()
        self.transport.receiver = self.burst
        self._userauth.succeed()

    def burst(self, payloads: list[bytes]) -> None:
        """Connection messages of one read: each to Conch."""
        for payload in payloads:
            try:
                self._channels.packetReceived(payload[0], payload[1:])
            except (IndexError, KeyError, ValueError, struct.error):
                raise ProtocolError("a connection message could not be read") from None

    def _closed(self, reason: object) -> None:
        self._userauth.stop()
        self._server.connections.discard(self)
        if self._channels is not None:
            self._channels.serviceStopped()


class Server(ServerFactory[Any]):
    """What all connections share."""

    noisy = False

    def __init__(self, folder: Path, reactor: Any) -> None:
        keys = folder / "keys"
        host_key = load_private_key(keys / "target_host_key")
        certificate = load_certificate(keys / "target_host_key-cert.pub")
        self.settings = TransportSettings(
            algorithms=FRONT,
            host_keys=(HostKey(host_key, certificate.encode()), HostKey(host_key)),
            version="SSH-2.0-BastionDemoTarget",
        )
        self.cas = load_public_keys(keys / "upstream_ca.pub")
        self.home = folder / "target-home"
        self.reactor = reactor
        self.connections: set[TargetConnection] = set()

    def buildProtocol(self, addr: object) -> Transport:
        connection = TargetConnection(self)
        self.connections.add(connection)
        return connection.transport


def serve(reactor: Any, folder: str, port: str) -> Deferred[None]:
    """Listen and never fire; a signal stops the reactor, which closes every session."""
    server = Server(Path(folder).resolve(), reactor)
    listening = io.listen(reactor, int(port), server, interface=LOOPBACK)

    def close_all() -> None:
        for connection in list(server.connections):
            connection.transport.disconnect(Disconnect.BY_APPLICATION, "")

    reactor.addSystemEventTrigger("before", "shutdown", close_all)
    port_in_use: Any = listening
    print(json.dumps({"event": "ready", "port": port_in_use.getHost().port}), flush=True)
    return Deferred()


def main() -> None:
    """The command line of `python -m bastion.demo.target`."""
    parser = argparse.ArgumentParser(description="the demo's target; `bastion demo` starts it")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--port", default="0")
    chosen = parser.parse_args()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    observer: Any = textFileLogObserver(sys.stderr)
    warnings: Any = LogLevelFilterPredicate(LogLevel.warn)  # Conch has a word for every packet
    filtered: Any = FilteringLogObserver(observer, [warnings])
    globalLogBeginner.beginLoggingTo([filtered], redirectStandardIO=False, discardBuffer=True)
    react(serve, (chosen.folder, chosen.port))


if __name__ == "__main__":
    main()
