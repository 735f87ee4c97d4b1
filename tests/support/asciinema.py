"""asciinema's own programs: its player without a browser, run by node, and its CLI of version 3, built by cargo.

Both are kept in caches beside .venv. Version 2 of the CLI is a Python package of the tests.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support.xterm import npm_installed

PLAYER = "3.18.0"
CLI = "3.2.0"
BESIDE = Path(__file__).resolve().parents[2] / ".venv"

SCRIPT = r"""
import { readFileSync, readdirSync } from 'fs';
const folder = process.argv[1] + '/node_modules/asciinema-player/dist/';
const { C: Core } = await import(folder + readdirSync(folder).find(name => name.startsWith('core-')));
const logger = Object.fromEntries(['log', 'debug', 'info', 'warn', 'error'].map(name => [name, () => {}]));
for (const line of readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
  const core = new Core({ data: JSON.parse(line), parser: 'asciicast' }, { logger, preload: true });
  const shown = [], failed = [];
  core.addEventListener('reset', state => shown.splice(0, Infinity, ['size', [state.size.cols, state.size.rows]]));
  core.addEventListener('resize', size => shown.push(['size', [size.cols, size.rows]]));
  core.addEventListener('output', text => shown.push(['data', [text].flat().join('')]));
  core.addEventListener('error', error => failed.push(String(error)));
  core.terminalReady();
  await core.init();
  await core.seek('100%');
  console.log(JSON.stringify({ shown, failed, duration: core.getDuration() }));
}
process.exit(0);
"""


def player_missing() -> str:
    """Why the player does not run here, or ""."""
    return "" if shutil.which("node") and shutil.which("npm") else "node and npm are missing"


def played(casts: list[str]) -> list[dict[str, Any]]:
    """What the player gives its terminal of each cast, from beginning to end: {shown, failed, duration}.

    `shown` are pairs: `size` and [columns, rows], `data` and text.
    """
    cache = npm_installed(BESIDE / f"asciinema-player-{PLAYER}", [f"asciinema-player@{PLAYER}"])
    text = "\n".join(map(json.dumps, casts))
    command = ["node", "--input-type=module", "-e", SCRIPT, str(cache)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def cli_missing() -> str:
    """Why the CLI of version 3 cannot be had here, or ""."""
    return "" if _cli().exists() or shutil.which("cargo") else "cargo is missing"


def _cli() -> Path:
    return BESIDE / f"asciinema-{CLI}" / "bin" / "asciinema"


def cli() -> str:
    """The program; built where it is not there, which takes minutes."""
    program = _cli()
    if not program.exists():
        root = str(program.parents[1])
        command = ["cargo", "install", "--quiet", "--locked", "--root", root, "--version", CLI, "asciinema"]
        subprocess.run(command, check=True, timeout=3600)
    return str(program)
