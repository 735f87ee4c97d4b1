"""Every decision about a certificate beside that of a real sshd with the same authorities and the same KRL.

sshd is asked as a client asks (RFC 4252 section 7: would this do?), a thousand times on one connection. Invariant:
what sshd refuses is refused here; what is refused here alone is one of `STRICTER`, each for a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from bastion.auth.certificates import check_user_certificate
from bastion.auth.credentials import read_credential
from bastion.auth.revocation import Revocation
from bastion.ca.revoked_keys import load_revoked_keys
from bastion.clock import SystemClock
from bastion.errors import Refused
from bastion.wire.certificates import UnverifiedCertificate
from bastion.wire.data import boolean, string
from bastion.wire.kexinit import FRONT
from tests.hostile.rawssh import RawSsh, SocketWire
from tests.support.odd_certificates import ODDITIES, Odd, Ring, make_odd, revoked_lines
from tests.support.sshd import Sshd, keygen, sshd_missing

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]

STRICTER = {
    "verify-required": "critical, and a plain key cannot meet it: OpenSSH looks at it for security keys only",
    "options out of order": "PROTOCOL.certkeys wants them sorted, and OpenSSH does not look",
    "long key id": "1 KiB is what fits an audit line and the target's log",
    "long nonce": "nobody writes more than 64 bytes",
    "empty principal": "a principal that nobody wrote",
    "key id that is no text": "it stands in the audit log, which is UTF-8",
    "principal that is no text": "the same",
}
"""What only the gateway refuses, and why."""


ON_ONE = 1000
"""Questions on one connection: sshd counts 1,024 and hangs up, whatever MaxAuthTries says (auth2.c)."""


class Courts:
    """One sshd, one connection to it, and the same authorities and KRL here."""

    def __init__(self, folder: Path) -> None:
        self.ring = Ring()
        keys = [folder / f"ca{place}.pub" for place in range(len(self.ring.trusted))]
        for path, key in zip(keys, self.ring.trusted, strict=True):
            path.write_text(key.public.line() + "\n")
        together = folder / "cas.pub"
        together.write_text("".join(path.read_text() for path in keys))
        spec, krl = folder / "spec", folder / "krl"
        spec.write_text("\n".join(revoked_lines(self.ring)) + "\n")
        keygen("-q", "-k", "-f", str(krl), "-s", str(keys[0]), str(spec))
        self.revocation = Revocation(load_revoked_keys(krl))
        options = (f"RevokedKeys {krl}", "MaxAuthTries 1000000", "LoginGraceTime 0")
        self.sshd = Sshd(folder / "sshd", user_ca=together, options=options).start()
        self._asked = 0
        self._peer = self._connect()

    def _connect(self) -> RawSsh:
        peer = RawSsh(SocketWire.connect(self.sshd.port), algorithms=FRONT).handshake()
        peer.request_service()
        peer.read_until(6)
        return peer

    def theirs(self, algorithm: str, blob: bytes) -> bool:
        self._asked += 1
        if self._asked % ON_ONE == 0:
            self._peer.wire.close()  # type: ignore[attr-defined]
            self._peer = self._connect()
        body = boolean(False) + string(algorithm) + string(blob)
        self._peer.request_login(self.sshd.login.encode(), b"publickey", body)
        while (number := self._peer.read()[0]) not in (51, 60):
            pass
        return number == 60

    def ours(self, algorithm: str, blob: bytes, now: float) -> str:
        """The reason for a refusal; "" lets in."""

        def judge(claims: UnverifiedCertificate) -> None:
            trusted = tuple(key.public for key in self.ring.trusted)
            check_user_certificate(claims, trusted, (self.sshd.login,), now, "127.0.0.1")
            self.revocation.check_certificate(claims)

        try:
            read_credential(algorithm, blob, judge, lambda microseconds: None)
        except Refused as refusal:
            return str(refusal.reason)
        return ""

    def compare(self, odd: Odd, now: int) -> tuple[bool, str]:
        """Whether sshd lets in, and why we do not."""
        algorithm, blob = odd.request, odd.blob()
        theirs, ours = self.theirs(algorithm, blob), self.ours(algorithm, blob, now)
        case = f"{sorted(odd.tags)} {algorithm} serial {odd.serial}: sshd {theirs}, here {ours or 'ok'}: {blob.hex()}"
        assert theirs or ours, f"sshd refuses what is let in here: {case}"
        if theirs and ours:
            assert odd.tags & set(STRICTER), f"refused here alone: {case}"
        return theirs, ours

    def close(self) -> None:
        self._peer.wire.close()  # type: ignore[attr-defined]
        self.sshd.stop()


@pytest.fixture(scope="module")
def courts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Courts]:
    made = Courts(tmp_path_factory.mktemp("courts"))
    yield made
    made.close()


def test_each_oddity_alone(courts: Courts) -> None:
    random, now = Random(1), int(SystemClock().time())
    verdicts = [
        courts.compare(make_odd(courts.ring, random, now, courts.sshd.login, name), now) for name in ODDITIES
    ]
    assert any(theirs for theirs, _ in verdicts) and any(not theirs for theirs, _ in verdicts)


@pytest.mark.soak
def test_5000_certificates(courts: Courts) -> None:
    random, now = Random(2026), int(SystemClock().time())
    found: dict[tuple[bool, bool], int] = {}
    alone: dict[str, int] = {}
    for _ in range(5000):
        odd = make_odd(courts.ring, random, now, courts.sshd.login)
        theirs, ours = courts.compare(odd, now)
        found[theirs, not ours] = found.get((theirs, not ours), 0) + 1
        if theirs and ours:
            for tag in odd.tags & set(STRICTER):
                alone[tag] = alone.get(tag, 0) + 1
    print(f"both let in {found[True, True]}, both refuse {found[False, False]}, refused here alone: {alone}")
    assert min(found[True, True], found[False, False]) > 500 and (False, True) not in found
