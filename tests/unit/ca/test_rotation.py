"""Rotations step by step, and interrupted at every call that changes a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bastion.ca import rotation
from bastion.ca.keys import generate_like, load_public_keys, write_private_key
from bastion.ca.ledger import KeyName, Standing, read_ledger
from bastion.ca.rotation import Change, Desk, Step
from bastion.ca.slots import Slot, load_slot
from bastion.errors import ConfigError
from bastion.wire.keys import PrivateKey
from tests.unit.wire.keygen import keygen

pytestmark = pytest.mark.slow

NOW, DAY = 1_800_000_000.0, 86400.0


class Office:
    """One slot, its ledger, and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.old = PrivateKey.generate_ed25519()
        write_private_key(folder / "ca", self.old)
        self.slot = Slot(KeyName.UPSTREAM_CA, folder / "ca", ("upstream_ca", "key"))
        self.now = NOW
        self.told: list[Change] = []
        self.tell: Callable[[Change], object] = self.told.append

    @property
    def desk(self) -> Desk:
        return Desk(self.folder / "keys.toml", self.now, "root", self.tell)

    def staged(self) -> Any:
        return load_slot(self.slot, read_ledger(self.folder / "keys.toml"))

    def begin(self) -> Any:
        return rotation.begin(self.slot, self.desk, NOW + DAY, generate_like)

    def switch(self) -> Any:
        return rotation.switch(self.slot, self.desk)

    def retire(self) -> Any:
        return rotation.retire(self.slot, self.desk)

    def withdraw(self) -> Any:
        return rotation.withdraw(self.slot, self.desk)

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_whole_rotation(office: Office) -> None:
    new = office.begin()
    assert (new.active_from, new.standing(NOW), new.by) == (NOW + DAY, Standing.INCOMING, "root")
    staged = office.staged()
    assert staged.publics == (office.old.public, new.public)
    assert (staged.at(NOW).public, staged.at(NOW + DAY).public) == staged.publics
    assert office.slot.next.stat().st_mode & 0o777 == 0o600
    assert new.public.fingerprint() in keygen("-l", "-f", office.folder / "ca.next.pub")
    with pytest.raises(ConfigError, match="does not sign yet"):
        office.retire()
    office.now = NOW + DAY
    gone = office.retire()
    assert (gone.public, gone.retired) == (office.old.public, NOW + DAY)
    assert office.staged().publics == (new.public,)
    assert sorted(os.listdir(office.folder)) == ["ca", "ca.pub", "keys.toml"]
    assert new.public.fingerprint() in keygen("-l", "-f", office.folder / "ca.pub")
    with pytest.raises(ConfigError, match="no other key takes its place"):
        office.retire()


def test_begun_twice_it_is_the_same_rotation(office: Office) -> None:
    first = office.begin()
    office.now += 5
    assert office.begin() == first


def test_the_new_key_can_sign_at_once(office: Office) -> None:
    office.begin()
    assert office.switch().active_from == NOW == office.switch().active_from
    assert office.staged().at(NOW).public == office.staged().publics[1]
    assert office.retire().retired == NOW


def test_a_rotation_can_be_given_up_before_the_new_key_signs(office: Office) -> None:
    new = office.begin()
    assert office.withdraw().retired == NOW
    assert office.staged().publics == (office.old.public,)
    assert sorted(os.listdir(office.folder)) == ["ca", "ca.pub", "keys.toml"]
    with pytest.raises(ConfigError, match="no key is to come"):
        office.withdraw()
    assert office.begin().public != new.public
    office.switch()
    with pytest.raises(ConfigError, match="no key is to come"):
        office.withdraw()


def test_what_is_not_begun_cannot_go_on(office: Office) -> None:
    for step in (office.switch, office.retire, office.withdraw):
        with pytest.raises(ConfigError):
            step()
    assert not (office.folder / "keys.toml").exists()


def test_a_retired_key_is_not_rotated_back(office: Office) -> None:
    office.begin()
    office.switch()
    office.retire()
    (office.folder / "ca").unlink()
    (office.folder / "ca.pub").unlink()
    write_private_key(office.folder / "ca", office.old)
    with pytest.raises(ConfigError, match="was retired"):
        office.begin()


def test_an_encrypted_key_gets_an_encrypted_successor(tmp_path: Path) -> None:
    office = Office(tmp_path)
    (tmp_path / "words").write_text("open sesame\n")
    (tmp_path / "words").chmod(0o600)
    (tmp_path / "ca").write_bytes(office.old.openssh_bytes(b"open sesame"))
    office.slot = Slot(KeyName.UPSTREAM_CA, tmp_path / "ca", ("upstream_ca", "key"), tmp_path / "words")
    new = office.begin()
    assert office.staged().publics == (office.old.public, new.public)
    office.slot = Slot(KeyName.UPSTREAM_CA, tmp_path / "ca", ("upstream_ca", "key"))
    with pytest.raises(ConfigError, match="encrypted"):
        office.staged()


