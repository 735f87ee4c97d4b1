"""The console's own metrics page: where it listens, and who may read it (L4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import maybeDeferred

from bastion.assembly.metrics_site import serve_metrics
from bastion.config.load import Config
from bastion.console.figures import Figures
from bastion.net.listening import address_of, open_listener
from bastion.observe.exporter import build_registry
from bastion.observe.meters import Meters


class MetricsPort:
    """One per console; does nothing where `console.metrics` is not set. Its /healthz and /readyz say `ok` while the
    process answers at all."""

    def __init__(self, reactor: Any, config: Config) -> None:
        console, self._reactor = config.console, reactor
        self._port: Any = None
        self._wanted = replace(
            config.metrics,
            listen=console.metrics,
            tls_certificate=console.tls_certificate,
            tls_key=console.tls_key,
            targets=(),
        )

    def start(self, meters: Meters, figures: Figures) -> dict[str, Any]:
        """Listen; what the ready line says of it. Raises OSError, ConfigError."""
        wanted = self._wanted.listen
        if wanted is None:
            return {}
        registry = build_registry(meters, refresh=figures.refresh)
        listener = open_listener(wanted.host, wanted.port)
        try:
            health = (True, "ok")
            self._port = serve_metrics(self._reactor, listener, registry, lambda: health, None, self._wanted)
            return {"metrics": address_of(listener)}
        finally:
            listener.close()

    async def stop(self) -> None:
        """Answer nobody any more."""
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
