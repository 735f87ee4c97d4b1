"""A gateway as `bastion init` makes it, to break one thing of."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bastion.clock import FixedClock, SystemClock
from bastion.config.load import load
from bastion.doctor.subject import ServiceUser, Subject
from bastion.install.gateway import build
from bastion.install.layout import Layout, Owners
from tests.unit.install.test_texts import ANSWERS, BY


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    build(folder, ANSWERS, Layout.beside(folder), Owners(), BY)
    return folder


@pytest.fixture
def gateway(made: Path, tmp_path: Path) -> Path:
    """Its folder, below one that nobody else can write to."""
    folder = tmp_path / "gateway"
    shutil.copytree(made, folder)
    folder.chmod(0o755)
    return folder


Look = Callable[..., Subject]


@pytest.fixture
def look(gateway: Path) -> Look:
    """The subject as it is now; `edit` is (old, new) in bastion.toml."""

    def make(
        *edit: tuple[str, str], user: str = "", clock: FixedClock | SystemClock | None = None
    ) -> Subject:
        config = gateway / "bastion.toml"
        text = config.read_text()
        for old, new in edit:
            assert old in text
            text = text.replace(old, new)
        config.write_text(text)
        name = user or pwd.getpwuid(os.geteuid()).pw_name
        return Subject(load(config), ServiceUser.of(name), clock or SystemClock())

    return make
