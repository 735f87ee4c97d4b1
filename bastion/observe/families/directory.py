"""What is counted of the LDAP directory (L0, pure)."""

from __future__ import annotations

from typing import Final

from bastion.observe.family import PHASE_BUCKETS, Label, Merge, counter, gauge, histogram
from bastion.observe.labels import OTHER

LDAP_OPERATIONS: Final = ("connect", "service_bind", "search", "bind")
LDAP_ERRORS: Final = (
    "unavailable",
    "timeout",
    "pool_full",
    "tls",
    "service_credentials",
    "referral",
    "ambiguous",
    "malformed",
    OTHER,
)

LDAP_SECONDS: Final = histogram(
    "ldap_operation_seconds",
    "Time each LDAP operation took, whatever its result.",
    Label("operation", LDAP_OPERATIONS),
    buckets=PHASE_BUCKETS,
)
LDAP_FAILURES: Final = counter(
    "ldap_errors_total",
    "LDAP operations that gave no answer (a wrong password is an answer).",
    Label("operation", LDAP_OPERATIONS),
    Label("error", LDAP_ERRORS),
)
LDAP_POOL_IN_USE: Final = gauge("ldap_pool_in_use", "Directory threads busy now.")
LDAP_QUEUE_WAITING: Final = gauge("ldap_queue_waiting", "Questions that wait for a directory thread.")
LDAP_CONNECTIONS: Final = gauge(
    "ldap_connections_idle", "Connections of the service account that wait for the next question."
)
LDAP_LOOKUPS: Final = counter(
    "ldap_lookups_total",
    "Accounts looked up: asked of a server, joined to one who asks for the same name, remembered, or offline: no server"
    " answers, and a certificate logs in on what was known last.",
    Label("way", ("asked", "joined", "remembered", "offline")),
)
LDAP_POOL_STUCK: Final = gauge("ldap_pool_stuck", "Directory threads past their deadline and not back yet.")
LDAP_SERVERS: Final = gauge("ldap_servers", "LDAP servers that are configured.", merge=Merge.MAX)
LDAP_SERVERS_FAILING: Final = gauge(
    "ldap_servers_failing", "Those of them that are known not to answer.", merge=Merge.MAX
)
