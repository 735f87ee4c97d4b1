"""The seam to recorder, audit and meters. Record, then forward."""

from __future__ import annotations

from typing import Protocol

from bastion.relay.channels import Channel
from bastion.relay.events import Event
from bastion.sides import Side


class Tap(Protocol):
    """Called synchronously, in order, before the payload it is about is put into the `Actions`.

    A tap that raises stops that payload and ends the relay: nothing after it is forwarded.
    """

    def data(self, channel: Channel, side: Side, stream: int, data: bytes | memoryview) -> None:
        """`side` sent data on stream 0 (main) or 1 (stderr). The bytes never change; keep the view or copy
        it.
        """
        ...

    def event(self, event: Event) -> None:
        """Something other than data happened."""
        ...
