"""The files that keep the project: changelog fragments, pinned versions, and what runs before a commit."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FRAGMENTS = sorted(path for path in (ROOT / "changelog.d").iterdir() if path.name != ".gitkeep")
TOWNCRIER = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
TYPES = [kind["directory"] for kind in TOWNCRIER["type"]]


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.name)
def test_a_changelog_fragment_says_what_and_which_type(path: Path) -> None:
    assert re.fullmatch(rf"[a-z0-9-]+\.({'|'.join(TYPES)})\.md", path.name), f"WHAT.TYPE.md; types: {TYPES}"
    text = path.read_text(encoding="utf-8")
    assert text.strip() and text.endswith("\n")
    assert not re.search(r"^(#|[-*] )", text, re.MULTILINE), (
        "one entry, without a heading or a bullet of its own"
    )


def test_the_fragments_make_a_changelog() -> None:
    pytest.importorskip("towncrier")
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "Unreleased"]
    draft = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert draft.count("\n- ") == len(FRAGMENTS)
    for path in FRAGMENTS:
        assert path.read_text(encoding="utf-8").splitlines()[0] in draft


def test_the_changelog_has_the_mark_that_releases_are_put_behind() -> None:
    assert (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").count(TOWNCRIER["start_string"]) == 1


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [line.partition("==") for line in lines if not line.startswith("#")]
    assert all(name and version for name, _, version in found), "every line is name==version"
    return {canonicalize_name(name): version for name, _, version in found}


def test_every_dependency_is_pinned_to_a_version_that_is_allowed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options"]["install_requires"] + setup["options.extras_require"]["test"]
    pinned = pins()
    for requirement in map(Requirement, filter(None, lines.splitlines())):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_what_runs_before_a_commit_is_what_lint_runs() -> None:
    lint = re.search(r"^lint: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert lint is not None
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"entry: make (\w+)", hooks) == lint[1].split()
    assert "repo: local" in hooks and "http" not in hooks, "nothing is downloaded"
