"""The sample file, the dump of what is in effect and the reference, all from the declarations (L2)."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bastion.auth.embedded import UserEntry
from bastion.config.sections import Sections
from bastion.options import Declared, Scope, declarations
from bastion.policy.rules import VERBS, Rule
from bastion.policy.targets import Target

WIDTH = 100


def _summary(cls: type[Any]) -> str:
    """The first sentence of a section's docstring, which is also its text in the docs."""
    return " ".join((cls.__doc__ or "").strip().partition("\n\n")[0].split())


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")


def render_sample(chosen: Mapping[str, str] | None = None) -> str:
    """`etc/bastion.toml`: every option with its help; what is required is set, the rest shows its default.

    `chosen` is option (`listen.public`) -> value as TOML, in place of what the sample sets.
    """
    values = _SET_IN_SAMPLE if chosen is None else chosen
    lines = [
        "# The configuration of Bastion. Every option is here; one that is commented out shows its default.",
        "# Check it with `bastion check --config FILE`. Paths are relative to the folder of this file.",
        "# Options marked (restart) need a restart, all others a reload (SIGHUP).",
    ]
    for declared in declarations(Sections):
        name = _sample_name(declared, declared.name)
        lines += ["", *_sample_section(name, declared, values, declared.kind.named)]
    return "\n".join(lines) + "\n"


def _sample_section(
    path: str, declared: Declared, values: Mapping[str, str], absent: bool = False
) -> Iterator[str]:
    cls = declared.kind.section
    assert cls is not None
    mark = "# " if absent else ""
    yield from _comment(_summary(cls))
    yield f"{mark}[{path}]"
    nested = []
    for option in declarations(cls):
        if option.kind.section is not None:
            nested.append(option)
            continue
        yield ""
        restart = " (restart)" if option.scope is Scope.RESTART else ""
        yield from _comment(f"{option.help}{restart} {_hint(option)}".rstrip())
        yield _sample_line(option, values.get(f"{path}.{option.name}"), absent)
    for option in nested:
        yield ""
        named = option.kind.named
        name = _sample_name(option, f"{path}.{option.name}")
        yield from _sample_section(name, option, values, absent or named or option.default is None)


def _sample_name(declared: Declared, path: str) -> str:
    """With a name, of a section of which there are any number, none by default."""
    return f"{path}.{_SAMPLE_NAMES[declared.name]}" if declared.kind.named else path


_SAMPLE_NAMES = {"inventories": "cmdb", "sinks": "siem"}

# Options that are not required but that the sample sets, so that the sample is a whole.
_SET_IN_SAMPLE = {
    "login_ca.files": '["keys/login_ca.pub"]',
    "upstream_ca.key": '"keys/upstream_ca"',
    "directory.embedded": '"users.toml"',
    "targets.known_hosts": '"known_hosts"',
}


def _hint(option: Declared) -> str:
    """What may stand there, where the help and the default do not show it already."""
    return f"One of: {option.kind.allowed}." if option.kind.name == "choice" else ""


def _sample_line(option: Declared, chosen: str | None, absent: bool) -> str:
    if option.required or chosen is not None:
        return ("# " if absent else "") + f"{option.name} = {chosen or option.example}"
    if option.default_text in ("not set", "[]", "{}"):
        return f"# {option.name} = {option.example or '...'}"
    return f"# {option.name} = {option.default_text}"


def render_values(value: Any, section: type[Any] = Sections) -> str:
    """The values in effect, defaults included, as TOML that `load` reads again. Secrets are elsewhere."""
    return "\n".join(_values(value, section, "")).strip() + "\n"


def _values(value: Any, section: type[Any], path: str) -> Iterator[str]:
    nested: list[tuple[Declared, Any]] = []
    if path:
        yield ""
        yield f"[{path}]"
    for option in declarations(section):
        found = getattr(value, option.name)
        if option.kind.named:
            nested += [(replace(option, name=f"{option.name}.{name}"), one) for name, one in found.items()]
        elif option.kind.section is not None:
            nested.append((option, found))
        elif found is not None or option.kind.write(found):
            yield f"{option.name} = {option.kind.write(found)}"
        else:
            yield f"# {option.name} is not set"
    for option, found in nested:
        inner = option.kind.section
        name = f"{path}.{option.name}" if path else option.name
        if found is not None and inner is not None:
            yield from _values(found, inner, name)


