"""Each counter: what moves it, and the test in which that happens and the counter is seen to move.

Where it can be had at a bearable price that is a real gateway with real clients, whose page is read. What is rare (a
node that heard nothing for 30 s, an accept of a RADIUS server that proves nothing) is made at the narrowest real part.
tests/unit/observe/test_meters.py holds this list against the code: no counter without a test, and no test that is not
there, that names another counter or that `make test` leaves out.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Cause(NamedTuple):
    """What happens, and `FILE::FUNCTION` under tests/ where it does."""

    what: str
    test: str


SESSION: Final = "interop/test_metrics.py::test_a_session_moves_what_its_steps_are_counted_by"
INVENTORY: Final = "interop/test_inventories.py::test_a_target_is_there_without_anybody_typing_anything"
BUCKET: Final = "interop/test_metrics.py::test_a_bucket_that_is_not_there"
READER: Final = "interop/test_sftp_control.py::test_a_reader_reads_and_nothing_else"
INCIDENT: Final = "interop/test_detections.py::test_a_planted_incident_comes_to_everybody_once_over_a_kill"
SENDER: Final = "interop/test_audit_sinks.py::test_a_gateway_sends_what_it_writes_and_says_how_it_is"
SAID: Final = "unit/assembly/test_sinks.py::test_what_it_says_is_counted_once"
STORE_AWAY: Final = (
    "faults/test_state_away.py::test_new_sessions_are_refused_while_it_is_away_when_that_is_the_policy"
)

CAUSES: Final = {
    "connections_accepted_total": Cause("an ssh connects", SESSION),
    "connections_closed_total": Cause("it has gone", SESSION),
    "connections_refused_total": Cause(
        "a connection says nothing until the login grace ends",
        "faults/test_login_limits.py::test_a_silent_connection_ends_with_the_login_grace",
    ),
    "proxy_headers_total": Cause(
        "HAProxy sends an engineer on",
        "interop/test_haproxy.py::test_both_doors_of_both_gateways_see_the_engineers_address",
    ),
    "budget_refusals_total": Cause(
        "an engineer opens refused channels without end",
        "hostile/test_logged_in_costs.py::test_refused_channels_of_an_outer_connection_are_counted",
    ),
    "descriptors_exhausted_total": Cause(
        "the process may open no more files, and somebody connects",
        "faults/test_out_of_descriptors.py::test_who_connects_is_closed_and_counted",
    ),
    "handshakes_total": Cause("the key exchange of an ssh", SESSION),
    "auth_attempts_total": Cause("a login with a key", SESSION),
    "factor_faults_total": Cause(
        "FreeRADIUS accepts without a Message-Authenticator",
        "interop/test_radius.py::test_an_accept_without_a_message_authenticator_is_none",
    ),
    "security_key_counters_fallen_total": Cause(
        "a security key signs with a smaller counter than before",
        "interop/test_security_keys.py::test_a_counter_that_falls_is_counted",
    ),
    "certificates_issued_total": Cause(
        "`ssh bastion cert` after a key and a code",
        "interop/test_issued_certificates.py::test_the_certificate_of_a_morning_logs_in_without_a_code",
    ),
    "certificates_refused_total": Cause(
        "the same after too few factors",
        "interop/test_issued_certificates.py::test_a_login_that_gave_too_little_gets_none",
    ),
    "break_glass_total": Cause(
        "an account for emergencies, opened and proved",
        "interop/test_break_glass.py::test_it_is_opened_used_for_what_it_names_and_closed",
    ),
    "authorisations_total": Cause("the rules let somebody in", SESSION),
    "approvals_total": Cause(
        "a lead approves",
        "hostile/test_approvals.py::test_it_is_refused_with_the_command_that_asks_and_opens_once_when_approved",
    ),
    "approval_announcements_total": Cause(
        "a request is filed, and its webhook does not answer",
        "hostile/test_approvals.py::test_it_is_refused_with_the_command_that_asks_and_opens_once_when_approved",
    ),
    "traces_total": Cause("logins with a collector", "interop/test_traces.py::test_a_stranger_leaves_none"),
    "sessions_started_total": Cause("a session", SESSION),
    "sessions_ended_total": Cause("its end", SESSION),
    "channels_total": Cause("its channel", SESSION),
    "requests_total": Cause("its command", SESSION),
    "channel_bytes_total": Cause("what the command prints", SESSION),
    "sftp_files_total": Cause("`sftp` downloads a file", READER),
    "sftp_refusals_total": Cause("`sftp` tries what the rule does not give", READER),
    "sftp_unparsed_total": Cause(
        "a client of the subsystem sends garbage",
        "interop/test_sftp_control.py::test_what_is_no_sftp_is_said_in_audit_and_ends_a_restricted_channel",
    ),
    "upstream_dials_total": Cause("the way to the target", SESSION),
    "agent_signatures_total": Cause(
        "an ssh-agent signs a session's certificate",
        "interop/test_agent_signing.py::test_sessions_begin_with_signatures_of_an_agent",
    ),
    "upstream_legacy_total": Cause(
        "a target that knows old algorithms alone",
        "interop/test_legacy_targets.py::test_a_listed_algorithm_works_and_is_counted_and_shown",
    ),
    "tunnel_dials_total": Cause(
        "`ssh -W` to a port where nobody listens",
        "interop/test_tunnels.py::test_a_far_side_that_is_not_there",
    ),
    "tunnels_ended_total": Cause(
        "a tunnel carries more than its rule lets it",
        "interop/test_tunnels.py::test_a_tunnel_ends_at_its_number_of_bytes",
    ),
    "host_key_checks_total": Cause("the target shows its key", SESSION),
    "old_keys_total": Cause(
        "a key that is older than it may be",
        "interop/test_key_ages.py::test_an_old_key_is_told_of_once_a_day_by_all_workers_together",
    ),
    "state_rows_written_total": Cause("a session's row", SESSION),
    "state_errors_total": Cause("PostgreSQL is stopped", STORE_AWAY),
    "state_refusals_total": Cause("and somebody wants a session", STORE_AWAY),
    "control_requests_total": Cause(
        "somebody without a role asks at the control socket",
        "interop/test_control.py::test_who_has_no_role_can_do_nothing",
    ),
    "control_refusals_total": Cause(
        "and is refused", "interop/test_control.py::test_who_has_no_role_can_do_nothing"
    ),
    "watch_blocks_dropped_total": Cause(
        "a watcher reads nothing", "interop/test_control.py::test_a_watcher_that_never_reads_holds_nobody_up"
    ),
    "clock_steps_total": Cause(
        "the machine's clock is set back an hour",
        "faults/test_clock_set.py::test_set_back_an_hour_a_login_still_ends_in_its_grace",
    ),
    "audit_lines_total": Cause("the lines of a session", SESSION),
    "audit_failures_total": Cause(
        "the log cannot be written",
        "faults/test_audit_unwritable.py::test_without_the_rule_work_goes_on_and_the_loss_is_counted",
    ),
    "audit_lines_summed_total": Cause(
        "one source makes 400 lines",
        "interop/test_failed_handshakes.py::"
        "test_a_client_that_leaves_after_its_version_has_a_line_and_one_source_has_its_share",
    ),
    "config_reloads_total": Cause(
        "a reload of a file with a fault",
        "interop/test_reload.py::test_a_faulty_file_changes_nothing_and_the_log_says_why",
    ),
    "worker_deaths_total": Cause(
        "a worker is killed",
        "interop/workers/test_workers.py::test_a_killed_worker_takes_its_own_sessions_and_nothing_else",
    ),
    "process_cpu_seconds_total": Cause("a session costs processor time", SESSION),
    "detection_findings_total": Cause("somebody looks round", INCIDENT),
    "detection_posts_total": Cause("it is posted", INCIDENT),
    "detector_starts_total": Cause("the program is started, and after a kill again", INCIDENT),
    "ldap_errors_total": Cause("slapd is stopped", "faults/test_directory_ill.py::test_a_stopped_directory"),
    "ldap_lookups_total": Cause(
        "slapd is asked whose key it is", "interop/test_security_keys.py::test_a_key_that_was_touched"
    ),
    "paused_seconds_total": Cause(
        "a client that reads nothing, and has a window without end",
        "interop/test_metrics.py::test_an_engineer_who_takes_nothing",
    ),
    "inventory_answers_total": Cause("an inventory answers", INVENTORY),
    "inventory_process_starts_total": Cause("the program that asks it", INVENTORY),
    "upstream_certificates_total": Cause("the session's certificate", SESSION),
    "locks_unconfirmed_refusals_total": Cause(
        "nobody has said for too long what is locked",
        "unit/session/test_gateway.py::test_where_gateways_share_locks_nothing_new_begins_unless_they_are_known",
    ),
    "node_refusals_total": Cause(
        "a stranger connects where gateways do",
        "unit/control/test_nodes_door.py::test_who_is_not_one_that_is_listed_is_nobody",
    ),
    "recorder_bytes_total": Cause("a session is recorded", SESSION),
    "recorder_blocks_total": Cause("in blocks", SESSION),
    "recorder_failures_total": Cause(
        "the audit log of a running session cannot be written",
        "faults/test_audit_unwritable.py::test_what_needs_a_line_ends_a_running_session",
    ),
    "recorder_admission_refusals_total": Cause(
        "the recordings' disk is full to its floor",
        "faults/test_disk_full.py::test_below_the_floor_new_sessions_are_refused_and_running_ones_go_on",
    ),
    "recorder_gap_bytes_total": Cause(
        "16 MiB at once, of which a channel without a terminal may have one",
        "interop/test_metrics.py::test_bulk_that_is_left_out_of_a_recording",
    ),
    "recorder_slow_writes_total": Cause(
        "the disk takes a second for a write",
        "faults/test_disk_ill.py::test_a_slow_disk_is_said_and_refuses_new_sessions_until_it_is_fast",
    ),
    "recordings_sealed_total": Cause("the session's recording gets its end", SESSION),
    "recordings_unsealed_total": Cause(
        "`kill -9`, and what is left of the recording is damaged",
        "interop/test_metrics.py::test_a_recording_that_a_restart_finds_without_its_end",
    ),
    "recording_uploads_total": Cause("a recording for a bucket that is not there", BUCKET),
    "recording_upload_bytes_total": Cause(
        "the program that uploads says what it has sent",
        "unit/assembly/test_uploads.py::test_what_it_says_is_counted_once",
    ),
    "recording_uploader_starts_total": Cause("that program is started", BUCKET),
    "audit_sink_lines_total": Cause("a sink takes the gateway's lines", SENDER),
    "audit_sink_lines_refused_total": Cause("the program that sends says that a line was refused", SAID),
    "audit_sink_lines_lost_total": Cause("and that a file was removed before its time", SAID),
    "audit_sink_deliveries_total": Cause("a delivery", SENDER),
    "audit_sink_process_starts_total": Cause("the program that sends is started", SENDER),
    "penalty_claims_left_out_total": Cause(
        "another gateway claims what is no penalty, and one of an exempt source",
        "unit/assembly/test_penalty_keeper.py::test_what_another_gateway_claims_and_is_not_taken_is_counted",
    ),
    "penalty_blocks_total": Cause(
        "80 wrong passwords at once", "hostile/test_gateway_attempts.py::test_80_guesses_at_once"
    ),
}
