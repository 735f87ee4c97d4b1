"""What is made in a folder is its owner's alone, unless the folder was made to be shared."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bastion.modes import CLOSED, SHARED, is_shared, modes_in


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o770, 0o2700, 0o2710, 0o2740, 0o1777])
def test_no_other_folder_is_shared(mode: int) -> None:
    assert modes_in(stat.S_IFDIR | mode) == CLOSED == (0o600, 0o700)


@pytest.mark.parametrize("mode", [0o2750, 0o2770, 0o2755])
def test_nobody_but_the_owner_ever_writes(mode: int) -> None:
    assert is_shared(stat.S_IFDIR | mode) and modes_in(mode) == SHARED
    assert not (SHARED.file | SHARED.folder) & 0o027


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives things to groups")
def test_what_somebody_makes_who_is_not_in_the_group_is_the_groups(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, 65534, 60)
    shared.chmod(0o2750)
    child = os.fork()
    if not child:
        os.umask(0o027)
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        modes = modes_in(shared.stat().st_mode)
        (shared / "day").mkdir(modes.folder)
        os.close(os.open(shared / "day" / "file", os.O_WRONLY | os.O_CREAT | os.O_EXCL, modes.file))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    found = [(stat.S_IMODE(one.stat().st_mode), one.stat().st_gid) for one in sorted(shared.rglob("*"))]
    assert found == [(0o2750, 60), (0o640, 60)]
