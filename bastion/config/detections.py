# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""The section `[detections]`: what the audit log may show, and from when on it is told (L2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bastion.config.approvals import WEBHOOK
from bastion.detect.places import Locate, locate_by
from bastion.detect.settings import Settings
from bastion.detect.whereabouts import lookup_in
from bastion.options import At, Scope, option
from bastion.options.kinds import optional
from bastion.options.paths import FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections(Settings):
    """What in the audit log somebody should look at: `docs/detections.md`. "alert", "notice" or "off" for each."""

    geoip: Path | None = option(
        optional(FILE),
        "Database of places in MaxMind's format (GeoLite2-City.mmdb). Not set: nobody's place is known.",
        default=None,
        example='"/usr/share/GeoIP/GeoLite2-City.mmdb"',
        scope=Scope.COMMAND,
    )
    asn: Path | None = option(
        optional(FILE),
        "Database of providers (GeoLite2-ASN.mmdb): one provider is one network, whatever its addresses.",
        default=None,
        example='"/usr/share/GeoIP/GeoLite2-ASN.mmdb"',
        scope=Scope.COMMAND,
    )

    alertmanager: str | None = option(
        optional(WEBHOOK),
        "The Alertmanager that `bastion alerts follow` posts alerts to, by its API v2.",
        default=None,
        example='"http://127.0.0.1:9093"',
        scope=Scope.COMMAND,
    )
    alertmanager_token_file: Path | None = option(
        optional(FILE),
        "File with a token in its first line, closed to others, sent as `Authorization: Bearer`.",
        default=None,
        example='"credential:alertmanager"',
        scope=Scope.COMMAND,
    )

    def validate(self, at: At) -> None:
        if self.alertmanager_token_file is not None and self.alertmanager is None:
            at.child("alertmanager_token_file").wrong("has no effect without alertmanager", WEBHOOK.allowed)

    def locate(self) -> Locate:
        """Where addresses are, by these options. Raises NoDatabase."""
        lookup = lookup_in(self.geoip, self.asn)
        return locate_by(self.network_bits, self.trusted, lookup)
