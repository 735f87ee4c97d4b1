"""Commands that were typed and whose end is not known yet, and the prompts behind which they were (L1, pure).

Invariant: a command ends when a prompt like its own comes back, and everything that was begun after it then has ended
too. MOST_OPEN commands, MOST_PROMPTS prompts, LONGEST_COMMAND characters each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bastion.recording.grid import Row
from bastion.recording.prompts import LONGEST_PROMPT, shape

# Characters of a typed command that are kept.
LONGEST_COMMAND = 16 << 10

# Shells within shells; the outermost is told without an end beyond.
MOST_OPEN = 32

MOST_PROMPTS = 64


@dataclass(slots=True)
class Typed:
    """Times in seconds from the session's start: `start` at Enter, `offset` when the prompt stood there.

    `marked`: the target's shell said that it ran (OSC 133). `tentative`: its prompt has not come back yet, so that it
    may be none. `row` is its last one, while it may go on, and `feeds` counts line feeds since.
    """

    text: str
    start: float
    offset: float
    prompt: str
    end: float | None = None
    exit_status: int | None = None
    marked: bool = False
    tentative: bool = False
    row: Row | None = None
    feeds: int = 0

    def add(self, text: str) -> None:
        """It goes on in another line."""
        self.text = f"{self.text}\n{text}"[:LONGEST_COMMAND]


class Running:
    """`tell` gets each command once all is known of it. `last` is the newest, while it may go on."""

    def __init__(self, tell: Callable[[Typed], None]) -> None:
        self.last: Typed | None = None
        self._tell = tell
        self._open: list[Typed] = []
        self._prompts: dict[str, bool] = {}  # prompt -> its lines were framed
        self._shapes: dict[str, int] = {}

    # -- prompts

    def prompts(self, framed: bool) -> tuple[str, ...]:
        """Those seen, of line editors that frame their lines, or of others."""
        return tuple(prompt for prompt, how in self._prompts.items() if how is framed)

    def knows(self, prompt: str) -> bool:
        """It was seen before."""
        return prompt in self._prompts

    def times(self, prompt: str) -> int:
        """How often one like it was seen."""
        return self._shapes.get(shape(prompt), 0)

    @property
    def first(self) -> bool:
        """None was seen yet."""
        return not self._shapes

    def framed(self, prompt: str) -> None:
        """The editor behind it frames its lines after all."""
        if prompt in self._prompts:
            self._prompts[prompt] = True

    def back(self, prompt: str, framed: bool, since: float, sure: bool) -> None:
        """A prompt is there: what was run behind one like it has ended. `sure`: it is remembered."""
        key = shape(prompt)
        for at, one in enumerate(self._open):
            if shape(one.prompt) == key:
                for each in self._open[at:]:
                    each.tentative = each.tentative and shape(each.prompt) != key
                self._end(at, since)
                break
        self.last = None
        self._shapes[key] = self._shapes.get(key, 0) + 1
        if sure and 0 < len(prompt) <= LONGEST_PROMPT:
            self._prompts.pop(prompt, None)
            self._prompts[prompt] = framed
        for kept in (self._prompts, self._shapes):
            while len(kept) > MOST_PROMPTS:
                del kept[next(iter(kept))]

    # -- commands

    def begun(self, typed: Typed) -> None:
        """It was entered."""
        self.last = typed
        self._open.append(typed)
        if len(self._open) > MOST_OPEN:
            self._done(self._open.pop(0), None)

    def newest(self) -> str:
        """The text of the command that runs."""
        return self._open[-1].text if self._open else ""

    def drop(self, typed: Typed | None) -> None:
        """It was not run after all."""
        if typed is not None and typed in self._open:
            self._open.remove(typed)

    def marked_end(self, status: int | None, now: float) -> None:
        """The shell that marks its commands says that the running one has ended."""
        for at, one in enumerate(self._open):
            if one.marked:
                one.exit_status = status
                self._end(at, now)
                return

    def close(self) -> None:
        """Nothing more comes."""
        self._end(0, None)

    def _end(self, at: int, when: float | None) -> None:
        ended, self._open = self._open[at:], self._open[:at]
        for each in ended:
            self._done(each, when)

    def _done(self, typed: Typed, end: float | None) -> None:
        typed.end, typed.row = end, None
        if not typed.tentative:
            self._tell(typed)
