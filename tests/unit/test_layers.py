"""Imports point down only and never in a circle: the code, walked against the room plan in docs/architecture.md."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAN = ROOT / "docs" / "architecture.md"

# Who may import the reactor: the one module that everything is given it by.
REACTOR_ALLOWED = {"bastion.reactor"}

# What pure code (L0 and L1) may not import: I/O, time, threads, chance and logging.
IMPURE = {
    "asyncio", "fcntl", "glob", "io", "logging", "mmap", "multiprocessing", "os", "pathlib", "pty", "random",
    "select", "selectors", "shutil", "signal", "socket", "socketserver", "ssl", "subprocess", "tempfile",
    "termios", "threading", "time", "twisted", "urllib", "zope",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "exec", "eval"}
IMPURE_METHODS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now"}
IMPURE_ALLOWED = {"bastion.clock": {"time"}}


@cache
def parsed(source: str) -> ast.Module:
    """Each module is looked at several times."""
    return ast.parse(source)


def read_plan(text: str) -> tuple[dict[str, int], set[tuple[str, str]]]:
    """(module or package -> layer, allowed pairs of rooms in one layer), from the document's two blocks."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    layers: dict[str, int] = {}
    for line in next(body for kind, body in blocks if kind == "rooms").splitlines():
        names, _, _ = line[2:].partition(" - ")
        assert re.match(r"L\d  ", line), f"not a line of the room plan: {line!r}"
        for name in names.split():
            assert name not in layers, f"{name} is twice in the room plan"
            layers[name] = int(line[1])
    sideways = set()
    for line in next(body for kind, body in blocks if kind == "sideways").splitlines():
        left, arrow, right = line.split(" - ")[0].split()
        assert arrow == "->"
        sideways.add((left, right))
    return layers, sideways


LAYERS, SIDEWAYS = read_plan(PLAN.read_text(encoding="utf-8"))


