"""The reference terminal: xterm.js without a screen, run by node. Installed once, by npm, into a cache beside .venv."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("@xterm/headless@6.0.0", "@xterm/addon-unicode11@0.9.0")
CACHE = Path(__file__).resolve().parents[2] / ".venv" / "xterm-6.0.0"

SCRIPT = r"""
const { Terminal } = require(process.argv[1] + '/node_modules/@xterm/headless');
const { Unicode11Addon } = require(process.argv[1] + '/node_modules/@xterm/addon-unicode11');
const FLAGS = ['Bold', 'Italic', 'Dim', 'Underline', 'Blink', 'Inverse', 'Invisible', 'Strikethrough', 'Overline'];
const jobs = require('fs').readFileSync(0, 'utf8').split('\n').filter(Boolean).map(line => JSON.parse(line));
(async () => {
  for (const job of jobs) {
    const term = new Terminal({ cols: job.cols, rows: job.rows, allowProposedApi: true, scrollback: 10000 });
    term.loadAddon(new Unicode11Addon());
    term.unicode.activeVersion = '11';
    // xterm leaves lines as they are when its width changes, xterm.js would wrap them anew
    Object.defineProperty(term._core.buffers.normal, '_isReflowEnabled', { get: () => false });
    const shown = [];
    for (const step of job.steps) {
      if (step.data !== undefined) await new Promise(done => term.write(Buffer.from(step.data, 'base64'), done));
      else if (step.size) term.resize(step.size[0], step.size[1]);
      else {
        const buffer = term.buffer.active, lines = [];
        const line = y => buffer.getLine(buffer.baseY + y).translateToString(true, 0, term.cols);
        for (let y = 0; y < term.rows; y++) lines.push(line(y));
        const looks = [];
        for (let y = 0; step.looks && y < term.rows; y++) {
          for (let x = 0; x < term.cols; x++) {
            const cell = buffer.getLine(buffer.baseY + y).getCell(x);
            const on = FLAGS.map(name => cell['is' + name]() ? 1 : 0).join('');
            const colours = [cell.getFgColorMode(), cell.getFgColor(), cell.getBgColorMode(), cell.getBgColor()].join();
            looks.push(`${cell.getChars() || ' '} ${on} ${colours}`);
          }
        }
        const screen = { lines, x: buffer.cursorX, y: buffer.cursorY, alternate: buffer.type === 'alternate' };
        shown.push(step.looks ? { ...screen, looks } : screen);
      }
    }
    console.log(JSON.stringify(shown));
    term.dispose();
  }
})();
"""


def xterm_missing() -> str:
    """Why there is no reference terminal here, or ""."""
    return (
        "" if shutil.which("node") and (CACHE.exists() or shutil.which("npm")) else "node and npm are missing"
    )


def npm_installed(cache: Path, packages: Sequence[str]) -> Path:
    """`cache`, with these packages in its node_modules: installed by npm where it is not there."""
    if not cache.exists():
        with tempfile.TemporaryDirectory(dir=cache.parent, prefix=cache.name) as folder:
            command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, *packages]
            subprocess.run(command, check=True, timeout=300)
            made = Path(folder) / "made"
            made.mkdir()
            shutil.move(Path(folder) / "node_modules", made)
            try:
                os.rename(made, cache)
            except OSError:
                assert cache.exists()  # another test was faster
    return cache


def reference(jobs: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The screens that xterm.js shows at each `snap` of each job: {lines, x, y, alternate}, with `looks` how each cell
    looks.

    A job is {cols, rows, steps}; a step {data: base64}, {size: [cols, rows]} or {snap: true, looks: true}.
    """
    text = "\n".join(json.dumps(job) for job in jobs)
    command = ["node", "-e", SCRIPT, str(npm_installed(CACHE, PACKAGES))]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=300)
    return [json.loads(line) for line in done.stdout.splitlines()]
