"""How far a long command is (L4): a line on standard error, where somebody looks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click


@contextmanager
def counting(label: str) -> Iterator[Callable[[int, int], None]]:
    """What hears `(done, of)`; the line goes when it is over."""
    if not sys.stderr.isatty():
        yield lambda done, of: None
        return
    try:
        yield lambda done, of: click.echo(f"\r{label}: {done} of {of}\x1b[K", nl=False, err=True)
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)
