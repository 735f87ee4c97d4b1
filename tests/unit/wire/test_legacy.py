"""The names are a leaf, closed, and each in the list that it belongs to."""

from __future__ import annotations

import subprocess
import sys

from bastion.wire.kexinit import TARGET
from bastion.wire.legacy import LEGACY_CIPHERS, LEGACY_HOST_KEYS, LEGACY_KEX, LEGACY_MACS, LEGACY_NAMES


def test_each_is_once_in_all_and_comes_last_where_a_target_lists_it() -> None:
    assert len(set(LEGACY_NAMES)) == len(LEGACY_NAMES)
    weak = TARGET.with_legacy(LEGACY_NAMES)
    for listed, names in (
        (weak.kex, LEGACY_KEX),
        (weak.host_keys, LEGACY_HOST_KEYS),
        (weak.ciphers, LEGACY_CIPHERS),
        (weak.macs, LEGACY_MACS),
    ):
        assert listed[-len(names) :] == names


def test_who_reads_them_loads_no_algorithm() -> None:
    program = "import bastion.wire.legacy, sys; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
