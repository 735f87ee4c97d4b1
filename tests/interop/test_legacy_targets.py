"""Targets that know only what nobody should use any more: each algorithm alone, listed and not listed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from bastion.transport.settings import TransportSettings
from bastion.upstream.facts import mismatch_text
from bastion.wire.data import byte, string
from bastion.wire.kexinit import TARGET, Algorithms
from bastion.wire.legacy import LEGACY_NAMES
from tests.interop.transport_peers import Client
from tests.support.appliances import Dropbear, dropbear_missing
from tests.support.net import LOOPBACK
from tests.support.reactor import run
from tests.support.sshd import Sshd, make_key, sshd_missing
from tests.support.world import World, refusal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(bool(sshd_missing()), reason=sshd_missing() or "available"),
]


@dataclass(frozen=True)
class Old:
    """One sshd stripped down to `options`, the legacy names it needs, and what it is said to offer."""

    options: tuple[str, ...]
    needs: tuple[str, ...]
    what: str
    offers: str = ""


def cipher(name: str) -> Old:
    # Its MACs are good ones, so that the cipher is the only thing that is missing.
    return Old((f"Ciphers {name}",), (name,), "cipher")


ALONE = {
    "group14": Old(
        ("KexAlgorithms diffie-hellman-group14-sha1",),
        ("diffie-hellman-group14-sha1",),
        "key exchange method",
    ),
    "gex": Old(
        ("KexAlgorithms diffie-hellman-group-exchange-sha1",),
        ("diffie-hellman-group-exchange-sha1",),
        "key exchange method",
    ),
    "aes256": cipher("aes256-cbc"),
    "aes128": cipher("aes128-cbc"),
    "des": cipher("3des-cbc"),
    "sha1mac": Old(("Ciphers aes128-ctr", "MACs hmac-sha1"), ("hmac-sha1",), "MAC"),
    "rsasha1": Old(("HostKeyAlgorithms ssh-rsa",), ("ssh-rsa",), "host key algorithm"),
}
EVERYTHING = Old(
    (
        "KexAlgorithms diffie-hellman-group14-sha1",
        "HostKeyAlgorithms ssh-rsa",
        "Ciphers 3des-cbc",
        "MACs hmac-sha1",
        "PubkeyAcceptedAlgorithms ssh-rsa",
    ),
    ("diffie-hellman-group14-sha1", "ssh-rsa", "3des-cbc", "hmac-sha1"),
    "",
)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    rsa = make_key(made.keys / "appliance", "rsa", bits=2048)
    sshds = []
    for name, old in {**ALONE, "everything": EVERYTHING}.items():
        one = Sshd(
            made.folder / name,
            user_ca=made.keys / "upstream_ca.pub",
            host_key_type="rsa",
            options=old.options,
            authorized_keys=(made.keys / "appliance.pub").read_text(),
        ).start()
        sshds.append(one)
        more = f'key_file = "{rsa}"\n' if name == "everything" else ""
        made.add_target(
            f"{name}-listed", LOOPBACK, one.port, one.host_public, more + f"legacy = {json.dumps(old.needs)}"
        )
        made.add_target(f"{name}-not", LOOPBACK, one.port, "", more)
    yield made.start()
    made.close()
    for one in sshds:
        one.stop()


def counted(world: World) -> dict[str, float]:
    metrics = world.metrics()
    return {name: metrics[f'bastion_upstream_legacy_total{{algorithm="{name}"}}'] for name in LEGACY_NAMES}


def upstream_of(world: World, session: str) -> dict[str, object]:
    """The note about the target's leg in a recording: the first event of all."""
    done = world.bastion("export", session, "--recordings", str(world.recordings), "--format", "json")
    assert done.returncode == 0, done.stderr
    notes = [line["note"] for line in map(json.loads, done.stdout.splitlines()) if line["kind"] == "note"]
    assert notes[0]["event"] == "upstream_connected"
    return dict(notes[0])


@pytest.mark.parametrize("name", [*ALONE, "everything"])
def test_a_listed_algorithm_works_and_is_counted_and_shown(world: World, name: str) -> None:
    needs = ({**ALONE, "everything": EVERYTHING})[name].needs
    before = counted(world)
    done = world.ssh("head -c 300000 /dev/zero; exit 3", user=f"alice+root+{name}-listed")
    assert (done.returncode, len(done.stdout), done.stderr) == (3, 300000, b"")
    assert {one: count - before[one] for one, count in counted(world).items()} == {
        one: float(one in needs) for one in LEGACY_NAMES
    }
    started = world.audit("session_started")[-1]
    assert set(started["legacy"].split(",")) == set(needs)
    session = world.last_session()
    note = upstream_of(world, session)
    assert set(note["legacy"]) == set(needs)  # type: ignore[call-overload]
    assert {note["kex"], note["host_key_algorithm"], note["cipher_to_target"], note["mac_to_target"]} >= set(
        needs
    )
    assert str(note["peer_version"]).startswith("SSH-2.0-OpenSSH_")
    if name == "everything":
        assert ", legacy algorithms: diffie-hellman-group14-sha1,ssh-rsa,3des-cbc," in world.explain(
            started["ref"]
        )


@pytest.mark.parametrize("name", ALONE)
def test_what_is_not_listed_is_refused_with_the_line_to_write(world: World, name: str) -> None:
    old = ALONE[name]
    before = counted(world)
    text, _ = refusal(world.ssh("true", user=f"alice+root+{name}-not"))
    assert text == (
        f"{name}-not: no common {old.what}: the target offers only {old.needs[0]}; "
        f'if it cannot be upgraded: legacy = ["{old.needs[0]}"] in its table'
    )
    assert counted(world) == before


