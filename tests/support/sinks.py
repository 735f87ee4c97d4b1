"""Receivers of the audit log, as strict as the real ones are, and the process that sends it."""

from __future__ import annotations

import http.server
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from bastion.clock import FixedClock, SystemClock
from bastion.observe.audit import AuditLog
from bastion.observe.meters import Meters
from bastion.sinks.lines import AuditLine, read_audit_line
from bastion.sinks.report import Report, read_report
from tests.support.audit_lines import Told
from tests.support.net import LOOPBACK, free_port, is_listening
from tests.support.pki import Issued

PATIENCE = 30.0


def lines_of(*files: Path) -> list[AuditLine]:
    """Of plain files, in order."""
    found = [read_audit_line(raw) for file in files for raw in file.read_bytes().splitlines()]
    return [line for line in found if line is not None]


class Log:
    """An audit log of a test, rotated as logrotate does."""

    def __init__(self, path: Path, clock: FixedClock | None = None) -> None:
        self.path = path
        self.clock = clock or SystemClock()
        self._open()
        self.written = 0

    def _open(self) -> None:
        self._log = AuditLog(str(self.path), self.clock, Meters(), required=True)

    def write(self, count: int = 1, **fields: Any) -> None:
        for _ in range(count):
            self.written += 1
            self._log.emit(Told("lobby", user="alice", command="targets", number=self.written, **fields))

    def rotate(self, name: str) -> Path:
        """By rename and reopening. The new name."""
        if isinstance(self.clock, FixedClock):
            self.clock.advance(1.0)
        moved = self.path.with_name(self.path.name + name)
        self.path.rename(moved)
        self.reopen()
        return moved

    def reopen(self) -> None:
        self._log.reopen()

    def close(self) -> None:
        self._log.close()


