"""Every public function, class and method of the product is used by the product, not only by its tests.

Names are compared and not resolved: what shares its name with something that is used is not found.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

ALLOWED = {
    "FixedClock": "the clock of the tests",
    "advance": "the clock of the tests",
    "list_commands": "click.Group",
    "get_command": "click.Group",
    "format_commands": "click.Group",
    "readinto": "io.RawIOBase",
    "seekable": "io.RawIOBase",
    "describe": "prometheus_client's Collector",
    "startProtocol": "Twisted's DatagramProtocol",
    "datagramReceived": "Twisted's DatagramProtocol",
    "connectionRefused": "Twisted's DatagramProtocol",
    "logPrefix": "Twisted's ILoggingContext",
    "handleContentChunk": "twisted.web's Request",
    "requestReceived": "twisted.web's Request",
    "writeSequence": "Twisted's ITransport",
    "clientConnectionFailed": "Twisted's ClientFactory",
    "clientConnectionLost": "Twisted's ClientFactory",
    "resolutionBegan": "Twisted's IResolutionReceiver",
    "addressResolved": "Twisted's IResolutionReceiver",
    "resolutionComplete": "Twisted's IResolutionReceiver",
    "writeConnectionLost": "Twisted's IHalfCloseableProtocol",
    "processEnded": "Twisted's ProcessProtocol",
    "outReceived": "Twisted's ProcessProtocol",
    "stopProducing": "Twisted's IPushProducer",
    "sendPacket": "Conch's way of sending",
    "request_signal": "Conch's session, in the demo's target",
    "stopWriting": "Conch's channel, in the demo's target",
    "setEnv": "Conch's ISessionSetEnv, in the demo's target",
    "getPty": "Conch's ISession, in the demo's target",
    "openShell": "Conch's ISession, in the demo's target",
    "execCommand": "Conch's ISession, in the demo's target",
    "windowChanged": "Conch's ISession, in the demo's target",
    "openFile": "Conch's ISFTPServer, in the demo's target",
    "setAttrs": "Conch's ISFTPFile, in the demo's target",
    "display_message": "pyrage's callbacks for plugins",
    "request_public_string": "pyrage's callbacks for plugins",
    "request_passphrase": "pyrage's callbacks for plugins",
}
"""Name -> who calls it from outside."""

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Place(NamedTuple):
    file: str
    first: int
    last: int


def code() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "bastion").rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def defined(body: list[ast.stmt], file: str, whole: bool = True) -> Iterator[tuple[str, Place]]:
    """Public names, each with the lines in which its use does not count: its own, but for methods (`super().x()`).

    Commands of click are used by being declared.
    """
    for node in body:
        if not isinstance(node, _DEFINITIONS):
            continue
        if not node.name.startswith("_") and not any(
            ".command(" in ast.unparse(d) for d in node.decorator_list
        ):
            yield node.name, Place(file, node.lineno, (node.end_lineno or 0) if whole else 0)
        if isinstance(node, ast.ClassDef):
            yield from defined(node.body, file, whole=False)


def used(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.name, node.lineno) for alias in node.names if alias.asname)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # getattr(below, "unsent", None), and "bastion.cli.why:why" of the commands
            yield node.value.rpartition(":")[2], node.lineno


def unused(modules: list[tuple[str, ast.Module]]) -> set[str]:
    uses: dict[str, list[tuple[str, int]]] = {}
    for file, tree in modules:
        for name, line in used(tree):
            uses.setdefault(name, []).append((file, line))
    return {
        name
        for file, tree in modules
        for name, place in defined(tree.body, file)
        if all(where == file and place.first <= line <= place.last for where, line in uses.get(name, ()))
    }


def test_nothing_public_is_there_for_nobody() -> None:
    assert unused(list(code())) - set(ALLOWED) == set(), (
        "used by nothing in bastion/: delete it, or say who calls it"
    )


def test_what_is_allowed_is_there_and_needs_it() -> None:
    assert set(ALLOWED) - unused(list(code())) == set(), "gone, or used: take it out of ALLOWED"


def test_what_only_uses_itself_is_found() -> None:
    source = "def walk(n):\n    return walk(n - 1)\n\nclass Seen:\n    def used(self): ...\n\nSeen().used()\n"
    assert unused([("a.py", ast.parse(source))]) == {"walk"}
