"""Building: which version it gets, and that a wheel and an sdist work where there is nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import bastion
from tests.unit.config.site import Site

ROOT = Path(__file__).resolve().parents[2]
NEEDED = (
    "setup.py",
    "setup.cfg",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "bastion",
    "etc",
    "systemd",
)
COMMIT = r"\+g[0-9a-f]{7}"

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def git(tree: Path, *words: str) -> str:
    return run("git", "-c", "user.name=T", "-c", "user.email=t@example.com", *words, cwd=tree)


def version(tree: Path) -> str:
    return run(sys.executable, "setup.py", "--version", cwd=tree).splitlines()[-1]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what a build needs, of which git knows nothing."""
    made = tmp_path / "tree"
    made.mkdir()
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name,
                made / name,
                symlinks=True,
                ignore=shutil.ignore_patterns("__pycache__", "VERSION"),
            )
        else:
            shutil.copy(ROOT / name, made / name)
    return made


def commit(tree: Path, text: str) -> None:
    (tree / "README.md").write_text(text)
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", text)


def test_the_version_is_the_tags(tree: Path, tmp_path: Path) -> None:
    base = re.escape(bastion.BASE_VERSION)
    assert version(tree) == bastion.BASE_VERSION  # an archive
    git(tmp_path, "init", "-q")
    commit(tmp_path, "somebody else's repository") if (tmp_path / "README.md").exists() else None
    assert version(tree) == bastion.BASE_VERSION  # unpacked inside of another repository
    git(tree, "init", "-q")
    commit(tree, "first")
    assert re.fullmatch(base + COMMIT, version(tree))
    git(tree, "tag", "v3.1.0")
    git(tree, "tag", "unrelated")
    assert version(tree) == "3.1.0"
    commit(tree, "second")
    assert re.fullmatch(r"3\.1\.0\.post1" + COMMIT, version(tree))
    (tree / "README.md").write_text("changed")
    assert re.fullmatch(r"3\.1\.0\.post1" + COMMIT + r"\.dirty", version(tree))
    git(tree, "checkout", "-q", "README.md")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{tree}", "shallow")
    assert re.fullmatch(base + COMMIT, version(tmp_path / "shallow"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh virtual environment that has the libraries of this one, and no bastion."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    ours = folder / "libraries"
    ours.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "bastion" not in entry.name.lower() and not entry.name.endswith(".pth"):
            (ours / entry.name).symlink_to(entry)
    (site / "libraries.pth").write_text(f"{ours}\n")
    yield folder


def test_a_wheel_and_an_sdist_are_whole(tree: Path, tmp_path: Path, environment: Path) -> None:
    git(tree, "init", "-q")
    commit(tree, "first")
    git(tree, "tag", "v3.1.0")
    backend = (
        "from setuptools import build_meta as b; import sys; print(getattr(b, sys.argv[1])(sys.argv[2]))"
    )
    out = tmp_path / "dist"
    out.mkdir()
    sdist = run(sys.executable, "-c", backend, "build_sdist", out, cwd=tree).splitlines()[-1]
    assert sdist == "bastion_gateway-3.1.0.tar.gz"  # as PEP 625 has it
    with tarfile.open(out / sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / "bastion_gateway-3.1.0"
    assert version(unpacked) == "3.1.0"
    wheel = run(sys.executable, "-c", backend, "build_wheel", out, cwd=unpacked).splitlines()[-1]
    with zipfile.ZipFile(out / wheel) as archive:
        names = set(archive.namelist())
    for folder in ("etc", "systemd"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file():
                assert f"bastion/data/{path.relative_to(ROOT)}" in names
    for path in (ROOT / "bastion" / "data").glob("[cp]*/**/*"):  # of the console and the player
        if path.is_file():
            assert str(path.relative_to(ROOT)) in names
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        environment / "bin" / "python",
        "install",
        "-q",
        "--no-deps",
    ]
    run(*pip, out / wheel, cwd=tmp_path)
    program = environment / "bin" / "bastion"
    assert run(program, "--version", cwd=tmp_path) == "bastion, version 3.1.0"
    where = run(environment / "bin" / "python", "-c", "import bastion; print(bastion.__file__)", cwd=tmp_path)
    assert where.startswith(str(environment))
    (tmp_path / "site").mkdir()
    site = Site(tmp_path / "site")
    assert "0 errors" in run(program, "check", "--config", site.config, cwd=tmp_path)