class Receiver:
    """Loki, Elasticsearch and an OpenTelemetry collector, as far as they take lines. What it keeps outlives `stop`."""

    def __init__(self, server: Issued | None = None, client_ca: Path | None = None) -> None:
        self.port = free_port()
        self._tls = _server_context(server, client_ca) if server else None
        self.scheme = "https" if server else "http"
        self.got: list[str] = []  # every line that came, in order
        self.kept: dict[str, str] = {}  # by id, or by what else tells doubles
        self.headers: list[Mapping[str, str]] = []
        self.bodies: list[bytes] = []
        self.refuses: Callable[[str], bool] = lambda text: False
        self.answers: tuple[int, Mapping[str, str], bytes] | None = None  # whatever comes
        self.breaks = 0  # so many deliveries are kept, and their connections broken before the answer
        self._came = threading.Condition()
        self._server: http.server.ThreadingHTTPServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        receiver = self

        class Post(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers, answer = receiver.take(self.path, dict(self.headers), body)
                if receiver.breaks:
                    receiver.breaks -= 1
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                pass  # a client that does not believe the certificate

            def get_request(self) -> tuple[socket.socket, Any]:
                made, address = super().get_request()
                made.settimeout(PATIENCE)
                if receiver._tls is not None:
                    made = receiver._tls.wrap_socket(made, server_side=True, do_handshake_on_connect=False)
                return made, address

        self._server = Server((LOOPBACK, self.port), Post)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, done: Callable[[], bool], why: str) -> None:
        with self._came:
            assert self._came.wait_for(done, PATIENCE), why

    def take(
        self, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        with self._came:
            self.headers.append(headers)
            self.bodies.append(body)
            try:
                if self.answers is not None:
                    return self.answers
                shape = {"/loki/api/v1/push": self._loki, "/_bulk": self._elastic, "/v1/logs": self._otlp}[
                    path
                ]
                return shape(body)
            finally:
                self._came.notify_all()

    def _loki(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """All or nothing; the same line of the same stream at the same time is one."""
        streams = json.loads(body)["streams"]
        if not streams:
            return 422, {}, b"at least one stream is needed"
        rows = [(json.dumps(one["stream"], sort_keys=True), *row) for one in streams for row in one["values"]]
        assert all(len(row) == 3 and row[1].isdigit() for row in rows)
        if any(self.refuses(text) for _, _, text in rows):
            return 400, {}, b"an entry is refused"
        for labels, stamp, text in rows:
            self.got.append(text)
            self.kept[f"{labels} {stamp} {text}"] = text
        return 204, {}, b""

    def _elastic(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        assert body.endswith(b"\n")
        rows = [json.loads(row) for row in body.splitlines() if row]
        if not rows:
            return 400, {}, b'{"error":"request body is required"}'
        items = []
        for action, document in zip(rows[::2], rows[1::2], strict=True):
            name, text = action["create"]["_id"], document["message"]
            status = 400 if self.refuses(text) else 409 if name in self.kept else 201
            items.append({"create": {"_id": name, "status": status}})
            if status != 400:
                self.got.append(text)
                self.kept.setdefault(name, text)
        return (
            200,
            {},
            json.dumps({"errors": any(i["create"]["status"] > 201 for i in items), "items": items}).encode(),
        )

    def _otlp(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        rejected = 0
        for resource in json.loads(body)["resourceLogs"]:
            for record in resource["scopeLogs"][0]["logRecords"]:
                attributes = {one["key"]: one["value"] for one in record["attributes"]}
                text = record["body"]["stringValue"]
                if self.refuses(text):
                    rejected += 1
                    continue
                self.got.append(text)
                self.kept.setdefault(attributes["log.record.uid"]["stringValue"], text)
        partial = {"partialSuccess": {"rejectedLogRecords": str(rejected)}} if rejected else {}
        return 200, {}, json.dumps(partial).encode()


def _server_context(server: Issued, client_ca: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class SyslogServer:
    """A server of RFC 5425 that a test can make ill: it keeps messages, and ends connections as it is told to."""

    def __init__(self, server: Issued | None = None, client_ca: Path | None = None) -> None:
        self._tls = _server_context(server, client_ca) if server else None
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.messages: list[bytes] = []
        self.resets_after: int | None = None  # bytes that are read before the connection is reset
        self.never_closes = False
        self.says = b""  # before it closes
        self._held: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for one in self._held:
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
                accepted.settimeout(PATIENCE)
                self._read(accepted)
            except ssl.SSLError:
                continue
            except OSError:
                if self._listener.fileno() < 0:
                    return

    def _read(self, accepted: socket.socket) -> None:
        link = accepted if self._tls is None else self._tls.wrap_socket(accepted, server_side=True)
        data = b""
        while piece := link.recv(65536):
            data += piece
            if self.resets_after is not None and len(data) >= self.resets_after:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                link.close()
                return
        self.messages += unframed(data)
        if self.never_closes:
            self._held.append(link)
            return
        if self.says:
            link.sendall(self.says)
        link.close()


def unframed(data: bytes) -> list[bytes]:
    """RFC 5425 section 4.3: each length is right, and nothing is left."""
    found, at = [], 0
    while at < len(data):
        begins = data.index(b" ", at, at + 10) + 1
        length = int(data[at : begins - 1])
        assert begins + length <= len(data)
        found.append(data[begins : begins + length])
        at = begins + length
    return found


class Sender:
    """`bastion.assembly.sending` over a configuration with these sinks."""

    def __init__(self, folder: Path, sinks: str, log: Path | None = None) -> None:
        self.folder, self.config = folder, folder / "bastion.toml"
        log = log or folder / "audit.jsonl"
        state = folder / "state"
        self.config.write_text(
            f'[audit]\nfile = "{log}"\n{sinks}\n[state]\ndirectory = "{state}"\nnode = "gw1"\n'
            f'[recording]\ndirectory = "{folder}"\n'
        )
        self.reports: dict[str, Report] = {}
        self.starts = 0
        self.start()

    def start(self) -> None:
        self.starts += 1
        command = [sys.executable, "-m", "bastion.assembly.sending", str(self.config)]
        self.errors = (self.folder / f"sender.{self.starts}.err").open("wb")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors
        )
        self._rest = b""

    def said(self) -> str:
        """All that it has written on standard error, in all of its lives."""
        return "".join(file.read_text() for file in sorted(self.folder.glob("sender.*.err")))

    def wait(self, name: str, done: Callable[[Report], bool], why: str, seconds: float = PATIENCE) -> Report:
        """Until a report of that sink is so."""
        until = time.monotonic() + seconds
        assert self.process.stdout is not None
        while True:
            found = self.reports.get(name)
            if found is not None and done(found):
                return found
            left = until - time.monotonic()
            assert left > 0, f"{why}: {found}: {self.said()}"
            if not select.select([self.process.stdout], [], [], left)[0]:
                continue
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, f"it has ended: {self.said()}"
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                report = read_report(line + b"\n")
                assert report is not None, line
                self.reports[report.name] = report

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self._gone()

    def stop(self) -> int:
        """As the gateway ends it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self._gone()

    def _gone(self) -> int:
        code = self.process.wait(20)
        for end in (self.process.stdin, self.process.stdout, self.errors):
            if end is not None:
                end.close()
        self.reports.clear()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


def rsyslog_missing() -> str:
    """Why rsyslog with TLS cannot run here, "" when it can."""
    if shutil.which("rsyslogd", path=os.environ.get("PATH", "") + ":/usr/sbin") is None:
        return "rsyslogd is not installed"
    if not any(Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so")):
        return "rsyslog-gnutls is not installed"
    return ""


_RSYSLOG = """
global(workDirectory="{folder}" maxMessageSize="256k"
       defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{ca}"
       defaultNetstreamDriverCertFile="{certificate}" defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="{auth}"{peers})
input(type="imtcp" port="{port}" address="127.0.0.1")
template(name="kept" type="string" string="%structured-data%\\t%msgid%\\t%msg%\\n")
action(type="omfile" file="{file}" template="kept" asyncWriting="off" flushOnTXEnd="on")
"""


class Rsyslog:
    """A real rsyslogd that speaks TLS by GnuTLS. `kept` are the lines that it has written to its file."""

    def __init__(self, folder: Path, ca: Path, server: Issued, client: str = "") -> None:
        """`client`: the name that a client's certificate must have; "": clients show none."""
        folder.mkdir()
        self._folder, self.port, self.file = folder, free_port(), folder / "kept"
        peers = f' permittedPeer=["{client}"]' if client else ""
        text = _RSYSLOG.format(
            folder=folder, ca=ca, certificate=server.certificate, key=server.key, port=self.port, file=self.file,
            auth="x509/name" if client else "anon", peers=peers,
        )  # fmt: skip
        (folder / "rsyslog.conf").write_text(text)
        self.start()

    def start(self) -> None:
        command = ["rsyslogd", "-n", "-f", self._folder / "rsyslog.conf", "-i", self._folder / "pid"]
        environment = os.environ | {"PATH": os.environ.get("PATH", "") + ":/usr/sbin"}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        until = time.monotonic() + PATIENCE
        while not is_listening(self.port):
            assert time.monotonic() < until and self._process.poll() is None, (
                self._folder / "log"
            ).read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(20)
        (self._folder / "pid").unlink(missing_ok=True)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(20)

    def kept(self) -> list[tuple[str, str, str]]:
        """(structured data, MSGID, message) of each line, doubles included."""
        if not self.file.exists():
            return []
        rows = [row.split("\t") for row in self.file.read_text().splitlines()]
        return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]
