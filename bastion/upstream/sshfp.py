"""Host keys of targets by SSHFP records (RFC 4255, RFC 6594) that a validating resolver vouches for (DNSSEC).

What it is for: a fleet whose host keys are in a signed zone needs no known_hosts. Invariants: an answer counts only
with the AD bit, of a resolver on this machine or one that the operator has listed (`config.resolvers`), because the way
to it is not protected; only SHA-256 is looked at; the name that is asked for is the inventory's; whatever else comes
back (other names, other ids, truncated, endless aliases) is no answer. It is asked in threads, within DEADLINE.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bastion.auth.workers import DeadlinePassed, QueueFull, ThreadReactor, Workers
from bastion.errors import BastionError
from bastion.options.kinds import Address
from bastion.wire.keys import ED25519, RSA, PublicKey

# dnspython imports a module for each type of record at the first one that it reads: all of them now (20 ms), so that
# nobody who answers can make a process that is ready import something.
dns.rdata.load_all_types(disable_dynamic_load=True)  # type: ignore[no-untyped-call]

SHA256: Final = 2
MAX_RECORDS: Final = 64
"""SSHFP records of one name that are looked at: four types of key, two of fingerprint, and room to rotate all."""
EDNS_PAYLOAD: Final = 1232
"""Bytes of an answer over UDP: what fits every path (DNS flag day 2020). A longer one comes over TCP: 64 KiB."""
TRY: Final = 2.0
"""Seconds that one resolver has; it is on this machine, or near."""
DEADLINE: Final = 5.0
"""Seconds for all of them."""
THREADS: Final = 4
QUEUE: Final = 256


class SshfpFailed(BastionError):
    """There is no answer that counts. `text` is for the engineer: it says why, and what the operator should look at."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True, slots=True)
class Records:
    """The fingerprints that vouch for a host: algorithm number and SHA-256, of a validated answer."""

    found: frozenset[tuple[int, bytes]]

    def vouch_for(self, key: PublicKey) -> bool:
        return (algorithm_of(key), hashlib.sha256(key.blob).digest()) in self.found


def algorithm_of(key: PublicKey) -> int:
    """The number of its type (IANA, "SSHFP RR Types for public key algorithms")."""
    return 1 if key.type == RSA else 4 if key.type == ED25519 else 3


class Sshfp:
    """Asks those resolvers, the next one when one does not answer."""

    def __init__(self, reactor: ThreadReactor, resolvers: Sequence[Address]) -> None:
        self._resolvers = tuple(resolvers)
        self._workers = Workers(reactor, "sshfp", THREADS, QUEUE)

    def ask(self, host: str) -> Deferred[Records]:
        """The records of a name; the Deferred fails with SshfpFailed."""
        return self._workers.run(lambda: ask_all(self._resolvers, host), DEADLINE).addErrback(_in_words)

    def close(self) -> None:
        """Give up the threads: whoever waits is refused."""
        self._workers.close()


def _in_words(failure: Failure) -> Records:
    if isinstance(failure.value, DeadlinePassed | QueueFull):
        raise SshfpFailed(f"no resolver has answered within {DEADLINE:g} s") from None
    if isinstance(failure.value, SshfpFailed):
        raise failure.value from None
    if isinstance(failure.value, BastionError):
        raise SshfpFailed("the gateway's configuration was just changed; try again") from None
    failure.raiseException()
    raise AssertionError


# -- in a thread --------------------------------------------------------------------------------------------------


def ask_all(resolvers: Sequence[Address], host: str) -> Records:
    """Ask one after the other until one has answered. Raises SshfpFailed."""
    try:
        name = dns.name.from_text(host)
    except dns.exception.DNSException:
        raise SshfpFailed(f"{host} is no name that DNS can have") from None
    trouble = "there is no resolver on this machine, and none is listed (targets.sshfp_resolvers)"
    until = time.monotonic() + DEADLINE - TRY
    for resolver in resolvers:
        if time.monotonic() > until:
            break
        try:
            return records_in(_ask(resolver, name), name)
        except (dns.exception.DNSException, OSError, EOFError) as error:
            trouble = f"{resolver} gave no answer that can be used ({type(error).__name__})"
    raise SshfpFailed(trouble)


def _ask(resolver: Address, name: dns.name.Name) -> dns.message.Message:
    query = dns.message.make_query(name, dns.rdatatype.SSHFP, use_edns=True, payload=EDNS_PAYLOAD)
    query.flags |= dns.flags.AD  # RFC 6840 section 5.7: tell us whether it is authentic
    # Answers of other ids, from other places or to other questions are passed over until the time is up.
    answer, _ = dns.query.udp_with_fallback(
        query, resolver.host, TRY, resolver.port, ignore_unexpected=True, ignore_errors=True
    )
    return answer


def records_in(answer: dns.message.Message, name: dns.name.Name) -> Records:
    """What a resolver's answer says of `name`. Raises SshfpFailed for one that does not count, and DNSException."""
    rcode = answer.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise SshfpFailed(f"its SSHFP records cannot be had: the resolver says {dns.rcode.to_text(rcode)}")
    if not answer.flags & dns.flags.AD:
        why = "its SSHFP records are not proved by DNSSEC (no AD bit)"
        raise SshfpFailed(f"{why}: sign the zone, and ask a resolver that validates")
    if rcode == dns.rcode.NXDOMAIN:
        raise SshfpFailed("its name does not exist in DNS")
    if not isinstance(answer, dns.message.QueryMessage):
        raise SshfpFailed("the resolver's answer is none to a question")
    found = answer.resolve_chaining().answer
    records = [] if found is None else list(found)[: MAX_RECORDS + 1]
    if len(records) > MAX_RECORDS:
        raise SshfpFailed(f"it has more than {MAX_RECORDS} SSHFP records")
    kept = frozenset(
        (record.algorithm, bytes(record.fingerprint))
        for record in records
        if record.fp_type == SHA256 and len(record.fingerprint) == hashlib.sha256().digest_size
    )
    if not kept:
        what = "only SSHFP records of SHA-1" if records else "no SSHFP record"
        raise SshfpFailed(f"it has {what}; make them with: ssh-keygen -r {name.to_text(omit_final_dot=True)}")
    return Records(kept)
