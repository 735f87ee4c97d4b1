"""A `PacketConn` in memory: keeps what is sent, burst by burst; `block` and `drain` play a slow socket."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from bastion.transport.settings import CloseReason


class MemoryConn:
    """One authenticated connection without a peer. `facts` are what its key exchange agreed on, as attributes."""

    receiver: Callable[[list[bytes]], None] | None = None
    on_closed: Callable[[CloseReason], None] | None = None
    on_writable: Callable[[bool], None] | None = None
    other: Any = None
    exchanging = False
    blocked = False
    trusted = False  # `authenticated` was called
    disconnected: tuple[int, str] | None = None

    def __init__(self, **facts: Any) -> None:
        known = {
            "session_id": b"H" * 32,
            "host_key_blob": b"host key",
            "peer_version": b"SSH-2.0-x",
            "agreed": None,
        }
        self.payers: list[Callable[[int], None]] = []  # of its key exchanges
        more: dict[str, Any] = {"peer_signature_algorithms": None, "charge": self.payers.append}
        self.keys: Any = SimpleNamespace(**(known | more | facts))
        self.settings: Any = SimpleNamespace(login_grace=30.0)
        self.bursts: list[list[bytes]] = []
        self.sent: list[bytes] = []  # the same in one list
        self.padded: list[bytes] = []  # those whose length does not show
        self.goodbyes: list[str] = []
        self.block_after: int | None = None  # bytes that the socket still takes

    def send(self, payloads: list[bytes], pad_to: int = 0) -> None:
        self.bursts.append(list(payloads))
        self.sent += payloads
        if pad_to:
            self.padded += payloads
        if self.block_after is not None:
            self.block_after -= sum(map(len, payloads))
            if self.block_after <= 0:
                self.blocked = True
                if self.on_writable is not None:
                    self.on_writable(False)

    def send_any(self, payload: bytes) -> None:
        self.send([payload])

    def authenticated(self) -> None:
        self.trusted = True

    def drain(self, room: int | None = None) -> None:
        self.blocked, self.block_after = False, room
        if self.on_writable is not None:
            self.on_writable(True)

    def set_reading(self, yes: bool) -> None: ...

    def rest(self, seconds: float) -> None: ...

    def disconnect(self, code: int, text: str) -> None:
        self.goodbyes.append(text)
        self.disconnected = (code, text)
