"""How commands speak to the running gateway (L4): the control socket, without a reactor."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, Self, TypeVar

from bastion.cli.output import fail
from bastion.config.outputs import Control, read_section
from bastion.control import frames
from bastion.control.codec import Unfit, from_json, to_json
from bastion.control.node import Request
from bastion.errors import ConfigError, ControlReason, ProtocolError

R = TypeVar("R")

PATIENCE: Final = 15.0
"""Seconds for an answer: the gateway gives its processes ten."""

READ: Final = 64 << 10

EXIT: Final = {
    ControlReason.NOT_FOUND: 1,
    ControlReason.ALREADY: 1,
    ControlReason.NO_ROLE: 1,
    ControlReason.BY_POLICY: 1,
    ControlReason.AMBIGUOUS: 2,
    ControlReason.MALFORMED: 2,
    ControlReason.UNKNOWN_COMMAND: 3,
}
"""Reason -> exit code (`bastion.cli.main`); all others are 3: the gateway, or a process of it, does not answer."""


class Asked(Exception):
    """The gateway has said no."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


class ControlClient:
    """One connection to the gateway of a configuration. Whatever goes wrong ends the command with words."""

    def __init__(self, config_file: Path) -> None:
        try:
            place = read_section(config_file, Control).place(config_file)
        except ConfigError as error:
            fail(str(error), 2)
        if place is None:
            fail(f'{config_file}: [control] socket = "off": this gateway can be asked nothing', 3)
        self._place = place
        self._socket = self._connect(place)
        self._reader = frames.FrameReader()
        self._waiting: list[dict[str, Any]] = []
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def readable(self, seconds: float) -> bool:
        """Has something come within that time?"""
        ready, _, _ = select.select([self._socket], [], [], seconds)
        return bool(ready)

    def _connect(self, place: Path) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(PATIENCE)
        try:
            made.connect(str(place))
        except FileNotFoundError:
            fail(f"no gateway runs with this configuration: there is no {place}", 3)
        except ConnectionRefusedError:
            fail(f"no gateway answers at {place}: the one that made it is gone", 3)
        except PermissionError:
            fail(f"you may not connect to {place}: be root, or in one of the groups of [control]", 3)
        except OSError as error:
            fail(f"{place}: {error.strerror or error}", 3)
        return made

    def ask(self, request: Request[R]) -> R:
        """The answer, or the end of the command in the gateway's words."""
        try:
            return self.answer(self.begin(request), request)
        except Asked as refusal:
            self.refused(refusal)

    def refused(self, refusal: Asked) -> NoReturn:
        """End the command as the gateway says."""
        known = {str(reason): code for reason, code in EXIT.items()}
        fail(refusal.text, known.get(refusal.reason, 3))

    def begin(self, request: Request[Any]) -> int:
        """Send the question; its number."""
        self._number += 1
        args = {name: value for name, value in to_json(request).items() if name != "by"}
        self._send({"id": self._number, "command": request.command, "args": args})
        return self._number

    def answer(self, number: int, request: Request[R]) -> R:
        """Wait for the answer. Raises Asked."""
        parts: list[str] = []
        give_up_at = time.monotonic() + max(PATIENCE, request.deadline or 0.0)
        while True:
            frame = self._next(max(0.1, give_up_at - time.monotonic()))
            if frame.get("id") != number:
                continue
            if "part" in frame:
                parts.append(str(frame["part"]))
                continue
            return self.result(frame, request, parts)

    def result(self, frame: Mapping[str, Any], request: Request[R], parts: list[str]) -> R:
        """The value in a last frame. Raises Asked."""
        error = frame.get("error")
        if isinstance(error, dict):
            raise Asked(str(error.get("reason")), str(error.get("text")))
        try:
            document = frames.whole(parts) if parts else frame.get("result")
            value: R = from_json(request.result, document, strict=False)
        except (Unfit, ProtocolError) as fault:
            fail(f"the gateway's answer cannot be read, is it of another version? {fault}", 3)
        return value

    def _send(self, frame: Mapping[str, Any]) -> None:
        try:
            self._socket.sendall(frames.encode(frame))
        except OSError as error:
            self._gone(error)

    def credit(self, number: int, size: int) -> None:
        """So many bytes of events were shown."""
        self._send({"id": number, "credit": size})

    def arrived(self) -> Iterator[dict[str, Any]]:
        """Read once, and give what is whole. Ends the command when the gateway is gone."""
        try:
            data = self._socket.recv(READ)
        except TimeoutError:
            fail(f"the gateway at {self._place} does not answer", 3)
        except OSError as error:
            self._gone(error)
        if not data:
            self._gone(None)
        try:
            yield from self._reader.feed(data)
        except ProtocolError as error:
            fail(f"{self._place} speaks another protocol: {error.text}", 3)

    def _next(self, wait: float) -> dict[str, Any]:
        self._socket.settimeout(wait)
        while not self._waiting:
            self._waiting.extend(self.arrived())
        return self._waiting.pop(0)

    def _gone(self, error: OSError | None) -> NoReturn:
        why = f": {error.strerror}" if error is not None and error.strerror else ""
        fail(f"the gateway at {self._place} has closed the connection{why}", 3)
