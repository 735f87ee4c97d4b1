"""The programs that run beside the gateway's own processes (L4): one uploads recordings, one asks inventories, one
detects, one sends the audit log on.

Of a gateway of several processes the supervisor has them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from bastion.assembly import detections
from bastion.assembly.detections import Detections
from bastion.assembly.detections import program as program_that_detects
from bastion.assembly.inventories import Inventories
from bastion.assembly.inventories import program as program_that_asks
from bastion.assembly.sinks import Sinks
from bastion.assembly.sinks import program as program_that_sends
from bastion.assembly.uploads import Uploads
from bastion.assembly.uploads import program as program_that_uploads
from bastion.clock import Clock
from bastion.config.sections import Sections
from bastion.inventories.section import digest_of
from bastion.observe.audit import AuditLog
from bastion.observe.meters import Meters
from bastion.sinks.section import digest_of as digest_of_sinks


def uploads(config: Sections) -> bool:
    """Recordings go to a bucket."""
    return config.recording.store.kind == "s3"


def wanted_of(config: Sections) -> tuple[bool, str, str, str]:
    """What `Beside.follow` is told of a configuration: is there anything to upload to; which inventories there are, how
    is detected and which sinks there are, as digests."""
    sinks = digest_of_sinks(config.audit.sinks, config.audit.file, config.state.name)
    return uploads(config), digest_of(config.inventories), detections.digest_of(config), sinks


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
        self._sinks = Sinks(reactor, clock, meters, audit, program_that_sends(reactor, config_file))

    def follow(self, uploads: bool, inventories: str, detections: str, sinks: str) -> None:
        """At the start and after every reload: what `wanted_of` says of the configuration that is in force."""
        self._uploads.follow(uploads)
        self._inventories.follow(inventories)
        self._detections.follow(detections)
        self._sinks.follow(sinks)

    def stop(self) -> Deferred[Any]:
        """Fires when all are gone."""
        return DeferredList([self.stop_all_but_sinks(), self._sinks.stop()])

    def stop_all_but_sinks(self) -> Deferred[Any]:
        """Fires when all others are gone: what is still written into the audit log is sent on."""
        return DeferredList([one.stop() for one in (self._uploads, self._inventories, self._detections)])

    def refresh(self) -> None:
        """Gauges that grow by themselves."""
        self._uploads.refresh()
        self._inventories.refresh()
        self._detections.refresh()
        self._sinks.refresh()
