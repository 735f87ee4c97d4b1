"""`bastion search`: lines that were shown in recordings, found in the reading index (L4).

Invariant: whatever a target printed, nothing of a result acts on the reader's terminal (`output.printable`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import click

from bastion.cli import moments
from bastion.cli.output import colour, fail, leave_quietly, printable, time_text, write_json
from bastion.cli.reading import index_option, place_of
from bastion.cli.recordings import FOUND_CODES, open_store, recordings_options
from bastion.cli.redaction import redaction_of
from bastion.clock import SystemClock
from bastion.indexing.searching import Hit
from bastion.indexing.store import IndexFile, IndexUnfit
from bastion.indexing.words import Question
from bastion.recording.listed import Listed, Wanted
from bastion.recording.redacting import Redaction

# Seconds before a line's last change at which the replay is opened: what led to it is seen.
LEAD = 2.0

# Characters of a line that a terminal is shown; --json has all.
LONGEST_SHOWN = 400


@click.command(epilog=FOUND_CODES)
@click.argument("words", nargs=-1, required=True)
@recordings_options
@index_option
@click.option("--user", metavar="NAME", default="", help="Only sessions of this identity.")
@click.option("--target", metavar="NAME", default="", help="Only sessions to this target.")
@click.option("--login", metavar="NAME", default="", help="Only sessions with this login on the target.")
@moments.SINCE
@moments.UNTIL
@click.option("--context", "-C", type=click.IntRange(0, 20), default=0, help="Lines around each.")
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, metavar="N", help="Lines at most."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def search(
    words: tuple[str, ...],
    config: Path | None,
    recordings: Path | None,
    index: Path | None,
    user: str,
    target: str,
    login: str,
    since: str | None,
    until: str | None,
    context: int,
    limit: int,
    as_json: bool,
) -> None:
    """Find lines in which all WORDS stand, newest session first.

    A word is found at the beginning of words, without regard to case and accents; "several words" in quotation marks
    (and one argument with blanks) as they stand there. `bastion index` says how old the index may be; what was run is
    asked with `bastion commands --grep`.

    Example: bastion search --config /etc/bastion/bastion.toml "permission denied" shadow --since "last week"
    """
    redaction = redaction_of(config)
    store = open_store(config, recordings)
    now = SystemClock().time()
    wanted = Wanted(moments.since(since, now), moments.until(until, now), user, target, login)
    question = Question.of(
        " ".join(f'"{word}"' if " " in word and '"' not in word else word for word in words)
    )
    if not question.terms:
        fail(f"{' '.join(words)}: there is no word in it to look for")
    place, found = place_of(index, store), 0
    if not place.exists():
        fail(f"there is no index at {place}: run `bastion index` first")
    try:
        file = IndexFile(place)
        with closing(file.newest(question, wanted, context)) as hits:  # --limit leaves it in the middle
            for hit in (_masked(hit, redaction) for hit in islice(_in_time(hits, wanted), limit)):
                found += 1
                write_json(document(hit)) if as_json else _show(hit)
    except IndexUnfit as error:
        fail(error.text, 3)
    except BrokenPipeError:
        leave_quietly()
        return
    if found == limit:
        click.echo(f"bastion: these are the first {limit}; --limit shows more", err=True)
    sys.exit(0 if found else 1)


def _in_time(hits: Iterator[Hit], wanted: Wanted) -> Iterator[Hit]:
    return (hit for hit in hits if wanted.spans(hit.session.started_at + hit.time))


def _masked(hit: Hit, redaction: Redaction) -> Hit:
    """The index may be older than a pattern."""
    text, *around = (redaction.mask(line) for line in (hit.text, *hit.before, *hit.after))
    before = len(hit.before)
    return replace(hit, text=text, before=tuple(around[:before]), after=tuple(around[before:]))


def document(hit: Hit) -> dict[str, Any]:
    """A line as JSON values."""
    one = hit.session
    return {
        "session": one.id,
        "channel": hit.channel,
        "at": one.started_at + hit.time,
        "offset": round(hit.time, 3),
        "user": one.identity,
        "login": one.login,
        "target": one.target,
        "text": hit.text,
        "before": list(hit.before),
        "after": list(hit.after),
        "replay": _replay(one, hit),
    }


def _replay(one: Listed, hit: Hit) -> str:
    channel = f" --channel {hit.channel}" if hit.channel else ""
    return f"bastion replay {one.id}{channel} --at {max(0.0, hit.time - LEAD):.1f}"


def _show(hit: Hit) -> None:
    one = hit.session
    where = f"{time_text(one.started_at + hit.time)}  {one.identity}  {one.login}@{one.target}  {_replay(one, hit)}"
    lines = [colour(printable(where), "cyan")]
    lines += [f"  - {_cut(line)}" for line in hit.before]
    lines.append(f"  {'>' if hit.before or hit.after else ' '} {_cut(hit.text)}")
    lines += [f"  - {_cut(line)}" for line in hit.after]
    click.echo("\n".join(lines))


def _cut(line: str) -> str:
    text = printable(line)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
