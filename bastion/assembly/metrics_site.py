"""The metrics page as it is configured: on its socket, behind TLS and a guard where there are to be some (L4).

What only they need is loaded only where they are wanted: most pages are on loopback, and a supervisor is small.
"""

from __future__ import annotations

import socket
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.logger import Logger

from bastion.config.metrics import Metrics, read_users
from bastion.net.tls import ServerTls, TlsFactory
from bastion.observe.exporter import Gather, Guard, Health, MetricsSite

_log = Logger(namespace="bastion.metrics")


def serve_metrics(
    reactor: Any,
    listener: socket.socket,
    registry: CollectorRegistry,
    health: Health,
    gather: Gather | None,
    wanted: Metrics,
) -> Any:
    """Serve `registry` to who connects to `listener`, which the caller keeps; returns Twisted's IListeningPort.

    `gather` is called before each page. Raises ConfigError for files that were good when they were checked.
    """
    site: Any = MetricsSite(registry, health, reactor, gather, _guard(reactor, wanted))
    if wanted.tls_certificate is not None and wanted.tls_key is not None:
        site = TlsFactory(site, ServerTls(wanted.tls_certificate, wanted.tls_key, _faulty))
    return reactor.adoptStreamPort(listener.fileno(), listener.family, site)


def _guard(reactor: Any, wanted: Metrics) -> Guard | None:
    if wanted.users is None:
        return None
    from bastion.assembly.metrics_access import BasicGuard

    return BasicGuard(reactor, read_users(wanted.users)).admits


def _faulty(text: str) -> None:
    _log.error("the metrics page keeps its certificate: {text}", text=text)
