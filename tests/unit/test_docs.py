"""The documents say what the code says."""

import ast
import re
from pathlib import Path

import pytest

from bastion.cli.main import COMMANDS
from bastion.observe.events import table
from tests.support.metrics_document import renew, series
from tests.unit.test_layers import LAYERS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def rows(text):
    """The cells of every table row, without their backquotes; `a \\| b` stays one cell."""
    for line in text.splitlines():
        if line.startswith("|") and not set(line) <= set("|- "):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def words(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_every_package_is_in_the_room_plan():
    packages = {path.parent.name for path in (ROOT / "bastion").glob("*/__init__.py")}
    planned = {name.split(".")[0] for name in LAYERS}
    assert packages <= planned
    described = {word.rstrip("/") for row in rows(read("docs/architecture.md")) for word in words(row[0])}
    assert packages <= described, "every package has a row that says what is in it"


def test_every_room_says_which_modules_it_has():
    """Each in a line of its own: "- `name`: what it is" or "    name   what it is"."""
    for package in sorted((ROOT / "bastion").glob("*/__init__.py")):
        text = ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))) or ""
        lines = re.findall(r"^(?:- `| {4}\w).*", text, re.MULTILINE)
        named = {word for line in lines for word in re.findall(r"`(\w+)`|^ {4}(\w+)", line) for word in word}
        modules = {path.stem for path in package.parent.glob("*.py")} - {"__init__"}
        assert modules <= named, f"{package.parent.name}: its docstring does not name {modules - named}"


def test_every_metric_is_documented_as_it_is():
    text = read("docs/metrics.md")
    assert renew(text) == text, "write it anew: python -m tests.support.metrics_document docs/metrics.md"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_metric_that_a_document_names_is_there(path):
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"\bbastion_[a-z_]+[a-z]\b", text):
        assert name in series() or name in NOT_METRICS, f"{path.name}: {name}"


def test_every_audit_event_is_documented():
    text = read("docs/audit.md")
    begins = text.index("| event | says")
    assert text[begins : text.index("\n\n", begins)].splitlines() == table(), (
        "write it anew: python -m tests.support.audit_document docs/audit.md"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command):
    assert f"`bastion {command}`" in read("README.md")


def test_every_dependency_is_explained():
    setup = read("setup.cfg")
    required = setup.partition("install_requires =")[2].partition("[options.packages")[0]
    names = re.findall(r"^    ([A-Za-z0-9_.-]+)", required, re.MULTILINE)
    explained = read("docs/dependencies.md").lower()
    assert names and all(name.lower() in explained for name in names)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert link.startswith("https://") or (path.parent / link).exists(), f"{path.name}: {link}"


def test_files_that_are_named_are_here():
    """Documents by any name, in code too; files of ours where they are named with their folder."""
    sources = [path for room in ("bastion", "tests") for path in sorted((ROOT / room).rglob("*.py"))]
    documents = {path.name for path in PAGES}
    gone = []
    for path in [*PAGES, *sources]:
        for name in set(re.findall(r"[\w./-]*\w\.(?:md|py)\b", path.read_text(encoding="utf-8"))):
            there = (ROOT / name).exists() or (path.parent / name).exists()
            if name.endswith(".md") and "/" not in name and "." not in Path(name).stem:
                there = name in documents
            elif not name.startswith(("bastion/", "tests/", "docs/")):
                continue
            if not there:
                gone.append(f"{path.relative_to(ROOT)}: {name}")
    assert gone == []


@pytest.mark.parametrize(
    "path", [path for path in PAGES if path.name != "CHANGELOG.md"], ids=lambda path: path.name
)
def test_commands_in_the_documents_exist(path):
    for command in re.findall(
        r"(?:^|[`$/ ])(?<!-J )bastion ([a-z][a-z-]+)(?!@)\b", path.read_text(encoding="utf-8"), re.MULTILINE
    ):
        assert command in COMMANDS or command in NOT_COMMANDS, f"{path.name}: bastion {command}"


# Other names that begin as those of metrics do.
NOT_METRICS = {"bastion_certificate", "bastion_console", "bastion_gateway", "bastion_reader", "bastion_state"}

# Words that follow the name of the product in a sentence.
NOT_COMMANDS = {"is"}
