"""Twisted's private names: used in two modules of bastion/net, all of them checked, and missed in one clear line."""

import ast
import functools
import importlib
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from twisted.internet import tcp
from twisted.internet.epollreactor import EPollReactor

from bastion.net import twisted_names
from bastion.net.twisted_names import (
    CLIENT,
    CONNECTION,
    CONNECTOR,
    PORT,
    REACTOR,
    UnknownTwisted,
    check,
    known,
)

ROOT = Path(__file__).resolve().parents[3]
USERS = {ROOT / "bastion" / "net" / "socket.py", ROOT / "bastion" / "net" / "epoll.py"}
ALLOWED = {
    "bastion/assembly/asking.py": {"_exit": "Python's own: os._exit"},
    "bastion/assembly/detecting.py": {"_exit": "Python's own: os._exit"},
    "bastion/assembly/sending.py": {"_exit": "Python's own: os._exit"},
    "bastion/assembly/uploading.py": {"_exit": "Python's own: os._exit"},
    "bastion/handover/program.py": {"_exit": "Python's own: os._exit"},
    "bastion/demo/target.py": {"_runAsUser": "Conch's SFTP server calls it; the demo's target only"},
}


@functools.cache
def tree_of(path):
    """When it is asked for: a second for all of them, which every worker of a run would spend on collecting."""
    return ast.parse(path.read_text(encoding="utf-8"))


def code():
    return {path: tree_of(path) for path in sorted((ROOT / "bastion").rglob("*.py"))}


def private(names):
    return {name for name in names if name.startswith("_") and not name.endswith("_")} - set(
        dir(NamedTuple("_", []))
    )


def names(tree):
    """(private names that are defined or set here, those that are read from anything)"""
    defined, read = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Attribute):
            (read if isinstance(node.ctx, ast.Load) else defined).add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.add(node.target.id)
    return private(defined), private(read)


def bases(path, tree):
    """Twisted's classes that the classes of one module derive from."""
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    for node in ast.walk(tree):
        for parent in node.bases if isinstance(node, ast.ClassDef) else ():
            found = module
            for part in ast.unparse(parent).split("."):
                found = getattr(found, part, None)
            if isinstance(found, type) and found.__module__.startswith("twisted"):
                yield found


def private_use(path, tree, ours):
    """What one module takes of Twisted's private names: imports, what it reads and nothing of ours defines, and what
    stands in a class beside the same name of Twisted's."""
    defined, read = names(tree)
    found = read - ours
    for base in bases(path, tree):
        found |= (defined | read) & set(known(base))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("twisted"):
            found |= private({*node.module.split("."), *(alias.name for alias in node.names)})
    return found - set(ALLOWED.get(str(path.relative_to(ROOT)), ()))


@pytest.mark.slow
def test_no_other_module_uses_a_private_name_of_twisted():
    ours = set().union(*(names(tree)[0] for tree in code().values()))
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path, tree in code().items()
        if path not in USERS
        for name in private_use(path, tree, ours)
    }
    assert found == set(), "move it into bastion/net and name it in twisted_names.py"


def test_every_private_name_that_is_used_is_checked():
    owners = (tcp.Server, tcp.Client, tcp.Connector, tcp.Port, EPollReactor)
    twisted = {name for owner in owners for name in known(owner)}
    used = set()
    for path in USERS:
        defined, read = names(tree_of(path))
        used |= (defined | read) & twisted
    assert used == private((*CONNECTION, *CLIENT, *CONNECTOR, *PORT, *REACTOR))


def test_the_installed_twisted_has_them_all():
    check()
    check(EPollReactor)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(twisted_names, "CONNECTION", (*CONNECTION, "_nowhere"))

    class Changed(EPollReactor):
        pass

    with pytest.raises(
        UnknownTwisted, match=r"lacks Server\._nowhere, Client\._nowhere: .* constraints\.txt"
    ):
        check(Changed)


@pytest.mark.slow
def test_a_twisted_without_one_of_them_is_refused_before_anything_is_served():
    program = (
        "from bastion.net import twisted_names\n"
        "twisted_names.REACTOR += ('_gone',)\n"
        "from bastion.__main__ import main\n"
        "import sys; sys.argv[1:] = ['serve', '--config', 'missing.toml']; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 3
    said = [
        line for line in done.stderr.splitlines() if line.startswith("bastion: ")
    ]  # beside Python's own warnings
    assert len(said) == 1 and said[0].startswith("bastion: Twisted ")
    assert "lacks EPollReactor._gone: " in done.stderr
