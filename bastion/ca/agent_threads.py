"""Signatures by agents, waited for in threads: the reactor never waits for one (L2).

Invariant: whoever asks has a signature, or a refusal in words, within WAIT; how each ended is counted, and what is
wrong now stands in `troubles` until a signature, or a look, has gone well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.auth.workers import DeadlinePassed, QueueFull, ThreadReactor, Workers, WorkersClosed
from bastion.ca.agent import TIMEOUT, AgentSigner
from bastion.errors import AgentFailed, AgentFault, Refused, UpstreamReason

T = TypeVar("T")

THREADS: Final = 8
"""Signatures at the same time. An agent serves one after the other or a few; a login waits for one."""
QUEUE: Final = 256
"""Signatures that may wait for a thread: all that a busy morning asks for in a second."""
WAIT: Final = 2 * TIMEOUT
"""Seconds from asking to giving up, waiting for a thread included; the dial has 20 s for all."""

WORDS: Final = "the gateway's signing key cannot be used now"
"""What an engineer reads; where the agent is and what it said is the operator's."""


class AgentThreads:
    """The agents' keys of one configuration, and who asks for their signatures.

    `on_signed` is called with what a signature was for (`upstream_ca`) and how it ended: `ok`, or the fault.
    """

    def __init__(
        self,
        reactor: ThreadReactor,
        signers: Iterable[AgentSigner] = (),
    ) -> None:
        self._workers = Workers(reactor, "agent", THREADS, QUEUE)
        self._signers = tuple(signers)
        self.on_signed: Callable[[str, str], None] = lambda use, ended: None
        self._looking: set[str] = set()
        self.troubles: dict[str, str] = {signer.use: "" for signer in self._signers}  # by use; "" is none
        self._unknown = {signer.use for signer in self._signers}  # never asked yet

    def run(self, signer: AgentSigner, job: Callable[[], T]) -> Deferred[T]:
        """What `job` returns, which signs with `signer`. The Deferred fails with Refused(CREDENTIAL_FAILED)."""
        asked = self._workers.run(job, WAIT)

        def done(result: T) -> T:
            self._ended(signer.use, "")
            self.on_signed(signer.use, "ok")
            return result

        def failed(failure: Failure) -> T:
            if isinstance(failure.value, WorkersClosed):
                raise Refused(UpstreamReason.CREDENTIAL_FAILED, f"{WORDS}; try again")
            fault, text = _fault_of(failure)
            self._ended(signer.use, text)
            self.on_signed(signer.use, fault)
            raise Refused(UpstreamReason.CREDENTIAL_FAILED, f"{WORDS} ({fault})") from None

        return asked.addCallbacks(done, failed)

    def look_again(self) -> None:
        """Ask those that failed, or were never asked, whether they hold their key: one question at a time for each."""
        for signer in self._signers:
            use = signer.use
            if use in self._looking or not (self.troubles[use] or use in self._unknown):
                continue
            self._looking.add(use)
            looked = self._workers.run(signer.look, WAIT)
            looked.addCallbacks(self._ended_of(use), self._looked_in_vain(use))

    def _ended_of(self, use: str) -> Callable[[None], None]:
        return lambda _: self._ended(use, "")

    def _looked_in_vain(self, use: str) -> Callable[[Failure], None]:
        def failed(failure: Failure) -> None:
            if not isinstance(failure.value, WorkersClosed):
                self._ended(use, _fault_of(failure)[1])

        return failed

    def _ended(self, use: str, text: str) -> None:
        self._looking.discard(use)
        self._unknown.discard(use)
        self.troubles[use] = text

    def close(self) -> None:
        """Give up the threads: whoever waits is refused."""
        self._workers.close()


def _fault_of(failure: Failure) -> tuple[AgentFault, str]:
    error = failure.value
    if isinstance(error, AgentFailed):
        return error.fault, error.text
    if isinstance(error, QueueFull):
        return AgentFault.BUSY, f"{QUEUE} signatures wait for the agent"
    if isinstance(error, DeadlinePassed):
        return AgentFault.TIMEOUT, f"the agent did not answer within {WAIT:g} s"
    failure.raiseException()
    raise AssertionError
