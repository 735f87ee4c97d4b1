"""Each alert: series that must make it fire by a time, and series that must not. Values are promtool's."""

from __future__ import annotations

from typing import Final, NamedTuple


class Case(NamedTuple):
    """`fires` and `quiet` are series without `bastion_` and the labels of the scrape, of one value each `step`; by `at`
    the one must have fired, and the other not."""

    fires: dict[str, str]
    at: str
    quiet: dict[str, str]
    step: str = "1m"
    job: str = "bastion"


CASES: Final = {
    "BastionDown": Case(
        {
            "up": "0x60",
        },
        "3m",
        {
            "up": "1x60",
        },
    ),
    "BastionNotReady": Case(
        {
            'health{part="recordings"}': "2x60",
        },
        "2m",
        {
            'health{part="recordings"}': "1x60",
        },
    ),
    "BastionDegraded": Case(
        {
            'health{part="uploads"}': "1x60",
        },
        "20m",
        {
            'health{part="uploads"}': "0x5 1x5 0x50",
        },
    ),
    "BastionWorkersDying": Case(
        {
            'worker_deaths_total{reason="died"}': "0x20 1x40",
        },
        "25m",
        {
            'worker_deaths_total{reason="died"}': "0x60",
        },
    ),
    "BastionWorkersMissing": Case(
        {
            'workers{state="starting"}': "1x60",
        },
        "8m",
        {
            'workers{state="starting"}': "0x60",
        },
    ),
    "BastionProgramDying": Case(
        {
            "detector_starts_total": "1+1x60",
        },
        "45m",
        {
            "detector_starts_total": "1x10 2x50",
            "recording_uploader_starts_total": "1x10 2x10 3x40",
        },
    ),
    "BastionLoopLag": Case(
        {
            "event_loop_lag_max_seconds": "0.8x60",
        },
        "12m",
        {
            "event_loop_lag_max_seconds": "0.01x60",
        },
    ),
    "BastionBackPressure": Case(
        {
            'buffered_bytes{where="channels"}': "400000000x60",
        },
        "12m",
        {
            'buffered_bytes{where="channels"}': "1000x60",
        },
    ),
    "BastionDescriptorsExhausted": Case(
        {
            'descriptors_exhausted_total{what="accept"}': "0x20 1x40",
        },
        "22m",
        {
            'descriptors_exhausted_total{what="accept"}': "0x60",
        },
    ),
    "BastionClockStepped": Case(
        {
            'clock_steps_total{step="back"}': "0x20 1x40",
        },
        "25m",
        {
            'clock_steps_total{step="back"}': "0x60",
        },
    ),
    "BastionReloadRefused": Case(
        {
            'config_reloads_total{result="refused"}': "0x20 1x40",
        },
        "25m",
        {
            'config_reloads_total{result="refused"}': "0x60",
        },
    ),
    "BastionRestartPending": Case(
        {
            "config_restart_pending": "1x60",
        },
        "24h30m",
        {
            "config_restart_pending": "0x60",
        },
        "30m",
    ),
    "BastionRecorderFailing": Case(
        {
            'recorder_failures_total{reason="disk_full"}': "0x20 1x40",
        },
        "22m",
        {
            'recorder_failures_total{reason="disk_full"}': "0x60",
        },
    ),
    "BastionRecordingRefused": Case(
        {
            'recorder_admission_refusals_total{reason="disk_floor"}': "0x20 1x40",
        },
        "22m",
        {
            'recorder_admission_refusals_total{reason="disk_floor"}': "0x60",
        },
    ),
    "BastionRecordingUnsealed": Case(
        {
            'recordings_unsealed_total{by="session"}': "0x20 1x40",
        },
        "25m",
        {
            'recordings_unsealed_total{by="session"}': "0x60",
        },
    ),
    "BastionRecorderSlow": Case(
        {
            "recorder_slow_writes_total": "0x20 1x40",
        },
        "25m",
        {
            "recorder_slow_writes_total": "0x60",
        },
    ),
    "BastionRecorderUnsynced": Case(
        {
            "recorder_unsynced_seconds": "20x60",
        },
        "3m",
        {
            "recorder_unsynced_seconds": "0.5x60",
        },
    ),
    "BastionDiskFilling": Case(
        {
            "recording_store_free_bytes": "40000000000-100000000x500",
        },
        "7h",
        {
            "recording_store_free_bytes": "40000000000-1000x500",
        },
    ),
    "BastionUploadsBehind": Case(
        {
            "recording_spool_oldest_seconds": "4000x60",
        },
        "15m",
        {
            "recording_spool_oldest_seconds": "100x60",
        },
    ),
    "BastionUploadsAltered": Case(
        {
            'recording_uploads_total{result="checksum"}': "0x20 1x40",
        },
        "25m",
        {
            'recording_uploads_total{result="checksum"}': "0x60",
        },
    ),
    "BastionVerifyFailed": Case(
        {
            'task_faults{task="verify"}': "3x60",
        },
        "2m",
        {
            'task_faults{task="verify"}': "0x60",
        },
    ),
    "BastionVerifyNotRun": Case(
        {
            'task_last_run_seconds{task="verify"}': "100x500",
        },
        "194h",
        {
            'task_last_run_seconds{task="verify"}': "0+1800x500",
        },
        "30m",
    ),
    "BastionIndexBehind": Case(
        {
            'task_last_run_seconds{task="index"}': "100x60",
        },
        "26h",
        {
            'task_last_run_seconds{task="index"}': "0x60",
        },
        "30m",
    ),
    "BastionReviewsOverdue": Case(
        {
            'task_faults{task="reviews"}': "2x60",
        },
        "2m",
        {
            'task_faults{task="reviews"}': "0x60",
        },
    ),
    "BastionAuditLinesLost": Case(
        {
            'audit_failures_total{reason="write_failed"}': "0x20 1x40",
        },
        "22m",
        {
            'audit_failures_total{reason="write_failed"}': "0x60",
        },
    ),
    "BastionAuditSinkBehind": Case(
        {
            'audit_sink_behind_seconds{kind="syslog"}': "1000x60",
        },
        "10m",
        {
            'audit_sink_behind_seconds{kind="syslog"}': "60x60",
        },
    ),
    "BastionAuditSinkSpoolEnding": Case(
        {
            'audit_sink_spool_ending{kind="loki"}': "1x60",
        },
        "15m",
        {
            'audit_sink_spool_ending{kind="loki"}': "0x60",
        },
    ),
    "BastionAuditSinkMissing": Case(
        {
            'audit_sink_lines_lost_total{kind="otlp"}': "0x20 5x40",
        },
        "25m",
        {
            'audit_sink_lines_lost_total{kind="otlp"}': "0x60",
        },
    ),
    "BastionStateOwed": Case(
        {
            "state_owed_oldest_seconds": "600x60",
        },
        "8m",
        {
            "state_owed_oldest_seconds": "2x60",
        },
    ),
    "BastionNodeMissing": Case(
        {
            'nodes{state="missing"}': "0x5 1x50",
        },
        "10m",
        {
            'nodes{state="missing"}': "0x5 1 0x50",
        },
    ),
    "BastionLocksUnconfirmed": Case(
        {
            "locks_confirmed_age_seconds": "1x5 60x50",
        },
        "8m",
        {
            "locks_confirmed_age_seconds": "1x60",
        },
    ),
    "BastionNodeStrangers": Case(
        {
            'node_refusals_total{reason="stranger"}': "0x10 0+5x40",
        },
        "30m",
        {
            'node_refusals_total{reason="stranger"}': "0x10 1x40",
        },
    ),
    "BastionStateSpoolFailing": Case(
        {
            'state_errors_total{fault="spool"}': "0x20 1x40",
        },
        "25m",
        {
            'state_errors_total{fault="spool"}': "0x60",
        },
    ),
    "BastionDirectoryDown": Case(
        {
            "ldap_servers": "2x60",
            "ldap_servers_failing": "2x60",
        },
        "3m",
        {
            "ldap_servers": "2x60",
            "ldap_servers_failing": "1x60",
        },
    ),
    "BastionDirectoryServerFailing": Case(
        {
            "ldap_servers_failing": "1x60",
        },
        "12m",
        {
            "ldap_servers_failing": "0x60",
        },
    ),
    "BastionDirectorySlow": Case(
        {
            'ldap_operation_seconds_bucket{operation="bind",le="2.5"}': "0+1x60",
            'ldap_operation_seconds_bucket{operation="bind",le="5.0"}': "0+10x60",
            'ldap_operation_seconds_bucket{operation="bind",le="+Inf"}': "0+10x60",
        },
        "25m",
        {
            'ldap_operation_seconds_bucket{operation="bind",le="0.5"}': "0+10x60",
            'ldap_operation_seconds_bucket{operation="bind",le="+Inf"}': "0+10x60",
        },
    ),
    "BastionDirectoryStuck": Case(
        {
            "ldap_pool_stuck": "1x60",
        },
        "12m",
        {
            "ldap_pool_stuck": "0x60",
        },
    ),
    "BastionGuessing": Case(
        {
            'auth_attempts_total{method="password",reason="bad_password"}': "0+120x60",
        },
        "25m",
        {
            'auth_attempts_total{method="password",reason="bad_password"}': "0+1x60",
        },
    ),
    "BastionSourcesBlocked": Case(
        {
            'penalties{of="source"}': "1x60",
        },
        "7m",
        {
            'penalties{of="source"}': "0x60",
        },
    ),
    "BastionBreakGlassUsed": Case(
        {
            'break_glass_total{result="ok"}': "0x20 1x40",
        },
        "25m",
        {
            'break_glass_total{result="ok"}': "0x60",
        },
    ),
    "BastionSecurityKeyCopied": Case(
        {
            "security_key_counters_fallen_total": "0x20 1x40",
        },
        "25m",
        {
            "security_key_counters_fallen_total": "0x60",
        },
    ),
    "BastionUnfinishedLogins": Case(
        {
            "unfinished_logins": "900x60",
            'unfinished_logins_limit{mark="full"}': "1000x60",
        },
        "7m",
        {
            "unfinished_logins": "90x60",
            'unfinished_logins_limit{mark="full"}': "1000x60",
        },
    ),
    "BastionSessionsNearLimit": Case(
        {
            'sessions_live{door="direct"}': "90x60",
            "sessions_limit": "100x60",
        },
        "7m",
        {
            'sessions_live{door="direct"}': "9x60",
            "sessions_limit": "100x60",
        },
    ),
    "BastionConnectionsRefused": Case(
        {
            'connections_refused_total{reason="startups"}': "0+60x60",
        },
        "20m",
        {
            'connections_refused_total{reason="startups"}': "0+1x60",
        },
    ),
    "BastionHostKeyWrong": Case(
        {
            'host_key_checks_total{outcome="changed"}': "0x20 1x40",
        },
        "25m",
        {
            'host_key_checks_total{outcome="changed"}': "0x60",
            'host_key_checks_total{outcome="ca_ok"}': "0+9x60",
        },
    ),
    "BastionTargetsUnreachable": Case(
        {
            'upstream_dials_total{reason="connect_timeout"}': "0+3x60",
            'upstream_dials_total{reason="ok"}': "0+1x60",
        },
        "20m",
        {
            'upstream_dials_total{reason="connect_timeout"}': "0+1x60",
            'upstream_dials_total{reason="ok"}': "0+9x60",
        },
    ),
    "BastionAgentFailing": Case(
        {
            'agent_signatures_total{use="upstream_ca",ended="gone"}': "0+1x60",
        },
        "20m",
        {
            'agent_signatures_total{use="upstream_ca",ended="gone"}': "0x60",
            'agent_signatures_total{use="upstream_ca",ended="ok"}': "0+5x60",
        },
    ),
    "BastionInventoryFailing": Case(
        {
            'inventories{state="expired"}': "1x60",
        },
        "35m",
        {
            'inventories{state="failing"}': "0x5 1x20 0x40",
            'inventories{state="ok"}': "1x60",
        },
    ),
    "BastionDetectorBehind": Case(
        {
            "detector_behind_seconds": "0+60x60",
        },
        "15m",
        {
            "detector_behind_seconds": "0+60x4 10x60",
        },
    ),
    "BastionDetectionPostsFailing": Case(
        {
            'detection_posts_waiting{to="webhook"}': "3x60",
            'detection_posts_total{to="webhook",result="timeout"}': "0+1x60",
        },
        "15m",
        {
            'detection_posts_waiting{to="webhook"}': "3x60",
            'detection_posts_total{to="webhook",result="timeout"}': "5x60",
        },
    ),
    "BastionDetectionPostsLost": Case(
        {
            'detection_posts_total{to="webhook",result="refused"}': "0x20 1x40",
        },
        "25m",
        {
            'detection_posts_total{to="webhook",result="timeout"}': "0+1x60",
        },
    ),
    "BastionKeyOld": Case(
        {
            'key_made_seconds{use="upstream_ca"}': "1x500",
        },
        "9648h",
        {
            'key_made_seconds{use="upstream_ca"}': "0x500",
        },
        "24h",
    ),
    "BastionRotationOverdue": Case(
        {
            'key_retires_seconds{use="front_host_ca"}': "100x200",
        },
        "1h10m",
        {
            'key_retires_seconds{use="front_host_ca"}': "0x200",
        },
    ),
    "BastionCertificateExpiring": Case(
        {
            'certificate_expires_seconds{use="metrics"}': "864000x60",
        },
        "15m",
        {
            'certificate_expires_seconds{use="metrics"}': "8640000x60",
            'certificate_expires_seconds{use="front_host"}': "0x60",
        },
    ),
    "BastionConsoleDown": Case(
        {
            "up": "0x60",
        },
        "7m",
        {
            "up": "1x60",
        },
        job="bastion-console",
    ),
    "BastionConsoleRefusing": Case(
        {
            'console_refusals_total{reason="bad_token"}': "0+30x60",
            'console_refusals_total{reason="no_role"}': "0+30x60",
        },
        "12m",
        {
            'console_refusals_total{reason="not_signed_in"}': "0+600x60",
            'console_refusals_total{reason="no_role"}': "0+6x60",
        },
        job="bastion-console",
    ),
    "BastionConsoleReadingsFail": Case(
        {
            'console_readings_total{ending="failed"}': "0+1x60",
        },
        "10m",
        {
            'console_readings_total{ending="failed"}': "0 1x60",
            'console_readings_total{ending="left"}': "0+9x60",
            'console_readings_total{ending="whole"}': "0+9x60",
        },
        job="bastion-console",
    ),
    "BastionConsoleUnaudited": Case(
        {
            'console_refusals_total{reason="unaudited"}': "0x3 1x60",
        },
        "6m",
        {
            'console_refusals_total{reason="unavailable"}': "0x3 9x60",
        },
        job="bastion-console",
    ),
}
