"""The programs that run beside the gateway's own processes (L4): one uploads recordings, one asks inventories.

Of a gateway of several processes the supervisor has them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from bastion.assembly.inventories import Inventories
from bastion.assembly.inventories import program as program_that_asks
from bastion.assembly.uploads import Uploads
from bastion.assembly.uploads import program as program_that_uploads
from bastion.clock import Clock
from bastion.observe.audit import AuditLog
from bastion.observe.meters import Meters


class Beside:
    """One per gateway."""

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        meters: Meters,
        audit: AuditLog,
        config_file: Path,
        reload: Callable[[str], object],
    ) -> None:
        """`reload` reads the configuration again, by whom its argument says."""
        self._uploads = Uploads(reactor, clock, meters, program_that_uploads(reactor, config_file))
        asks = program_that_asks(reactor, config_file)
        self._inventories = Inventories(reactor, clock, meters, audit, asks, reload)

    def follow(self, uploads: bool, inventories: str) -> None:
        """At the start and after every reload: is there anything to upload to, and which inventories are there, as a
        digest (`inventories.section.digest_of`)."""
        self._uploads.follow(uploads)
        self._inventories.follow(inventories)

    def stop(self) -> Deferred[Any]:
        """Fires when both are gone."""
        return DeferredList([self._uploads.stop(), self._inventories.stop()])

    def refresh(self) -> None:
        """Gauges that grow by themselves."""
        self._uploads.refresh()
        self._inventories.refresh()
