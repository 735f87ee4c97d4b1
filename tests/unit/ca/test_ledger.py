"""The ledger of keys: what is written is read again, and nothing that is unclear is taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bastion.ca.ledger import (
    Entry,
    KeyName,
    Ledger,
    Standing,
    ledger_text,
    parse_ledger,
    read_ledger,
    write_ledger,
)
from bastion.errors import ConfigError
from bastion.wire.keys import PrivateKey

KEYS = [PrivateKey.generate_ed25519().public for _ in range(4)]
NOW = 1_800_000_000.0


def entry(number: int = 0, name: KeyName = KeyName.UPSTREAM_CA, **times: float) -> Entry:
    return Entry(name, KEYS[number], NOW, "root", times.pop("active_from", NOW), **times)


moments = st.integers(0, 4_000_000_000).map(float)


@given(
    st.lists(
        st.builds(
            Entry,
            st.sampled_from(KeyName),
            st.just(None),
            moments,
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
            moments,
            st.none() | moments,
            st.none() | moments,
        ),
        max_size=4,
    )
)
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, made: list[Entry]) -> None:
    import dataclasses

    entries = tuple(dataclasses.replace(one, public=KEYS[n]) for n, one in enumerate(made))
    assert parse_ledger(ledger_text(Ledger(entries)), "keys.toml") == Ledger(entries)


def test_a_missing_ledger_is_empty_and_a_written_one_is_there(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    assert read_ledger(path) == Ledger()
    write_ledger(path, Ledger((entry(),)))
    assert read_ledger(path) == Ledger((entry(),))
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["keys.toml"]


def test_how_an_entry_stands() -> None:
    assert entry().standing(NOW) is Standing.ACTIVE
    assert entry(active_from=NOW + 1).standing(NOW) is Standing.INCOMING
    assert entry(retire_after=NOW + 1).standing(NOW + 2) is Standing.OUTGOING
    assert entry(retire_after=NOW + 1, retired=NOW + 2).standing(NOW) is Standing.RETIRED
    assert (entry(retire_after=NOW + 1).overlap_ends, entry(retire_after=1.0, retired=2.0).overlap_ends) == (
        NOW + 1,
        None,
    )


def test_who_takes_whose_place() -> None:
    old, new = entry(0, retire_after=NOW), entry(1, active_from=NOW + 5)
    ledger = Ledger((old, new, entry(2, KeyName.FRONT_HOST_CA), entry(3, retired=NOW)))
    assert ledger.successor(KeyName.UPSTREAM_CA, KEYS[0]) == new
    assert ledger.successor(KeyName.UPSTREAM_CA, KEYS[1]) is None
    assert ledger.successor(KeyName.UPSTREAM_CA, KEYS[3]) is None
    assert ledger.successor(KeyName.HOST_KEYS, KEYS[0]) is None
    assert Ledger((new,)).successor(KeyName.UPSTREAM_CA, KEYS[0]) is None
    gone = ledger.changed(KEYS[0], retired=NOW)
    assert gone.kept(KeyName.UPSTREAM_CA) == (new,)
    assert len(gone.entries) == len(ledger.entries)


WRONG = {
    "no toml": ("[[key", "is not TOML"),
    "other tables": ("[other]\n", 'unknown key "other"'),
    "one key twice": (ledger_text(Ledger((entry(), entry()))), "this key is here already"),
    "another fingerprint": (
        ledger_text(Ledger((entry(),))).replace(KEYS[0].fingerprint(), KEYS[1].fingerprint()),
        "keys.toml:7: key[1].fingerprint: is not that of the key",
    ),
    "no key": (ledger_text(Ledger((entry(),))).replace("ssh-ed25519 ", "ssh-dss "), "key[1].public"),
    "no time zone": (
        ledger_text(Ledger((entry(),))).replace("Z\n", "\n", 1),
        "not a moment with a time zone",
    ),
    "an unknown name": (ledger_text(Ledger((entry(),))).replace("upstream_ca", "upstream"), "key[1].name"),
    "a private key": ('[[key]]\npublic = "-----BEGIN OPENSSH PRIVATE KEY-----"\n', "private key"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_fault_has_its_place(case: str) -> None:
    content, words = WRONG[case]
    with pytest.raises(ConfigError) as fault:
        parse_ledger(content, "keys.toml")
    assert words in str(fault.value).replace("'", '"'), str(fault.value)