def layer_of(module: str, layers: dict[str, int]) -> int | None:
    """The layer of the longest planned name that `module` is or lies in; the bare package is below all."""
    parts = module.removeprefix("bastion").lstrip(".").split(".")
    if parts == [""]:
        return -1
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in layers:
            return layers[name]
    return None


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported(tree: ast.AST, module: str, is_package: bool, known: set[str]) -> Iterator[tuple[int, str]]:
    """(line, absolute module) of every import anywhere in `tree`, in functions and TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                keep = len(parts) - node.level + (1 if is_package else 0)
                base = ".".join([*parts[:keep], *([base] if base else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in known or base == "twisted.internet" else base


def faults(module: str, source: str, is_package: bool, known: set[str]) -> list[str]:
    """Every rule that one module breaks, as lines `module:line: what`."""
    tree = parsed(source)
    own = layer_of(module, LAYERS)
    found = [] if own is not None else [f"{module}: not in the room plan of docs/architecture.md"]
    own = 0 if own is None else own
    for line, name in imported(tree, module, is_package, known):
        where = f"{module}:{line}"
        if name.startswith("twisted.internet.reactor") and module not in REACTOR_ALLOWED:
            found.append(f"{where}: imports the reactor")
        top = name.split(".")[0]
        if top == "bastion":
            found.extend(f"{where}: {fault}" for fault in direction(module, own, name))
        elif own <= 1 and top in IMPURE and top not in IMPURE_ALLOWED.get(module, set()):
            found.append(f"{where}: layer {own} is pure and imports {top}")
    if own <= 1:
        found.extend(impure_calls(module, tree))
    return found


def direction(module: str, own: int, name: str) -> list[str]:
    other = layer_of(name, LAYERS)
    if other is None or other < own:
        return []
    if other > own:
        return [f"layer {own} imports upward: {name} is layer {other}"]
    rooms = room_of(module), room_of(name)
    if rooms[0] != rooms[1] and rooms not in SIDEWAYS:
        return [f"imports sideways: {rooms[0]} -> {rooms[1]} is not listed in docs/architecture.md"]
    return []


def impure_calls(module: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in IMPURE_CALLS:
                yield f"{module}:{node.lineno}: pure code calls {called.id}()"
            elif isinstance(called, ast.Attribute) and ast.unparse(called) in IMPURE_METHODS:
                yield f"{module}:{node.lineno}: pure code calls {ast.unparse(called)}()"


def circles(graph: Mapping[str, set[str]]) -> set[tuple[str, ...]]:
    """Nodes that lead back to themselves, those of one circle together (Tarjan's strongly connected components)."""
    found: set[tuple[str, ...]] = set()
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        path.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in number:
                visit(other)
            if other in path:
                lowest[node] = min(lowest[node], lowest[other])
        if lowest[node] == number[node]:
            together = path[path.index(node) :]
            del path[path.index(node) :]
            if len(together) > 1 or node in graph.get(node, ()):
                found.add(tuple(sorted(together)))

    for node in sorted(graph):
        if node not in number:
            visit(node)
    return found


def file_imports(sources: Mapping[str, tuple[str, bool]]) -> dict[str, set[str]]:
    """Module -> what it imports of the others, in functions and under TYPE_CHECKING too; from (text, is a package)."""
    known = set(sources)
    return {
        module: {name for _, name in imported(parsed(text), module, is_package, known) if name in known}
        for module, (text, is_package) in sources.items()
    }


def room_imports(files: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The same between rooms. Modules that lie in no room do not count."""
    rooms: dict[str, set[str]] = {}
    for module, names in files.items():
        rooms.setdefault(room_of(module), set()).update(room_of(name) for name in names)
    rooms.pop("", None)
    return {room: others - {room, ""} for room, others in rooms.items()}


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "bastion").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def test_imports_point_down_only():
    found = []
    for module, path in MODULES.items():
        source = path.read_text(encoding="utf-8")
        found += faults(module, source, path.name == "__init__.py", set(MODULES))
    assert found == [], "\n" + "\n".join(found)


def test_no_file_and_no_room_imports_itself_in_a_circle():
    files = file_imports(
        {
            module: (path.read_text(encoding="utf-8"), path.name == "__init__.py")
            for module, path in MODULES.items()
        }
    )
    assert circles(files) == set()
    assert circles(room_imports(files)) == set()


@pytest.mark.parametrize(
    "back",
    [
        "from bastion.one import a",
        "import bastion.one.a",
        "from ..one.a import thing",
        "def f():\n    from bastion.one import a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from bastion.one.a import A",
    ],
)
def test_the_walk_sees_a_circle(back):
    made = {
        "bastion.one.a": ("from bastion.two import b", False),
        "bastion.two.b": ("import bastion.two.c", False),
        "bastion.two.c": (back, False),
        "bastion.two.d": ("from bastion.one import a\nfrom bastion.two import b", False),
    }
    files = file_imports(made)
    assert circles(files) == {("bastion.one.a", "bastion.two.b", "bastion.two.c")}
    assert circles(room_imports(files)) == {("one", "two")}
    made["bastion.two.c"] = ("import os", False)
    assert circles(file_imports(made)) == set()


def test_a_circle_of_rooms_needs_no_circle_of_files():
    files = {"bastion.one.a": {"bastion.two.b"}, "bastion.two.c": {"bastion.one.d"}}
    assert circles(files) == set()
    assert circles(room_imports(files)) == {("one", "two")}
    assert circles({"x": {"y"}, "y": {"z"}, "z": {"z"}}) == {("z",)}


MOST_PROTOCOLS = 33
MOST_FILE_LINES = 500
MOST_FUNCTION_LINES = 50


def protocols(module: str, source: str) -> Iterator[str]:
    """`module.Class` for each class that has typing's Protocol among its bases."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                name = base.value if isinstance(base, ast.Subscript) else base
                if ast.unparse(name).rpartition(".")[2] == "Protocol":
                    yield f"{module}.{node.name}"


def oversize(module: str, source: str) -> Iterator[str]:
    """A line for the file and each function in it that is longer than it may be; decorators do not count."""
    if (lines := len(source.splitlines())) > MOST_FILE_LINES:
        yield f"{module}: {lines} lines"
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            if (lines := node.end_lineno - node.lineno + 1) > MOST_FUNCTION_LINES:
                yield f"{module}:{node.lineno}: {node.name} has {lines} lines"


def test_protocols_are_for_real_seams():
    """One implementation that may be imported needs none; nor does one method, which is a callable."""
    found = [name for module, path in MODULES.items() for name in protocols(module, path.read_text("utf-8"))]
    assert len(found) <= MOST_PROTOCOLS, "\n" + "\n".join(found)


def test_no_file_and_no_function_is_too_long():
    found = [line for module, path in MODULES.items() for line in oversize(module, path.read_text("utf-8"))]
    assert found == [], "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "bases", ["Protocol", "typing.Protocol", "Protocol[T]", "typing.Protocol[T]", "Timers, Protocol"]
)
def test_the_count_sees_a_protocol(bases):
    source = f"def f():\n    class A({bases}): ...\nclass B(transport.Protocols): ...\nclass C: ..."
    assert list(protocols("m", source)) == ["m.A"]


def test_the_measure_sees_what_is_too_long():
    body = "    x = 1\n"
    for start in ("def f():\n", "async def f():\n", "@one\n@two\ndef f():\n"):
        line = start.count("\n")
        assert list(oversize("m", start + body * 49)) == []
        assert list(oversize("m", start + body * 50)) == [f"m:{line}: f has 51 lines"]
    inner = "class C:\n    def f(self):\n" + ("    " + body) * 50
    assert list(oversize("m", inner)) == ["m:2: f has 51 lines"]
    assert list(oversize("m", "x = 1\n" * 500)) == []
    assert list(oversize("m", "x = 1\n" * 501)) == ["m: 501 lines"]


def test_every_planned_room_exists():
    missing = [name for name in LAYERS if f"bastion.{name}" not in MODULES]
    assert missing == [], "in the room plan of docs/architecture.md but not in bastion/"


def test_every_sideways_pair_is_used():
    used = set()
    for module, path in MODULES.items():
        tree = parsed(path.read_text(encoding="utf-8"))
        for _, name in imported(tree, module, path.name == "__init__.py", set(MODULES)):
            if name.startswith("bastion.") and layer_of(name, LAYERS) == layer_of(module, LAYERS):
                used.add((room_of(module), room_of(name)))
    assert sorted(SIDEWAYS - used) == [], "listed as sideways in docs/architecture.md but not used"


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("bastion.wire.data", "from bastion.relay import relay", "upward"),
        ("bastion.wire.data", "import bastion.session", "upward"),
        ("bastion.wire.data", "from .. import session", "upward"),
        ("bastion.wire.data", "def f():\n    from bastion.transport import output", "upward"),
        ("bastion.observe.meters", "from bastion.observe import exporter", "upward"),
        ("bastion.transport.transport", "from bastion.ca import keys", "sideways"),
        ("bastion.wire.data", "import os", "pure"),
        ("bastion.policy.rules", "from time import sleep", "pure"),
        ("bastion.policy.rules", "from twisted.internet.defer import Deferred", "pure"),
        ("bastion.wire.data", "open('x')", "open()"),
        ("bastion.wire.data", "from datetime import datetime\ndatetime.now()", "datetime.now()"),
        ("bastion.session.session", "def f():\n    from twisted.internet import reactor", "reactor"),
        ("bastion.session.session", "import twisted.internet.reactor", "reactor"),
        ("bastion.cli.main", "from twisted.internet.reactor import callLater", "reactor"),
        ("bastion.nowhere.x", "pass", "room plan"),
    ],
)
def test_the_walk_sees_a_fault(monkeypatch, module, source, fault):
    monkeypatch.setattr(f"{__name__}.SIDEWAYS", set())
    known = set(MODULES) | {"bastion.ca.keys"}
    assert any(fault in line for line in faults(module, source, False, known))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bastion.reactor", "from twisted.internet import reactor"),
        ("bastion.clock", "import time"),
        ("bastion.session.session", "from bastion.wire import data"),
        ("bastion.wire.data", "from bastion.wire import numbers"),
        ("bastion.transport.transport", "from twisted.internet import defer"),
    ],
)
def test_the_walk_lets_the_rest_pass(module, source):
    assert faults(module, source, False, set(MODULES)) == []