def test_all_that_is_missing_is_told_at_once(world: World) -> None:
    text, _ = refusal(world.ssh("true", user="alice+root+everything-not"))
    assert text == (
        "everything-not: no common key exchange method: the target offers only diffie-hellman-group14-sha1; "
        "no common host key algorithm: the target offers only ssh-rsa; no common cipher: the target offers only "
        "3des-cbc; no common MAC: the target offers only hmac-sha1; if it cannot be upgraded: legacy = "
        '["diffie-hellman-group14-sha1", "ssh-rsa", "3des-cbc", "hmac-sha1"] in its table'
    )


def test_a_modern_target_has_the_event_too_and_no_legacy(world: World) -> None:
    assert world.ssh("true").returncode == 0
    note = upstream_of(world, world.last_session())
    assert note["legacy"] == [] and note["cipher_to_target"] == "aes256-gcm@openssh.com"
    assert (note["login_method"], note["credential"], note["strict_kex"]) == (
        "publickey",
        "certificate",
        True,
    )
    assert "legacy" not in world.audit("session_started")[-1]


def test_a_listed_name_is_used_only_where_there_is_nothing_better(world: World) -> None:
    world.add_target("eager", LOOPBACK, world.sshd.port, "", f"legacy = {json.dumps(LEGACY_NAMES)}")
    world.reload()
    before = counted(world)
    assert world.ssh("true", user="alice+root+eager").returncode == 0
    assert counted(world) == before


def test_target_test_and_scan_and_check_tell_of_it(world: World) -> None:
    config = ("--config", str(world.config))
    done = world.bastion("target", "test", "everything-listed", "root", *config)
    assert done.returncode == 0, done.stdout + done.stderr
    out = done.stdout.decode()
    assert "legacy algorithms: diffie-hellman-group14-sha1, ssh-rsa, 3des-cbc, hmac-sha1" in out
    assert "diffie-hellman-group14-sha1, host key ssh-rsa, 3des-cbc, MAC hmac-sha1" in out
    assert "SSH-2.0-OpenSSH" in out and "login by publickey (key_file)" in out
    done = world.bastion("target", "test", "everything-listed", "root", "--json", *config)
    assert set(json.loads(done.stdout)["connected"]["legacy"]) == set(EVERYTHING.needs)
    done = world.bastion("target", "test", "aes128-not", "root", *config)
    assert done.returncode == 3 and b'legacy = ["aes128-cbc"] in its table' in done.stdout
    done = world.bastion("target", "scan", "everything-listed", "--json", *config)
    assert [row["state"] for row in json.loads(done.stdout)] == ["pinned_ok"]
    done = world.bastion("target", "scan", "aes128-not", *config)
    assert done.returncode == 3 and b"no common cipher: the target offers only aes128-cbc" in done.stderr
    done = world.bastion("check", *config)
    assert done.returncode == 0
    assert b"targets.everything-listed.legacy: weak algorithms are offered to this target: " in done.stderr


# dropbear 2022.83 has dropped CBC and gex, and has group14-sha1, hmac-sha1 and ssh-rsa still.
@pytest.mark.skipif(bool(dropbear_missing()), reason=dropbear_missing() or "available")
@pytest.mark.parametrize("name", ["diffie-hellman-group14-sha1", "ssh-rsa", "hmac-sha1", "all of them"])
def test_dropbear_agrees_on_each_one_alone(dropbear: Dropbear, name: str) -> None:
    alone = {
        "diffie-hellman-group14-sha1": replace(TARGET, kex=("diffie-hellman-group14-sha1",)),
        "ssh-rsa": replace(TARGET, host_keys=("ssh-rsa",)),
        "hmac-sha1": replace(TARGET, ciphers=("aes128-ctr",), macs=("hmac-sha1",)),
        "all of them": Algorithms(
            ("diffie-hellman-group14-sha1",), ("ssh-rsa",), ("aes256-ctr",), ("hmac-sha1",)
        ),
    }[name]
    clients: list[Client] = []

    def begin() -> Any:
        clients.append(Client(dropbear.port, TransportSettings(alone)))
        return clients[0].ready

    run(begin)
    transport = clients[0].transport
    assert transport.keys.agreed is not None
    assert set(transport.keys.agreed.legacy) == (set(alone.legacy) if name == "all of them" else {name})

    def ask() -> Any:
        transport.send_any(byte(5) + string(b"ssh-userauth"))
        return clients[0].expect(6)

    run(ask)  # both directions carry messages under the new keys
    run(clients[0].stop)


@pytest.mark.skipif(bool(dropbear_missing()), reason=dropbear_missing() or "available")
@pytest.mark.parametrize("name", ["aes256-cbc", "3des-cbc"])
def test_what_dropbear_has_dropped_is_told_with_no_false_hope(dropbear: Dropbear, name: str) -> None:
    clients: list[Client] = []

    def begin() -> Any:
        clients.append(Client(dropbear.port, TransportSettings(replace(TARGET, ciphers=(name,)))))
        return clients[0].ready

    with pytest.raises(ConnectionError, match="no common cipher"):
        run(begin)
    text = mismatch_text(clients[0].transport.keys.mismatches)
    assert text.startswith(
        "no common cipher: the target offers only chacha20-poly1305@openssh.com, aes128-ctr, "
    )
    assert text.endswith(", which is not supported here")


@pytest.fixture(scope="module")
def dropbear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dropbear]:
    peer = Dropbear(tmp_path_factory.mktemp("dropbear") / "rsa", "rsa").start()
    yield peer
    peer.stop()
