"""The process that asks inventories (L4): `python -m bastion.assembly.asking CONFIG`, started by the gateway.

One for all processes of a gateway. A thread for each inventory asks, reads the answer, looks whether the whole
configuration is without faults with it, and then keeps it; what it says on standard output lets the gateway reload. It
ends when its standard input does, so it never outlives who started it. Its log is standard error.

Invariant: what is kept is what a reload takes: an answer that the configuration has a fault with is told of and
forgotten, and what was kept before stays.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from bastion.assembly.alone import modest, teller
from bastion.clock import Clock, SystemClock
from bastion.config.check import inspect
from bastion.config.document import FILE_MAX
from bastion.config.start import read_sections
from bastion.errors import ConfigError, InventoryReason
from bastion.inventories.answers import read_answer, text_of
from bastion.inventories.fetching import Asking, NoAnswer
from bastion.inventories.kept import Kept, answered_again, keep, kept_of, text_in
from bastion.inventories.report import Report, leave
from bastion.inventories.section import InventorySource
from bastion.options import ConfigErrors
from bastion.state.folder import make_folder
from bastion.wire.printable import printable

MEMORY_MAX: Final = 2 << 30
"""Bytes of data: an answer that takes more as Python's values ends this process, which is started again."""

FAILED_AGAIN: Final = 60.0
"""Seconds until an inventory that gave no answer is asked again, or sooner where it is asked more often."""

FAULTS: Final = 5
"""Faults of one answer that are told."""

TEXT_MAX: Final = 2000

_tell = teller(longest=TEXT_MAX)


class Inventory:
    """One inventory: `turn` asks it once."""

    def __init__(
        self,
        config_file: Path,
        folder: Path,
        name: str,
        section: InventorySource,
        clock: Clock,
        ask: Callable[[], bytes],
        lock: threading.Lock,
    ) -> None:
        """`folder` is that of the state; `lock`: one configuration is looked at at a time. `ask` raises NoAnswer."""
        self._config_file, self._folder, self._name = config_file, folder, name
        self._section, self._clock, self._ask, self._lock = section, clock, ask, lock
        self._was = self._kept()
        self._targets = self._left_out = 0

    def _kept(self) -> Kept:
        return kept_of(self._folder, self._name, self._section, self._clock.time())

    def turn(self) -> Report:
        """What came of asking."""
        try:
            reason, text = self._take(self._ask()), ""
        except NoAnswer as none:
            reason, text = none.reason, none.text
        except ConfigError as error:
            reason, text = InventoryReason.BAD_ANSWER, _told(error)
        except OSError as error:
            reason, text = InventoryReason.FAILED, f"{self._was.file} cannot be written: {error.strerror}"
        was, now = self._was, self._kept()
        self._was = now
        return Report(
            self._name,
            self._clock.time(),
            reason,
            printable(text, TEXT_MAX),
            now.answered_at,
            now.expired,
            self._targets,
            self._left_out,
            changed=reason is InventoryReason.TAKEN or was.counts != now.counts,
        )

    def pause(self, report: Report) -> float:
        """Seconds until the next question; not beyond the moment at which what is kept is too old."""
        every, longest = self._section.every, self._section.max_age
        pause = every if report.well else min(every, FAILED_AGAIN)
        if longest is not None and report.answered_at and not report.expired:
            pause = min(pause, max(1.0, report.answered_at + longest - self._clock.time() + 1.0))
        return pause

    def _take(self, data: bytes) -> InventoryReason:
        """Raises ConfigError, NoAnswer for what does not fit, OSError."""
        found = read_answer(self._name, self._section, data)
        if not found.targets and not self._section.may_be_empty:
            left_out = f" ({found.left_out} left out)" if found.left_out else ""
            text = f"it names no target{left_out}, and what it had stays: may_be_empty = true takes it so"
            raise NoAnswer(InventoryReason.EMPTY, text)
        text = text_of(self._name, found.targets)
        if len(text.encode()) > FILE_MAX:
            raise NoAnswer(
                InventoryReason.TOO_LARGE, f"its targets take more than {FILE_MAX} bytes as a file"
            )
        with self._lock:
            file = self._was.file
            if text == text_in(file):
                answered_again(file)
                reason = InventoryReason.SAME
            else:
                self._look_at(text)
                keep(file, text)
                reason = InventoryReason.TAKEN
        self._targets, self._left_out = len(found.targets), found.left_out
        return reason

    def _look_at(self, text: str) -> None:
        report = inspect(self._config_file, {self._name: text})
        if report.errors:
            told = _told(ConfigErrors(report.errors))
            raise NoAnswer(InventoryReason.NOT_FITTING, f"the configuration with it has faults: {told}")


def _told(error: ConfigError) -> str:
    faults = error.errors if isinstance(error, ConfigErrors) else (error,)
    more = f"; and {len(faults) - FAULTS} more" if len(faults) > FAULTS else ""
    return "; ".join(map(str, faults[:FAULTS])) + more


# -- the process -----------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Exit code 0 when it was told to end, 2 for a faulty configuration."""
    modest(MEMORY_MAX)
    config_file = Path(arguments[0])
    sections = read_sections(config_file)
    if sections is None:
        _tell("the configuration has faults: bastion check tells them")
        return 2
    try:
        make_folder(sections.state_folder)
    except OSError as error:
        _tell(f"{sections.state_folder} cannot be made: {error.strerror}")
        return 2
    lock = threading.Lock()
    for name, section in sections.inventories.items():
        inventory = Inventory(
            config_file, sections.state_folder, name, section, SystemClock(), Asking(section).answer, lock
        )
        file = kept_of(sections.state_folder, name, section, 0.0).file.with_suffix(".json")
        threading.Thread(target=_ask_for_ever, args=(inventory, file), daemon=True).start()
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    return 0


def _ask_for_ever(inventory: Inventory, file: Path) -> None:
    never = threading.Event()
    while True:
        try:
            report = inventory.turn()
        except BaseException:
            _tell("the process that asks inventories failed, and is started again")
            sys.excepthook(*sys.exc_info())
            os._exit(3)
        _report(file, report)
        never.wait(inventory.pause(report))


def _report(file: Path, report: Report) -> None:
    if not report.well:
        _tell(f"inventory {report.name}: {report.reason}: {report.text}")
    with suppress(OSError):  # nothing may have been kept yet; a full disk is told elsewhere
        leave(file, replace(report, changed=False))
    with suppress(OSError):
        os.write(1, report.line())


if __name__ == "__main__":
    code = main(sys.argv[1:])
    os._exit(code)  # threads may still wait for an answer
