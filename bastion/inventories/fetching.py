"""One question to an inventory: a program's output, or a page over HTTPS (L2). Blocks: call it in a thread.

Invariants: an answer is whole, within its time and its size, or none; the time holds for all of it, however slowly it
comes, and the size is looked at before anything is kept. No redirect is followed, no proxy used, and only TLS with a
certificate that proves the server's name is spoken. A token is sent to the one host that the URL names, and stands in
no error.
"""

from __future__ import annotations

import http.client
import os
import pwd
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

from bastion.ca.programs import Fault, Program, ProgramFailed
from bastion.ca.secrets import read_secret_file
from bastion.errors import BastionError, ConfigError, InventoryReason
from bastion.inventories.section import InventorySource

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

LATE: Final = 2.0
"""Seconds beyond its time in which an answer that was cut off has to come back."""

_PIECE: Final = 64 * 1024

_OF_PROGRAMS: Final = {
    Fault.TIMEOUT: InventoryReason.TIMEOUT,
    Fault.TOO_MUCH: InventoryReason.TOO_LARGE,
    Fault.GIVEN_UP: InventoryReason.TIMEOUT,
}


class NoAnswer(BastionError):
    """An inventory gave no answer that can be used. `text` is ours, and for operators."""

    def __init__(self, reason: InventoryReason, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


class Asking:
    """Asks one inventory, one question at a time: one that does not come back, in a look-up of a name for example, is
    waited for no longer than its time, and until it does there is no other."""

    def __init__(self, section: InventorySource, errors: int | None = subprocess.DEVNULL) -> None:
        """`errors`: where a program's standard error goes, as `subprocess` has it; None: to this process's."""
        self._section, self._errors = section, errors
        self._running: threading.Thread | None = None

    def answer(self) -> bytes:
        """The bytes of one answer. Raises NoAnswer."""
        if self._running is not None and self._running.is_alive():
            raise NoAnswer(InventoryReason.TIMEOUT, "the last question has not come back yet")
        question = self._question()
        came: list[bytes | BaseException] = []
        done = threading.Event()
        self._running = threading.Thread(target=_run, args=(question.ask, came, done), daemon=True)
        self._running.start()
        late = not done.wait(self._section.timeout)
        if late:
            question.cut()
            done.wait(LATE)
        if late or not came:
            raise NoAnswer(InventoryReason.TIMEOUT, f"no whole answer within {self._section.timeout:g} s")
        found = came[0]
        if isinstance(found, BaseException):
            raise found
        return found

    def _question(self) -> _Run | _Page:
        return _Run(self._section, self._errors) if self._section.command else _Page(self._section)


def _run(ask: Callable[[], bytes], came: list[bytes | BaseException], done: threading.Event) -> None:
    try:
        came.append(ask())
    except NoAnswer as none:
        came.append(none)
    except Exception as error:  # whatever it was: it is no answer
        came.append(NoAnswer(InventoryReason.FAILED, f"the gateway failed: {type(error).__name__}"))
    finally:
        done.set()


class _Run:
    """A program. `ask` blocks and raises NoAnswer; `cut` ends that, from another thread."""

    def __init__(self, section: InventorySource, errors: int | None) -> None:
        environment = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": _home()}
        # Its own deadline is behind that of whoever waits for it.
        most, timeout = section.max_bytes, section.timeout + LATE
        self._program = Program(section.command, timeout, most, "the program", environment, errors)

    def cut(self) -> None:
        self._program.kill()

    def ask(self) -> bytes:
        try:
            return self._program.output()
        except ProgramFailed as failed:
            reason = _OF_PROGRAMS.get(failed.fault, InventoryReason.PROGRAM)
            raise NoAnswer(reason, f"{failed.file}: {failed.problem}") from None


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"


class _Page:
    """A page over HTTPS, with the same two."""

    def __init__(self, section: InventorySource) -> None:
        self._section = section
        self._url = urlsplit(section.url or "")
        self._connection: http.client.HTTPSConnection | None = None
        self._is_cut = False

    def cut(self) -> None:
        self._is_cut = True
        connected = getattr(self._connection, "sock", None)
        if connected is not None:
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def ask(self) -> bytes:
        try:
            return self._get()
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error.reason or type(error).__name__
            raise NoAnswer(InventoryReason.TLS, f"{self._url.hostname}: TLS: {why}") from None
        except TimeoutError:
            raise NoAnswer(InventoryReason.TIMEOUT, f"{self._url.hostname} did not answer in time") from None
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise NoAnswer(InventoryReason.UNREACHABLE, f"{self._url.hostname}: {why}") from None
        except http.client.HTTPException as error:
            text = f"{self._url.hostname} does not speak HTTP as it should: {type(error).__name__}"
            raise NoAnswer(InventoryReason.BAD_ANSWER, text) from None

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "bastion"}
        if self._section.token_file is not None:
            try:
                token = read_secret_file(self._section.token_file, "inventory's token").decode("latin-1")
            except ConfigError as error:
                raise NoAnswer(InventoryReason.SETTINGS, str(error)) from None
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _context(self) -> ssl.SSLContext:
        file = self._section.ca_file
        try:
            return ssl.create_default_context(cafile=None if file is None else str(file))
        except (OSError, ssl.SSLError) as error:
            why = error.strerror or type(error).__name__
            raise NoAnswer(InventoryReason.SETTINGS, f"{file}: no CA can be read of it: {why}") from None

    def _get(self) -> bytes:
        url, timeout = self._url, self._section.timeout
        headers, context = self._headers(), self._context()
        made = http.client.HTTPSConnection(url.hostname or "", url.port, timeout=timeout, context=context)
        self._connection = made
        try:
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            made.connect()
            if self._is_cut:
                raise TimeoutError
            made.request("GET", path, headers=headers)
            return self._body(made.getresponse())
        finally:
            made.close()

    def _body(self, response: Any) -> bytes:
        host, most = self._url.hostname, self._section.max_bytes
        if response.status != 200:
            text = f"{host} answered with status {response.status}"
            if 300 <= response.status < 400:
                text += ": redirects are not followed, write where it leads"
            raise NoAnswer(InventoryReason.STATUS, text)
        if response.getheader("Content-Encoding", "identity").lower() != "identity":
            raise NoAnswer(InventoryReason.BAD_ANSWER, f"{host} packed its answer without being asked to")
        if (response.length or 0) > most:
            raise self._too_large()
        body = bytearray()
        while piece := response.read(min(_PIECE, most + 1 - len(body))):
            body += piece
            if len(body) > most:
                raise self._too_large()
        if self._is_cut:
            raise TimeoutError
        if response.length:  # it says how many bytes of Content-Length have not come
            raise NoAnswer(InventoryReason.BAD_ANSWER, f"{host} ended its answer in the middle")
        return bytes(body)

    def _too_large(self) -> NoAnswer:
        text = f"{self._url.hostname} answered with more than {self._section.max_bytes} bytes"
        return NoAnswer(InventoryReason.TOO_LARGE, text)