def render_reference() -> str:
    """`docs/configuration.md`: every option of bastion.toml, targets.toml and users.toml."""
    parts = [_REFERENCE_HEAD]
    for declared in declarations(Sections):
        parts += _reference_section(declared.name, declared)
    parts.append("## targets.toml: `[targets.NAME]`\n")
    parts.append(_TARGETS_HEAD)
    parts.append(_table(Target))
    parts += _reference_section("targets.NAME.password", _PASSWORD)
    parts.append("## users.toml: `[users.NAME]`\n")
    parts.append(_USERS_HEAD)
    parts.append(_table(UserEntry))
    return "\n".join(parts).rstrip() + "\n"


_PASSWORD = next(option for option in declarations(Target) if option.name == "password")


def _reference_section(path: str, declared: Declared) -> list[str]:
    cls = declared.kind.section
    assert cls is not None
    path += ".NAME" * declared.kind.named
    parts = [f"## `[{path}]`\n", _summary(cls) + "\n", _table(cls)]
    for option in declarations(cls):
        if option.kind.section is not None:
            parts += _reference_section(f"{path}.{option.name}", option)
    return parts


def _table(cls: type[Any]) -> str:
    rows = ["| option | type | default | takes effect | meaning |", "|---|---|---|---|---|"]
    for option in declarations(cls):
        if option.kind.section is not None:
            continue
        default = option.default_text
        if default not in ("required", "not set"):
            default = f"`{default}`"
        allowed = f" Allowed: {option.kind.allowed}." if option.kind.name not in _SELF_EVIDENT else ""
        cells = (f"`{option.name}`", option.kind.name, default, str(option.scope), option.help + allowed)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


_SELF_EVIDENT = frozenset(("boolean", "path", "list of path", "string", "list of string"))


def render_rule_table() -> str:
    """The options of a rule, for `docs/policy.md`."""
    return _table(Rule)


def render_verb_table(verbs: Mapping[str, str] = VERBS) -> str:
    """The verbs, for `docs/policy.md`."""
    rows = ["| verb | allows |", "|---|---|"]
    return "\n".join([*rows, *(f"| `{verb}` | {meaning} |" for verb, meaning in verbs.items())]) + "\n"


_REFERENCE_HEAD = """# Configuration

This page is made from the declarations in `bastion/config/sections.py`, and a test keeps it true. Write it
again with `python -m bastion.config.render .` in the checkout.

`bastion check --config FILE` reads the file and everything it names and reports every fault with file, line
and key. `bastion check --config FILE --show` prints the values in effect, defaults included. An unknown key
is a fault. Paths are relative to the folder of the file they stand in; `credential:NAME` is a file that systemd hands
out (`LoadCredential=NAME:...`). Durations are seconds or strings like
`"90s"`, `"15m"`, `"1h30m"`, `"2d"`; sizes are bytes or strings such as `"64 MiB"`.

"Takes effect" says what a changed value needs: `reload` (SIGHUP, for new connections) or `restart`.
"""

_TARGETS_HEAD = """One table per machine. Names and aliases are lower case and belong to one target each.
"""

_USERS_HEAD = """The embedded directory: the file that `[directory] embedded` names, closed to others (0640 or
0600). Make a hash with `bastion hash-password`.
"""

_BEGIN, _END = "<!-- {name}: generated -->", "<!-- end -->"


def with_tables(page: str) -> str:
    """`docs/policy.md` with the tables between its markers written again."""
    for name, table in (("rule", render_rule_table()), ("verbs", render_verb_table())):
        before, begin, rest = page.partition(_BEGIN.format(name=name))
        _, end, after = rest.partition(_END)
        if not begin or not end:
            raise ValueError(f"the page has no place for the table {name}")
        page = f"{before}{begin}\n{table}{end}{after}"
    return page


def write_all(root: Path) -> None:
    """Write the sample file and the generated pages into the checkout at `root`."""
    (root / "etc" / "bastion.toml").write_text(render_sample(), encoding="utf-8")
    (root / "docs" / "configuration.md").write_text(render_reference(), encoding="utf-8")
    page = root / "docs" / "policy.md"
    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
