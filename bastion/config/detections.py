# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""The section `[detections]`: what the audit log may show, and from when on it is told (L2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bastion.config.approvals import WEBHOOK
from bastion.detect.places import Locate, locate_by
from bastion.detect.settings import Settings
from bastion.detect.whereabouts import lookup_in
from bastion.options import At, option
from bastion.options.kinds import BOOLEAN, optional
from bastion.options.paths import FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections(Settings):
    """What in the audit log somebody should look at: `docs/detections.md`. "alert", "notice" or "off" for each."""

    run: bool = option(
        BOOLEAN,
        "The gateway has a process beside it that follows its log, keeps what it finds in the state store, writes it"
        " into the audit log and posts alerts.",
        default=False,
    )
    geoip: Path | None = option(
        optional(FILE),
        "Database of places in MaxMind's format (GeoLite2-City.mmdb). Not set: nobody's place is known.",
        default=None,
        example='"/usr/share/GeoIP/GeoLite2-City.mmdb"',
    )
    asn: Path | None = option(
        optional(FILE),
        "Database of providers (GeoLite2-ASN.mmdb): one provider is one network, whatever its addresses.",
        default=None,
        example='"/usr/share/GeoIP/GeoLite2-ASN.mmdb"',
    )

    alertmanager: str | None = option(
        optional(WEBHOOK),
        "The Alertmanager that alerts are posted to, by its API v2.",
        default=None,
        example='"http://127.0.0.1:9093"',
    )
    alertmanager_token_file: Path | None = option(
        optional(FILE),
        "File with a token in its first line, closed to others, sent as `Authorization: Bearer`.",
        default=None,
        example='"credential:alertmanager"',
    )
    webhook: str | None = option(
        optional(WEBHOOK),
        "Where alerts are posted too, as JSON.",
        default=None,
        example='"https://soc.example.com/hooks/bastion"',
    )
    webhook_secret_file: Path | None = option(
        optional(FILE),
        "File with a secret in its first line, closed to others: each post to the webhook is signed with it.",
        default=None,
        example='"credential:detections"',
    )

    def validate(self, at: At) -> None:
        if self.alertmanager_token_file is not None and self.alertmanager is None:
            at.child("alertmanager_token_file").wrong("has no effect without alertmanager", WEBHOOK.allowed)
        if self.webhook_secret_file is not None and self.webhook is None:
            at.child("webhook_secret_file").wrong("has no effect without webhook", WEBHOOK.allowed)

    @property
    def ways(self) -> tuple[str | None, Path | None, str | None, Path | None]:
        """What `detect.posting.places` asks for."""
        return self.alertmanager, self.alertmanager_token_file, self.webhook, self.webhook_secret_file

    def locate(self) -> Locate:
        """Where addresses are, by these options. Raises NoDatabase."""
        lookup = lookup_in(self.geoip, self.asn)
        return locate_by(self.network_bits, self.trusted, lookup)
