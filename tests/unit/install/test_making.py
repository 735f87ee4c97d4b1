"""Whole or not at all."""

import os
from pathlib import Path

import pytest

from bastion.install import making
from bastion.install.layout import CONFIG, Belongs, Layout, Owners
from bastion.install.making import in_the_way, make_folder, place, staged, write_file

NAMES = (CONFIG, "policy.toml", "users.toml")


def fill(stage: Path) -> None:
    for name in NAMES:
        write_file(stage / name, name, 0o640, Owners(), Belongs.CONFIGURES)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_new_folder_comes_into_being_in_one_step(tmp_path):
    layout = Layout.beside(tmp_path / "gateway")
    with staged(layout.folder) as stage:
        assert not layout.folder.exists() and stage.parent.stat().st_mode & 0o777 == 0o700
        fill(stage)
        place(stage, layout, Owners())
    assert tree(tmp_path) == {"gateway", *(f"gateway/{name}" for name in NAMES)}
    assert layout.folder.stat().st_mode & 0o777 == 0o755


def test_what_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), staged(tmp_path / "gateway") as stage:
        fill(stage)
        raise KeyboardInterrupt
    assert tree(tmp_path) == set()


def test_the_system_layout_makes_its_folders_and_takes_them_back(tmp_path, monkeypatch):
    layout = Layout.system(tmp_path / "etc" / "bastion", tmp_path)
    layout.folder.parent.mkdir()
    before = tree(tmp_path)

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with staged(layout.folder) as stage:
        fill(stage)
        with monkeypatch.context() as patched:
            patched.setattr(making.os, "rename", broken)
            with pytest.raises(OSError, match="No space"):
                place(stage, layout, Owners())
        place(stage, layout, Owners())
    assert before < tree(tmp_path)
    assert {"var/lib/bastion/recordings", "var/log/bastion", "run/bastion", f"etc/bastion/{CONFIG}"} <= tree(
        tmp_path
    )
    assert layout.recordings.stat().st_mode & 0o777 == 0o700


def test_every_step_that_fails_is_undone(tmp_path, monkeypatch):
    """Into a folder that is there, with a file of somebody else: the n-th move fails, for every n."""
    layout = Layout.system(tmp_path / "bastion", tmp_path)
    layout.folder.mkdir()
    (layout.folder / "notes").write_text("mine")
    before = tree(tmp_path)
    real = os.rename
    for failing in range(len(NAMES)):
        moved = []

        def rename(source, target, failing=failing, moved=moved):
            if len(moved) == failing and Path(target).parent == layout.folder:
                raise OSError(5, "Input/output error")
            moved.append(target)
            real(source, target)

        with staged(layout.folder) as stage:
            fill(stage)
            monkeypatch.setattr(making.os, "rename", rename)
            with pytest.raises(OSError, match="Input/output"):
                place(stage, layout, Owners())
            monkeypatch.setattr(making.os, "rename", real)
        assert tree(tmp_path) == before
    with staged(layout.folder) as stage:
        fill(stage)
        place(stage, layout, Owners())
    assert (layout.folder / "notes").read_text() == "mine" and (layout.folder / CONFIG).exists()


def test_nothing_is_replaced(tmp_path):
    layout = Layout.beside(tmp_path / "bastion")
    layout.folder.mkdir()
    (layout.folder / "users.toml").write_text("mine")
    assert in_the_way(layout, NAMES) == [layout.folder / "users.toml"]
    with staged(layout.folder) as stage:
        fill(stage)
        with pytest.raises(FileExistsError):
            place(stage, layout, Owners())
    assert tree(layout.folder) == {"users.toml"} and (layout.folder / "users.toml").read_text() == "mine"


def test_a_dangling_link_is_in_the_way(tmp_path):
    layout = Layout.beside(tmp_path)
    (tmp_path / "users.toml").symlink_to("/nowhere")
    assert in_the_way(layout, NAMES) == [tmp_path / "users.toml"]


def test_modes_do_not_depend_on_the_umask(tmp_path):
    layout = Layout.beside(tmp_path / "x")
    for mask in (0o077, 0o000):
        before = os.umask(mask)
        try:
            folder = tmp_path / f"folder{mask}"
            make_folder(folder, layout.folders()[5], Owners())
            write_file(folder / "file", "", 0o644, Owners(), Belongs.CONFIGURES)
        finally:
            os.umask(before)
        assert folder.stat().st_mode & 0o777 == 0o755
        assert (folder / "file").stat().st_mode & 0o777 == 0o644


def test_what_a_killed_run_has_left_is_removed_and_what_another_one_works_on_is_not(tmp_path):
    for folder, prefix in ((tmp_path / "gateway", ".gateway.init-"), (tmp_path, ".init-")):
        left = tmp_path / f"{prefix}0123abcd"
        left.mkdir()
        (left / "upstream_ca").write_text("secret")
        (tmp_path / f"{prefix}file").write_text("no folder")
        with staged(folder) as one, staged(folder) as other:
            assert not left.exists() and one.exists() and other.exists()
        assert not one.exists() and (tmp_path / f"{prefix}file").exists()
