"""Playing a recording in this terminal: keys in, frames out when they are due (L4).

Invariant: however the playing ends, the terminal is as it was before. What is shown of a recording has gone through its
filter (bastion/recording/screen.py); the line of ours at the bottom is printable text.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn, Self

from bastion.cli.offsets import offset_text
from bastion.cli.output import is_terminal, leave_quietly, printable
from bastion.clock import SystemClock
from bastion.recording.commands import Command
from bastion.recording.reader import Reader
from bastion.recording.seeking import Film

LONGEST_WAIT: Final = 3600.0
"""Seconds of one wait: select(2) takes no more than its clock can count, and a damaged file may ask for any time."""

FOLLOW_SECONDS: Final = 0.1
"""How long `--follow` waits before it looks for more: no eye sees a delay."""

KEY_SECONDS: Final = 0.05
"""The rest of a key that sends several characters comes within this; else it was Escape."""

LONGEST_KEY: Final = 8

LOOK_SECONDS: Final = 0.05
"""Between two looks for a key where the recording comes faster than it can be shown."""

TOLD_SECONDS: Final = 1.5
"""How long the line at the bottom stays while the playing goes on."""

STEP, STRIDE = 10.0, 60.0
"""Seconds that the arrow keys go: left and right, down and up."""

NEAR, FAR = 0.05, 2.0
"""The next command begins so much later than now, the one before so much earlier. Whoever has come to one by a key goes
on from that one as long: however close they are, none is left out."""

SLOWEST, FASTEST = 1 / 16, 1024.0

KEYS: Final = {
    **{
        f"{begin}{final}": name
        for begin in "[O"
        for final, name in (("C", "right"), ("D", "left"), ("A", "up"))
    },
    **{
        f"{begin}{final}": name
        for begin in "[O"
        for final, name in (("B", "down"), ("H", "home"), ("F", "end"))
    },
    "[1~": "home",
    "[4~": "end",
    "[7~": "home",
    "[8~": "end",
}
STEPS: Final = {"left": -STEP, "right": STEP, "down": -STRIDE, "up": STRIDE}
HELP: Final = "space pause  . step  left/right 10 s  down/up 1 min  home/end  n/p command  +/- speed  q quit"


class Terminal:
    """This process's terminal: single keys in, text out. Restored on the way out, whatever the way.

    Without a terminal on standard input it only waits; SIGTERM and SIGHUP end the playing like Ctrl-C.
    """

    def __init__(self) -> None:
        self._input = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        self._output = sys.stdout
        self._saved: list[Any] | None = None
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_before = -1
        self._signals: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._signals[number] = signal.signal(number, _interrupt)
        # Without this a signal just before select is noticed only when select ends.
        self._wakeup_before = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        if self._input is not None:
            self._saved = termios.tcgetattr(self._input)
            tty.setcbreak(self._input)  # keys at once and unechoed; Ctrl-C still interrupts
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._input is not None and self._saved is not None:
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._saved)
        for number, before in self._signals.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._woken)
        os.close(self._wake)

    @property
    def interactive(self) -> bool:
        """Somebody sits here who can press keys and sees what comes of it."""
        return self._input is not None and is_terminal()

    def key(self, seconds: float | None) -> str:
        """The next key pressed within `seconds` (None: however long), or "" when none was. Keys that are no
        characters have names: left, right, up, down, home, end; others of them are "other".
        """
        sources = [self._woken] if self._input is None else [self._woken, self._input]
        ready, _, _ = select.select(sources, [], [], seconds)
        if self._woken in ready:
            os.read(self._woken, 4096)  # the signal itself is Python's to deliver, before the next line
        if self._input is None or self._input not in ready:
            return ""
        try:
            key = os.read(self._input, 1).decode("latin-1") or "q"  # end of input: nobody is there any more
            return self._named(self._input) if key == "\x1b" else key
        except OSError:
            return "q"

    @staticmethod
    def _named(source: int) -> str:
        """The name of a key that sends a sequence, whose rest comes at once."""
        text = ""
        while len(text) < LONGEST_KEY and select.select([source], [], [], KEY_SECONDS)[0]:
            text += os.read(source, 1).decode("latin-1") or "~"
            if len(text) > 1 and "@" <= text[-1] <= "~":
                break
        return KEYS.get(text, "other")

    def write(self, text: str) -> None:
        """Show `text`, in the encoding of the terminal."""
        self._output.buffer.write(text.encode(self._output.encoding or "ascii", "replace"))
        self._output.buffer.flush()


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


class Player:
    """Shows a film's steps when they are due, and obeys keys. `quit` becomes true when somebody has seen enough.

    `commands` gives the commands that `n` and `p` go to, in the order of time; it is called when one is pressed.
    """

    def __init__(
        self,
        terminal: Terminal,
        film: Film,
        speed: float,
        idle_limit: float | None,
        *,
        length: float = 0.0,
        commands: Callable[[], Sequence[Command]] = tuple,
        monotonic: Callable[[], float] = SystemClock.monotonic,
    ) -> None:
        self.quit = False
        self._terminal, self._film = terminal, film
        self._speed, self._idle_limit = speed, idle_limit
        self._length = length
        self._commands: Sequence[Command] | None = None
        self._find_commands = commands
        self._command: int | None = None  # where a key has led last
        self._monotonic = monotonic
        self._live = True
        self._due = 0.0
        self._jumped = False
        self._said = ""
        self._look = 0.0  # when a key is looked for, where the playing is behind
        self._until = 0.0  # when the line of ours goes

    def play(self, start: float = 0.0) -> None:
        """Show everything from `start` on, then bring the terminal back to normal; also after Ctrl-C and a closed
        pipe."""
        try:
            if start > 0:
                self._seek(start)
            self._play()
        except KeyboardInterrupt:
            self.quit = True
        except BrokenPipeError:
            leave_quietly()
        finally:
            if is_terminal():
                self._terminal.write(self._film.undo() + "\r\n")

    def _play(self) -> None:
        film = self._film
        self._due = self._monotonic()
        while (frame := film.next()) is not None or self._at_end():
            if frame is None:
                continue
            pause = max(0.0, frame.time - film.time)
            if self._idle_limit is not None:
                pause = min(pause, self._idle_limit)
            self._jumped = False
            self._wait(self._due + (pause / self._speed if self._speed else 0.0), film.time)
            if self.quit:
                return
            if not self._jumped:
                self._step()

    def _at_end(self) -> bool:
        """Whoever came to the end by a key sees it, until he goes elsewhere or on."""
        if self._jumped and not self.quit and self._terminal.interactive:
            self._pause(self._film.time)
        return not self.quit and self._film.next() is not None

    def _step(self) -> None:
        """The next step is shown, below whatever of ours is on the screen."""
        text = self._film.show()
        if self._said:
            text = self._film.painted(self._lines()) + self._said
        if text:
            self._terminal.write(text)

    def _wait(self, due: float, begun: float) -> None:
        """Wait until `due`, obeying keys; the wait began at `begun` of the recording's time."""
        began = self._due
        self._due = due
        while not self.quit and not self._jumped:
            now = self._monotonic()
            if self._said and now >= self._until:
                self._unsay()
            left = self._due - now
            if left <= 0 and (now < self._look or not self._terminal.interactive):
                return
            self._look = now + LOOK_SECONDS
            left = max(left, 0.0)
            if self._said:
                left = min(left, max(self._until - now, 0.001))
            key = self._terminal.key(min(left, LONGEST_WAIT))
            if not key and left <= 0:
                return
            if key:
                passed = max(0.0, self._monotonic() - began) * self._speed
                self._key(key, begun + passed)

    def _key(self, key: str, now: float) -> None:
        """One key, pressed `now` in the recording."""
        if key in ("q", "Q"):
            self.quit = True
        elif key == " ":
            self._pause(now)
        elif self._terminal.interactive:
            self._other_key(key, now)

    def _other_key(self, key: str, now: float, paused: bool = False) -> None:
        said = ""
        if key in STEPS:
            self._seek(now + STEPS[key])
        elif key in ("home", "end"):
            self._seek(self._length if key == "end" else 0.0)
        elif key in ("n", "p"):
            said = self._to_command(now, 1 if key == "n" else -1)
        elif key in ("+", "=", "-", "_") and self._speed:
            faster = key in ("+", "=")
            speed = self._speed * 2 if faster else self._speed / 2
            self._speed = min(max(speed, SLOWEST), FASTEST)
            if not paused:
                self._jumped, self._due = True, self._monotonic()
                self._film.time = max(self._film.time, now)
        elif key in ("?", "h"):
            said = HELP
        else:
            return
        self._say(said, paused)

    def _pause(self, now: float) -> None:
        """Until space or q; everything can be done here but going on."""
        began = self._monotonic()
        if self._terminal.interactive:
            self._film.time = max(self._film.time, now)
            self._say("", True)
        while (key := self._terminal.key(None)) not in (" ", "q", "Q"):
            if not self._terminal.interactive:
                continue
            if key == ".":
                self._film.show()
                self._say("", True)
            else:
                self._other_key(key, self._film.time, True)
        self.quit = key != " "
        if self._terminal.interactive:
            self._unsay()
            self._jumped, self._due = True, self._monotonic()
        else:
            self._due += self._monotonic() - began

    def _seek(self, seconds: float) -> None:
        seconds = min(max(0.0, seconds), self._length) if self._length else max(0.0, seconds)
        self._terminal.write(self._film.seek(seconds, self._lines()))
        self._jumped, self._due = True, self._monotonic()

    def _to_command(self, now: float, way: int) -> str:
        """The next command, or the one before; what is to be said of it."""
        if self._commands is None:
            self._commands = self._find_commands()
        at = stepped([one.offset for one in self._commands], now, way, self._command)
        if at is None:
            return "no command " + ("after this" if way > 0 else "before this")
        self._command, one = at, self._commands[at]
        self._seek(one.offset)
        guess = "~" if one.source == "heuristic" else ""
        return f"command {at + 1} of {len(self._commands)}: {guess}{one.text}"

    # -- the line at the bottom

    def _lines(self) -> int | None:
        return shutil.get_terminal_size().lines if is_terminal() else None

    def _say(self, text: str, paused: bool) -> None:
        columns, lines = shutil.get_terminal_size()
        speed = f"{self._speed:g}x"
        words = [
            f"{offset_text(self._film.time)} / {offset_text(self._length)}",
            speed,
            "paused" if paused else "",
            text,
        ]
        line = printable("  ".join(word for word in words if word))[: max(columns - 1, 1)]
        self._said = f"\x1b[?6l\x1b[r\x1b[?7l\x1b[{lines};1H\x1b[0;7m{line}\x1b[K\x1b[0m\x1b[?25l"
        self._until = self._monotonic() + TOLD_SECONDS
        self._terminal.write(self._film.painted(lines) + self._said)

    def _unsay(self) -> None:
        self._said = ""
        self._terminal.write(self._film.painted(self._lines()))

    # -- following

    def wait_for_more(self, reader: Reader) -> bool:
        """Wait a little for the file to grow, obeying keys; false when nobody writes it any more, or after q."""
        if self.quit or not self._live:
            return False
        self._live = reader.live  # asked first: what its writer wrote before it left is read once more
        if self._live:
            key = self._terminal.key(FOLLOW_SECONDS)
            if key == " ":
                while (key := self._terminal.key(None)) not in (" ", "q", "Q"):
                    pass
            self.quit = key in ("q", "Q")
        return not self.quit


def stepped(offsets: Sequence[float], now: float, way: int, last: int | None) -> int | None:
    """Which of these places is the next one (`way` 1) or the one before (-1), in the order of time; None when there is
    none. `last` is where a step has led before: while that is the place of now, it goes on from there.
    """
    order = sorted(range(len(offsets)), key=lambda at: (offsets[at], at))
    if last is not None and 0.0 <= now - offsets[last] <= FAR:
        place = order.index(last) + way
        return order[place] if 0 <= place < len(order) else None
    if way > 0:
        return next((at for at in order if offsets[at] > now + NEAR), None)
    return next((at for at in reversed(order) if offsets[at] < now - FAR), None)
