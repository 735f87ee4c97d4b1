"""What a document says to type exists, with these options: every `bastion ...` in it is looked up in the commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from bastion.cli.main import COMMANDS, cli
from tests.unit.test_docs import PAGES

NAMES = [path for path in PAGES if path.name != "CHANGELOG.md"]
PLACEHOLDERS = {"...", "F", "FILE"}


def typed(text: str) -> set[str]:
    """Command lines in backquotes and in blocks of code, cut at a comment or at the next command of a shell."""
    text = re.sub(r"\\\n\s*", " ", text)
    spans = re.findall(
        r"`(bastion [^`]+)`", re.sub(r"\s*\n\s*", " ", re.sub(r"```.*?```", "", text, flags=re.S))
    )
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    spans += [match[1] for line in lines if (match := re.match(r"^(?:[$#] )?(bastion [a-z].*)$", line))]
    return {" ".join(re.split(r" +# | [|&;<>] |\s[|&;<>]|;|&&", span)[0].split()) for span in spans}


def words_of(line: str) -> list[str]:
    try:
        return shlex.split(line)[1:]
    except ValueError:
        return line.split()[1:]


def faults(line: str) -> list[str]:
    """What of it does not exist."""
    words = words_of(line)
    command: click.Command = cli
    context = click.Context(cli)
    while words and isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        if found is None:
            return [] if words[0].startswith("-") or words[0] in PLACEHOLDERS else [f"no command {words[0]}"]
        command, words = found, words[1:]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {
        "--help",
        "-h",
        "--version",
    }
    return [
        f"no option {word} of {command.name}"
        for word in words
        if word.startswith("-")
        and word != "-"
        and not re.match(r"-\d", word)
        and word.partition("=")[0] not in known
    ]


@pytest.mark.parametrize("path", NAMES, ids=lambda path: path.name)
def test_commands_have_the_options_that_are_named(path: Path) -> None:
    wrong = [
        f"{line}: {fault}"
        for line in sorted(typed(path.read_text(encoding="utf-8")))
        for fault in faults(line)
    ]
    assert wrong == []


def test_what_is_looked_at() -> None:
    block = "```\n$ bastion keys list --json | jq .  # x\nbastion hold \\\n  -x\n```"
    assert typed(f"`bastion verify\n--all` and\n{block}") == {
        "bastion verify --all",
        "bastion keys list --json",
        "bastion hold -x",
    }
    assert faults("bastion verify --nonsense") == ["no option --nonsense of verify"]
    assert faults("bastion keys nonsense") == ["no command nonsense"]
    assert faults("bastion keys rotate upstream_ca --overlap=14d") == []


COMPLIANCE = (PAGES[0].parent / "docs" / "compliance.md").read_text(encoding="utf-8")


def test_every_row_of_the_compliance_map_has_its_evidence_or_says_that_it_has_none() -> None:
    rows = [line for line in COMPLIANCE.splitlines() if re.match(r"\| (\d|CC|A\.)", line)]
    assert len(rows) > 50
    for row in rows:
        control, feature, evidence, yours = (cell.strip() for cell in row.strip("|").split("|"))
        assert feature and control
        assert "`" in evidence or "](" in evidence or "not covered" in feature, control
        assert yours or evidence


def test_every_event_that_the_compliance_map_names_is_written() -> None:
    """A word of several parts in backquotes is an event of the audit log, a metric, a field or an option."""
    audit = (PAGES[0].parent / "docs" / "audit.md").read_text(encoding="utf-8")
    events = set(re.findall(r"^\| `([a-z_]+)`", audit, re.MULTILINE))
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", COMPLIANCE))
    configuration = "".join(
        (PAGES[0].parent / "docs" / name).read_text(encoding="utf-8")
        for name in ("configuration.md", "policy.md", "detections.md", "recording-format.md", "metrics.md")
    )
    gone = {name for name in named - events if f"`{name}`" not in configuration and name != "auth_methods"}
    assert gone == set()


def test_it_names_enough_commands_to_be_a_map() -> None:
    found = {words_of(line)[0] for line in typed(COMPLIANCE)}
    assert found <= set(COMMANDS) and len(found) >= 25
