"""The process's reactor and its log: what every command that stays needs first (L5).

Installed and imported here, once a command needs it, and passed on to everybody else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, cast

from twisted.logger import FilteringLogObserver, globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure

from bastion.assembly.log_level import LevelFilter
from bastion.cli.output import fail
from bastion.net import reactor as direct_reactor
from bastion.net.twisted_names import UnknownTwisted


def the_reactor() -> Any:
    """The one of this process, ours where it can be had."""
    if "twisted.internet.reactor" not in sys.modules:
        try:
            direct_reactor.install()
        except UnknownTwisted as error:
            fail(str(error), 3)
    from twisted.internet import reactor

    return reactor


def run_in_reactor(main: Callable[[Any], Any]) -> Any:
    """What commands that need the network get as `ctx.obj`: runs one Deferred to its end.

    Call `main(reactor)` in a fresh reactor and return what its Deferred fires with, or raise.
    """
    reactor = the_reactor()
    outcome: list[Any] = []

    def begin() -> None:
        try:
            result = main(reactor)
        except Exception:
            outcome.append(Failure())  # type: ignore[no-untyped-call]
            reactor.stop()
            return
        result.addBoth(outcome.append)
        result.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    if not outcome:
        raise KeyboardInterrupt
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]


def log_to_standard_error() -> LevelFilter:
    """The operator's log, and what says how much it tells."""
    levels = LevelFilter()
    observer: Any = FilteringLogObserver(cast(Any, textFileLogObserver(sys.stderr)), [cast(Any, levels)])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    return levels


def in_reactor(reactor: Any, call: Callable[[], None]) -> Callable[[int, object], None]:
    """What a signal is answered with: `call`, in the reactor's turn."""
    return lambda _number, _frame: reactor.callFromThread(call)