@pytest.mark.parametrize(
    "kind", [("-t", "ecdsa", "-b", "384"), ("-t", "rsa", "-b", "3072"), ("-t", "ed25519")]
)
def test_the_new_key_is_of_the_same_kind(kind: tuple[str, ...], tmp_path: Path) -> None:
    keygen("-q", *kind, "-N", "", "-f", tmp_path / "host")
    slot = Slot(KeyName.HOST_KEYS, tmp_path / "host", ("host_keys", "files", 0))
    new = rotation.begin(slot, Desk(tmp_path / "keys.toml", NOW, "root", str), NOW, generate_like).public
    old = load_slot(slot, read_ledger(tmp_path / "keys.toml")).publics[0]
    assert (new.type, new.bits) == (old.type, old.bits)


def test_each_step_is_told_before_it_is_in_force_and_does_not_happen_untold(office: Office) -> None:
    def refuse(change: Change) -> None:
        raise OverflowError(change.step)

    def step(take: Callable[[], Any], name: Step) -> Any:
        before, office.tell = office.files(), refuse
        with pytest.raises(OverflowError, match=name):
            take()
        assert {name: data for name, data in office.files().items() if ".next" not in name} == {
            name: data for name, data in before.items() if ".next" not in name
        }
        assert office.staged().first.public == office.old.public
        office.tell = office.told.append
        return take()

    withdrawn = step(office.begin, Step.BEGUN).public
    step(office.withdraw, Step.WITHDRAWN)
    new = office.begin().public
    step(office.switch, Step.SWITCHED)
    office.switch()  # it does already
    step(office.retire, Step.RETIRED)
    old, name = office.old.public, KeyName.UPSTREAM_CA
    assert office.told == [
        Change(Step.BEGUN, name, old, withdrawn, NOW + DAY),
        Change(Step.WITHDRAWN, name, old, withdrawn),
        Change(Step.BEGUN, name, old, new, NOW + DAY),
        Change(Step.SWITCHED, name, old, new),
        Change(Step.RETIRED, name, old, new),
    ]


class Interrupted(BaseException):
    """A kill, or a power failure."""


def interrupted_at(call: int, monkeypatch: pytest.MonkeyPatch, step: Callable[[], Any]) -> bool:
    """Run `step` and stop it before its `call`th change of a file; False when it has fewer."""
    left = [call]

    def counting(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*words: Any, **more: Any) -> Any:
            if left[0] == 0:
                raise Interrupted
            left[0] -= 1
            return real(*words, **more)

        return change

    with monkeypatch.context() as patch:
        for name in ("replace", "link", "unlink", "fsync"):
            patch.setattr(os, name, counting(getattr(os, name)))
        try:
            step()
        except Interrupted:
            return True
    return False


@pytest.mark.parametrize("last", ["begin", "switch", "retire", "withdraw"])
def test_interrupted_anywhere_it_can_be_read_and_goes_on(
    last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each change of a file, and again before each change of the second run."""
    before = {"begin": [], "switch": ["begin"], "retire": ["begin", "switch"], "withdraw": ["begin"]}[last]
    for call in range(60):
        office = Office(_fresh(tmp_path, str(call)))
        for name in before:
            getattr(office, name)()
        more = interrupted_at(call, monkeypatch, getattr(office, last))
        office.staged()  # a gateway that starts now can read it
        if more:
            try:
                getattr(office, last)()
            except ConfigError as error:  # only its last clearing up was left
                assert last in ("withdraw", "retire"), error
        assert _end(office) == {"begin": 2, "switch": 2, "retire": 1, "withdraw": 1}[last]
        if not more:
            break
    assert 2 < call < 59


def _fresh(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


def _end(office: Office) -> int:
    """How many keys are in force at the end; whatever is left over does no harm."""
    office.staged()
    names = {name for name in os.listdir(office.folder) if not name.startswith(".")}
    assert names <= {"ca", "ca.pub", "ca.next", "ca.next.pub", "keys.toml"}
    return len(office.staged().publics)


def test_login_cas(tmp_path: Path) -> None:
    old, new = PrivateKey.generate_ed25519().public, PrivateKey.generate_ed25519().public
    told: list[Change] = []
    path = tmp_path / "login_ca.pub"
    path.write_text(f"# ours\n{old.line('old')}\n")
    slot, desk = (
        Slot(KeyName.LOGIN_CA, path, ("login_ca", "files", 0)),
        Desk(tmp_path / "keys.toml", NOW, "root", told.append),
    )
    with pytest.raises(ConfigError, match="would hold no key"):
        rotation.retire_login(slot, desk, old)
    for _ in range(2):
        assert rotation.begin_login(slot, desk, old, new, NOW + DAY).public == new
        assert load_public_keys(path) == (old, new)
    assert [entry.standing(NOW) for entry in read_ledger(desk.ledger).entries] == [
        Standing.OUTGOING,
        Standing.ACTIVE,
    ]
    assert rotation.retire_login(slot, desk, old).retired == NOW
    assert path.read_text() == f"# ours\n{new.line()}\n"
    with pytest.raises(ConfigError, match="was retired"):
        rotation.begin_login(slot, desk, new, old, NOW)
    begun = Change(Step.BEGUN, KeyName.LOGIN_CA, old, new, NOW + DAY)
    assert told == [begun, begun, Change(Step.RETIRED, KeyName.LOGIN_CA, old)]
