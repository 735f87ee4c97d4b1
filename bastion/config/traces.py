# ruff: noqa: RUF009 - `option` declares a field, as `dataclasses.field` does
"""`[traces]`: where the steps of logins are told to, as OpenTelemetry has them (L2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bastion.net.urls import url
from bastion.options import At, Kind, option, shown
from bastion.options.kinds import optional
from bastion.options.paths import FILE

COLLECTOR: Kind[str] = url(
    "URL",
    "URL of a collector",
    "https://HOST:PORT, without a password; http:// on loopback alone",
    loopback=True,
)


def _read_ratio(value: object, at: At) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise at.wrong(f"{shown(value)} is not a ratio", RATIO.allowed)
    return float(value)


RATIO: Kind[float] = Kind("ratio", "above 0, up to 1.0", _read_ratio, lambda value: f"{value:g}")


@dataclass(frozen=True, slots=True)
class TracesSection:
    """Spans of the steps of each login, posted to an OpenTelemetry collector (`docs/monitoring.md`)."""

    endpoint: str | None = option(
        optional(COLLECTOR),
        "A collector that takes OTLP over HTTP as JSON, without the `/v1/traces`. Not set: no traces.",
        default=None,
        example='"http://127.0.0.1:4318"',
    )
    ratio: float = option(
        RATIO, "Of how many connections the logins are traced; chance chooses.", default=1.0
    )
    token_file: Path | None = option(
        optional(FILE),
        "File with a token in its first line, closed to others, sent as `Authorization: Bearer`.",
        default=None,
        example='"credential:collector"',
    )

    def validate(self, at: At) -> None:
        if self.token_file is not None and self.endpoint is None:
            at.child("token_file").wrong("has no effect without endpoint", COLLECTOR.allowed)
