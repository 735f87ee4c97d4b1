"""A mail server in a process of its own (RFC 5321), with TLS asked for, at once or not at all.

`python -m tests.support.smtpd CERTIFICATE KEY KEEP starttls|implicit|none NAME PASSWORD`: prints its port; each mail is
a line of JSON in KEEP. The local part of an address says what becomes of it: `refused` (550), `later` (451), `once`
(451 the first time). With a NAME mail is taken from whoever logs in so, behind TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class _Server:
    """All connections."""

    def __init__(self, keep: Path, tls: str, context: ssl.SSLContext, name: str, password: str) -> None:
        self.keep, self.tls, self.context = keep, tls, context
        self.name, self.login = name, f"\0{name}\0{password}".encode()
        self.seen: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await _Talk(self, reader, writer).talk()
        writer.close()


class _Talk:
    """One connection."""

    def __init__(self, server: _Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._tls, self._user = server.tls == "implicit", ""
        self._sender, self._to = "", ""

    async def talk(self) -> None:
        await self._say("220 mail.example.com ESMTP")
        while True:
            line = (await self._reader.readuntil(b"\r\n")).decode().rstrip("\r\n")
            verb, _, rest = line.partition(" ")
            answer = getattr(self, f"_{verb.lower()}", None)
            await self._say("500 what?" if answer is None else await answer(rest))
            if verb.upper() == "QUIT":
                return

    async def _say(self, *lines: str) -> None:
        self._writer.write("".join(f"{line}\r\n" for line in lines if line).encode())
        await self._writer.drain()

    async def _ehlo(self, _: str) -> str:
        more = ["STARTTLS"] if self._server.tls == "starttls" and not self._tls else []
        more += ["AUTH PLAIN"] if self._server.name and self._tls else []
        said = ["mail.example.com", *more]
        return "\r\n".join(f"250{' ' if at == len(said) else '-'}{one}" for at, one in enumerate(said, 1))

    async def _starttls(self, _: str) -> str:
        await self._say("220 go on")
        await self._writer.start_tls(self._server.context)
        self._tls = True
        return ""

    async def _auth(self, rest: str) -> str:
        if not self._tls or b64decode(rest.partition(" ")[2]) != self._server.login:
            return "535 that is not it"
        self._user = self._server.name
        return "235 welcome"

    async def _mail(self, rest: str) -> str:
        if self._server.name and not self._user:
            return "530 log in first"
        self._sender = rest.partition("<")[2].partition(">")[0]
        return "250 well"

    async def _rcpt(self, rest: str) -> str:
        to = rest.partition("<")[2].partition(">")[0]
        local = to.partition("@")[0]
        if local == "refused":
            return "550 there is nobody of that name"
        if local == "later" or (local == "once" and to not in self._server.seen):
            self._server.seen.add(to)
            return "451 come again"
        self._to = to
        return "250 well"

    async def _data(self, _: str) -> str:
        await self._say("354 go on")
        body = (await self._reader.readuntil(b"\r\n.\r\n"))[: -len(b".\r\n")]
        lines = [line.removeprefix(b".") for line in body.split(b"\r\n")]
        kept = {"from": self._sender, "to": self._to, "tls": self._tls, "user": self._user}
        with self._server.keep.open("a") as file:
            file.write(json.dumps(kept | {"body": b"\r\n".join(lines).decode()}) + "\n")
        return "250 taken"

    async def _rset(self, _: str) -> str:
        return "250 well"

    async def _quit(self, _: str) -> str:
        return "221 bye"


async def _main(certificate: str, key: str, keep: str, tls: str, name: str, password: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = _Server(Path(keep), tls, context, name, password)
    at_once = context if tls == "implicit" else None
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=at_once)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


class MailServer:
    """One that runs."""

    def __init__(self, port: int, keep: Path) -> None:
        self.port, self._keep = port, keep

    @property
    def mails(self) -> list[dict[str, Any]]:
        """What it has taken."""
        return (
            [json.loads(line) for line in self._keep.read_text().splitlines()] if self._keep.exists() else []
        )


@contextlib.contextmanager
def running(
    folder: Path, certificate: tuple[Path, Path], tls: str = "starttls", name: str = "", password: str = ""
) -> Iterator[MailServer]:
    """One in a process of its own."""
    keep = folder / "mails"
    arguments = [*map(str, certificate), str(keep), tls, name, password]
    command = [sys.executable, "-m", "tests.support.smtpd", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield MailServer(int(process.stdout.readline()), keep)
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
