"""Targets that a program of the operator's leads to (`proxy_command`): from its words to a connection.

The programs are a list in the configuration, which a target names one of. Invariant: no shell, and no word that a
client chose: %h and %p are the target's in the inventory, %r is the account that policy gave.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from bastion.errors import Refused, UpstreamReason
from bastion.net.descriptors import EXHAUSTED, WORDS
from bastion.net.program import Program
from bastion.policy.targets import Target
from bastion.transport.transport import Transport
from bastion.wire.printable import printable

LAST_WORDS: Final = 1.0
"""Seconds that a refusal waits for the end of a program whose connection has ended, to say how it ended."""

_PLACEHOLDER = re.compile("%([hpr%])")

_log = Logger(namespace="bastion.upstream.proxy")

Commands = Mapping[str, Sequence[str]]
"""Name -> words, as configured."""


def expanded(words: Sequence[str], target: Target, login: str) -> tuple[str, ...]:
    """The words with %h, %p, %r and %% replaced, each once: what is put in is not looked at again."""
    meanings = {"h": target.host, "p": str(target.port), "r": login, "%": "%"}
    return tuple(_PLACEHOLDER.sub(lambda found: meanings[found[1]], word) for word in words)


class Proxied:
    """One connection by the program that `target` names."""

    def __init__(self, reactor: Any, commands: Commands, target: Target) -> None:
        """Raises Refused when there is no such program."""
        name = target.proxy_command or ""
        words = commands.get(name)
        if words is None:
            raise Refused(UpstreamReason.PROXY_FAILED, f"there is no proxy command {name}")
        self.name = name
        self._reactor = reactor
        self._words = words
        self._target = target
        self._program: Program | None = None

    def connect(self, login: str, build: Callable[[], Transport]) -> Transport:
        """Run it; what `build` made has its input and output. Raises Refused."""
        program = Program(self._reactor, expanded(self._words, self._target, login), self._told)
        try:
            program.start()
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise Refused(UpstreamReason.NO_DESCRIPTOR, WORDS) from None
            why = errno.errorcode.get(error.errno or 0, "bad arguments")
            raise Refused(
                UpstreamReason.PROXY_FAILED, f"its proxy command {self.name} cannot be started ({why})"
            ) from None
        self._program = program
        transport = build()
        program.connect(transport)
        return transport

    async def why(self, refusal: Refused) -> Refused:
        """The refusal of what was reached by it, where that is its fault: with its name, and how it ended."""
        program = self._program
        if program is None or refusal.reason not in (UpstreamReason.NOT_SSH, UpstreamReason.TIMEOUT):
            return refusal
        how = ""
        if refusal.reason is UpstreamReason.NOT_SSH:  # its output has ended, or is none
            how = program.how or await self._end_of(program)
        if not how:
            return Refused(refusal.reason, f"by its proxy command {self.name}: {refusal.text}")
        text = f"its proxy command {self.name} ended with {how}, and spoke no SSH"
        return Refused(UpstreamReason.PROXY_FAILED, text)

    def _end_of(self, program: Program) -> Deferred[str]:
        """How it ends within LAST_WORDS, "" when it does not."""
        waiting: Deferred[str] = Deferred()
        late = self._reactor.callLater(LAST_WORDS, waiting.callback, "")

        def over(how: str) -> str:
            if late.active():
                late.cancel()
                waiting.callback(how)
            return how

        program.ended.addCallback(over)
        return waiting

    def _told(self, how: str, errors: bytes, more: int) -> None:
        """For the operator's log: what it said on standard error, which engineers are not shown."""
        said = printable(errors.decode("utf-8", "backslashreplace"), len(errors) or 1, keep="")
        _log.info(
            "proxy command {name} of target {target} ended with {how}; {more} bytes more than it said: {said}",
            name=self.name, target=self._target.name, how=how, more=more, said=said,
        )  # fmt: skip
