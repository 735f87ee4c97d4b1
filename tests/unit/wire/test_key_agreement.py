"""The mathematics of the key exchange: both sides get the same secret, and a bad value gives one and the same error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from asyncssh.kex_dh import _dh_gex_groups
from cryptography.hazmat.primitives.asymmetric import ec

from bastion.errors import ProtocolError
from bastion.wire.data import Reader, mpint, string
from bastion.wire.key_agreement import (
    MODP_GROUPS,
    X25519,
    Agreement,
    MlKemX25519,
    ModP,
    NamedModP,
    NistCurve,
    modp_group,
    modp_prime,
)
from bastion.wire.numbers import Disconnect

pytestmark = pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")

METHODS: dict[str, Callable[[], Agreement]] = {
    "x25519": X25519,
    "mlkem768x25519": MlKemX25519,
    "nistp256": lambda: NistCurve(ec.SECP256R1()),
    "nistp384": lambda: NistCurve(ec.SECP384R1()),
    "nistp521": lambda: NistCurve(ec.SECP521R1()),
    "modp of OpenSSL": lambda: NamedModP(2048),
    "modp of our own": lambda: ModP(modp_prime(2048), 2),
}


@pytest.mark.parametrize("name", METHODS)
def test_both_sides_get_the_same_secret_and_see_the_same_values(name: str) -> None:
    client, server = METHODS[name](), METHODS[name]()
    offered = client.offer()
    reader = Reader(offered)
    theirs, answered, shared = server.answer(reader)
    reader.end()
    assert theirs == offered
    reader = Reader(answered)
    assert client.finish(reader) == (answered, shared)
    reader.end()


def refused(method: Agreement, value: bytes) -> bool:
    method.offer()
    for read in (method.answer, method.finish):
        with pytest.raises(ProtocolError) as caught:
            read(Reader(value))
        assert (caught.value.text, caught.value.code) == (
            "bad public value in the key exchange",
            Disconnect.KEY_EXCHANGE_FAILED,
        )
    return True


@pytest.mark.parametrize("name", ["x25519", "mlkem768x25519", "nistp256", "nistp384", "nistp521"])
@pytest.mark.parametrize("value", [b"", b"\x04", bytes(31)])
def test_a_value_that_is_too_short_is_bad(name: str, value: bytes) -> None:
    assert refused(METHODS[name](), string(value))


def test_a_point_that_is_not_on_its_curve_is_bad() -> None:
    assert refused(METHODS["nistp256"](), string(b"\x04" + bytes(63) + b"\x01"))


@pytest.mark.parametrize("name", ["modp of OpenSSL", "modp of our own"])
@pytest.mark.parametrize(
    "value", [-1, 0, 1, modp_prime(2048) - 1, modp_prime(2048), modp_prime(2048) + 2], ids=hash
)
def test_a_number_outside_the_group_is_bad(name: str, value: int) -> None:
    assert refused(METHODS[name](), mpint(value))


def test_a_secret_of_a_small_subgroup_is_bad() -> None:
    """In a group that a server made up; in one of RFC 3526 there is none to find."""
    assert refused(ModP(23 * 5, 2), mpint(0 + 23 * 5 - 1))


@pytest.mark.parametrize("bits", list(MODP_GROUPS))
def test_primes_are_those_of_rfc_3526(bits: int) -> None:
    """As asyncssh has them, and by what the RFC says of them."""
    p = modp_prime(bits)
    assert p in {prime for _, _, prime in _dh_gex_groups}
    assert p.bit_length() == bits and p % 8 == 7, "2 generates the subgroup of order (p-1)/2"
    if bits == 2048:  # the larger ones would take seconds
        assert pow(3, p - 1, p) == 1 and pow(3, (p - 1) // 2 - 1, (p - 1) // 2) == 1


def test_a_group_that_openssl_knows_is_left_to_it() -> None:
    assert isinstance(modp_group(modp_prime(3072), 2), NamedModP)
    for p, g in ((modp_prime(3072), 5), (modp_prime(3072) - 2, 2), ((1 << 2999) + 1, 2)):
        assert not isinstance(modp_group(p, g), NamedModP)


def test_operators_are_not_told_what_we_know_about_diffie_hellman() -> None:
    """The library warns at every use; the filter must name the module that uses it."""
    script = "from bastion.wire.key_agreement import NamedModP; NamedModP(2048).offer()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_the_first_key_imports_nothing() -> None:
    """What is imported late needs a descriptor when the gateway may have none left."""
    program = (
        "import sys\n"
        "from bastion.wire import key_agreement as k\n"
        "before = set(sys.modules)\n"
        "[made().offer() for made in (k.X25519, k.MlKemX25519)]\n"
        "print(sorted(set(sys.modules) - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
