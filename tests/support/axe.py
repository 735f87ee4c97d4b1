"""axe-core, the checker of accessibility: installed once by npm, into a cache beside .venv, and run in a browser."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from tests.support.xterm import CACHE as BESIDE
from tests.support.xterm import npm_installed

VERSION: Final = "4.14.1"
CACHE: Final = BESIDE.with_name(f"axe-core-{VERSION}")

_RUN: Final = """
return axe.run(document, {resultTypes: ['violations', 'incomplete']}).then(found => {
  const told = kind => found[kind].map(one => [one.impact, one.id, one.nodes.map(node => node.target.join(' '))]);
  return {violations: told('violations'), incomplete: told('incomplete'), passes: found.passes.length};
});
"""


def axe_missing() -> str:
    """Why it cannot be had here, or ""."""
    return "" if CACHE.exists() or shutil.which("npm") else "npm is missing"


def script() -> str:
    """What makes `axe` in a page."""
    folder: Path = npm_installed(CACHE, [f"axe-core@{VERSION}"])
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def look(run: Any, source: str) -> dict[str, Any]:
    """What axe finds on the page that `run(script)` runs scripts in: violations and what it could not decide, each
    [impact, rule, elements], and how many rules passed."""
    run(source + "; window.axe = axe; return 1;")
    found: dict[str, Any] = run(_RUN)
    return found
