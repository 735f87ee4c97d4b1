"""The programs that run beside the gateway's own processes (L4): one uploads recordings, one asks inventories, one
detects.

Of a gateway of several processes the supervisor has them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from bastion.assembly.detections import Detections
from bastion.assembly.detections import program as program_that_detects
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
        detects = program_that_detects(reactor, config_file)
        self._detections = Detections(reactor, clock, meters, audit, detects)

    def follow(self, uploads: bool, inventories: str, detections: str) -> None:
        """At the start and after every reload: is there anything to upload to, which inventories are there and how is
        detected, as digests (`inventories.section.digest_of`, `detections.digest_of`)."""
        self._uploads.follow(uploads)
        self._inventories.follow(inventories)
        self._detections.follow(detections)

    def stop(self) -> Deferred[Any]:
        """Fires when all are gone."""
        return DeferredList([self._uploads.stop(), self._inventories.stop(), self._detections.stop()])

    def refresh(self) -> None:
        """Gauges that grow by themselves."""
        self._uploads.refresh()
        self._inventories.refresh()
        self._detections.refresh()
