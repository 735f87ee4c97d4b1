"""A recording as one HTML page with a player (L1, pure).

Invariant: what was recorded is JSON in a block that no browser runs, with no `<` in it, and the player sets it as
text alone. The page's policy lets run what carries the player's own hash and nothing else, and lets it load nothing.
No terminal is emulated in the browser: the screens come from our own (terminal.py), which keeps no colours.
"""

from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

from bastion.recording.changes import Change, changes
from bastion.recording.channels import ChannelSummary, Survey
from bastion.recording.commands import Command, commands_of
from bastion.recording.reader import Reader
from bastion.recording.redacted import RedactedReader
from bastion.recording.redacting import NOTHING
from bastion.recording.render import heading, transcript
from bastion.recording.transcript import Mark, Screen
from bastion.wire.printable import printable

# Bytes of the page: a browser that parses more takes minutes and gigabytes. Half for the screens, an eighth for the
# commands, the rest for the text.
LARGEST_PAGE = 64 << 20

# Lines of text below the player, and commands beside it, each an element of the page.
MOST_LINES = 50_000
MOST_COMMANDS = 10_000

# Characters of one command.
LONGEST_COMMAND = 4096


class Page:
    """One page. `cut` tells, once all pieces were taken, that the recording is longer than a page may be."""

    def __init__(
        self,
        reader: Reader,
        channels: Survey,
        channel: ChannelSummary,
        whole: bool,
        player: tuple[str, str] = ("", ""),
    ) -> None:
        """`player` is its script and its style sheet; `data` needs none."""
        self.cut = False
        self._reader, self._channels, self._channel, self._whole = reader, channels, channel, whole
        self._script, self._style = player

    def pieces(self) -> Iterator[str]:
        """The page, ASCII."""
        header = self._reader.header
        title = printable(f"{header.identity}: {header.login}@{header.target} ({header.session_id})", 1024)
        yield _HEAD.format(
            policy=content_policy(self._script, self._style), title=_escaped(title), style=self._style
        )
        yield from self.data()
        yield _TAIL.format(script=self._script)

    def data(self) -> Iterator[str]:
        """The recording alone, as JSON that ends no element: what the player reads."""
        only = None if self._whole else self._channel.id
        shown = list(self._channels.channels.values()) if self._whole else [self._channel]
        said = [
            line.strip("[]\n") for line in heading(self._reader, self._channels, self._channel, self._whole)
        ]
        yield _json({"heading": said, "channels": [[one.id, one.label, *one.size] for one in shown]})[:-1]
        yield ', "changes": ['
        found = (_json(change_values(one)) for one in changes(self._reader, self._channels, only))
        yield from self._limited(found, LARGEST_PAGE, LARGEST_PAGE // 2)
        yield '], "commands": ['
        yield from self._limited(
            (_json(command_values(one)) for one in self._commands(only)), MOST_COMMANDS, LARGEST_PAGE // 8
        )
        yield '], "lines": ['
        yield from self._limited(self._lines(only), MOST_LINES, LARGEST_PAGE * 3 // 8)
        cut = "longer than a page may be: the rest is in the recording; export it as text" if self.cut else ""
        yield f'], "cut": {_json(cut)}, "duration": {self._reader.tail().time_us / 1e6:.6f}}}'

    def _lines(self, only: int | None) -> Iterator[str]:
        for record in transcript(self._reader, self._channels, only, screens=False):
            if not isinstance(record, Screen):
                yield _json([round(record.time, 3), record.text, int(isinstance(record, Mark))])

    def _commands(self, only: int | None) -> list[Command]:
        """What was run on what is shown, in the order in which it began."""
        reader = self._reader
        redaction = reader.redaction if isinstance(reader, RedactedReader) else NOTHING
        found = [one for one in commands_of(reader) if only in (None, one.channel)]
        found.sort(key=lambda one: (one.start, one.channel))
        return [replace(one, text=redaction.mask(one.text)) for one in found]

    def _limited(self, elements: Iterable[str], most: int, largest: int) -> Iterator[str]:
        """Elements of a JSON array, up to so many and so many bytes."""
        size, before = 0, ""
        for count, element in enumerate(elements):
            size += len(element)
            if size > largest or count >= most:
                self.cut = True
                return
            yield before + element
            before = ",\n"


def content_policy(script: str, style: str) -> str:
    """The Content-Security-Policy of a page with this script and this style sheet, and nothing else."""
    return (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}'"


def change_values(change: Change) -> list[Any]:
    """`[time, channel, [row, text, ...], cursor or 0, size or 0, note]`: what the player reads."""
    rows = [value for row in change.rows.items() for value in row]
    return [round(change.time, 3), change.channel, rows, change.cursor or 0, change.size or 0, change.note]


def command_values(one: Command) -> list[Any]:
    """`[offset, channel, kind, text, what came of it, 1 for a guess]`."""
    lines = one.text[:LONGEST_COMMAND].split("\n")
    text = "\n".join(printable(line, LONGEST_COMMAND) for line in lines)
    came = f"refused: {one.refused}" if one.refused else one.signal and f"SIG{one.signal}"
    if not came and one.exit_status is not None:
        came = f"exit {one.exit_status}"
    guess = int(one.source == "heuristic")
    return [round(one.offset, 3), one.channel, one.kind, text, printable(came, 100), guess]


def _json(value: object) -> str:
    """JSON that ends no element and opens none."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


def _escaped(text: str) -> str:
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode("ascii")


_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<ul id="heading"></ul>
<div id="controls">
<button id="play" type="button">Play</button>
<input id="position" type="range" min="0" value="0" step="0.01" aria-label="Position">
<output id="clock"></output>
<label>Speed <select id="speed"><option>0.5</option><option selected>1</option><option>2</option><option>4</option>\
<option>16</option></select></label>
<label>Pauses at most <select id="idle"><option value="2" selected>2 s</option><option value="10">10 s</option>\
<option value="0">as recorded</option></select></label>
<label id="choice">Channel <select id="channel"></select></label>
</div>
<p id="note" role="status"></p>
<pre id="screen"></pre>
<section id="run" hidden>
<p>What was run; a line leads to its time, n and p to the next and the one before. Behind ~ stands what was read off \
the screen: a guess.</p>
<ol id="commands"></ol>
</section>
<p>What was shown, as text; a line leads to its time. Colours are not kept.</p>
<ol id="lines"></ol>
<script type="application/json" id="recording">"""

_TAIL = """</script>
<script>{script}</script>
</body>
</html>
"""
