"""Every message that `bastion.wire` declares, found by walking the room; connection messages read back from bytes."""

from __future__ import annotations

import importlib
import pkgutil

import bastion.wire
from bastion.errors import ProtocolError
from bastion.wire.body import Body
from bastion.wire.struct import Message, Struct

BASES = {Struct, Message, Body}


def declared_in(name: str) -> set[type[Struct]]:
    """What the module `name` of the room declares."""
    module = importlib.import_module(f"bastion.wire.{name}")
    return {
        kind
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, Struct)
        and kind not in BASES
        and kind.__module__ == module.__name__
    }


DECLARED = frozenset[type[Struct]]().union(
    *(declared_in(module.name) for module in pkgutil.iter_modules(bastion.wire.__path__))
)

MESSAGES: dict[int, type[Message]] = {
    kind.NUMBER: kind for kind in declared_in("messages") if issubclass(kind, Message)
}
"""Those of the connection protocol by their numbers."""


def parse_message(payload: bytes) -> Message:
    """Whichever connection message stands in `payload`. ProtocolError when none does."""
    if not payload or payload[0] not in MESSAGES:
        raise ProtocolError("no connection message")
    return MESSAGES[payload[0]].parse(payload)
