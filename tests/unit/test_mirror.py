"""Tests mirror the rooms: each module of `bastion` has a test by its name in the same folder, or a reason below."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests" / "unit"

PROTOCOLS = "protocols and plain values alone"
EVENTS = "declarations: tests/unit/observe/test_events.py looks at each of them"
FAMILIES = "declarations: tests/unit/observe/test_meters.py looks at each of them"
DECLARED = "declarations: tests/unit/config/test_load.py and test_render.py"
DOCTOR = "asks real servers: tests/interop/test_doctor.py"
DEMO = "processes and sockets: tests/interop/test_demo.py runs it"
SLAPD = "talks to a directory: tests/interop/test_ldap.py, tests/faults/test_directory_ill.py"
PROCESSES = "processes: tests/interop/workers runs them"
TARGETS = "dials: tests/interop/test_target_by_name.py and the like run it"
WHOLE = (
    "a transport of whole parts: test_handshake.py, test_rekey.py, test_states.py, test_closing.py beside it"
)

BUCKET = "tests/unit/cli/test_copies.py, with recordings in a bucket"
MIGRATIONS = "tests/unit/state/test_migrating.py compares them"
ELSEWHERE = {
    "__main__": "the program: every test with a gateway runs it",
    "app": "the program: every test with a gateway runs it; tests/unit/assembly/test_applying.py",
    "assembly.beside": "the program: every test with a gateway runs it; test_uploads.py, test_sinks.py beside it",
    "assembly.controlling": "the program: every test with a gateway runs it",
    "assembly.endings": "tests/unit/assembly/test_leftovers.py, and tests/unit/cli/test_adopt.py",
    "assembly.fleet": "the program: tests/interop/test_nodes.py runs it, two gateways",
    "assembly.inheriting": "tests/unit/cli/test_adopt.py",
    "assembly.metrics_site": "tests/interop/test_prometheus.py, by a real scraper",
    "assembly.part": PROTOCOLS,
    "assembly.reloading": "tests/unit/assembly/test_applying.py, on a whole gateway",
    "assembly.sending": "a process: tests/faults/test_sinks_away.py runs it",
    "assembly.uploading": "a process: tests/faults/test_bucket_away.py runs it",
    "auth.credentials": "tests/unit/auth/test_certificates.py and test_attempt.py",
    "auth.evidence": PROTOCOLS,
    "auth.ldap": f"tests/unit/auth/test_ldap_config.py; {SLAPD}",
    "auth.ldap_attempt": SLAPD,
    "auth.webauthn": "tests/unit/console/test_passkeys.py and tests/unit/control/test_proofs.py",
    "console.proofs": "tests/unit/console/test_deleting.py, and tests/interop/test_console_deleting.py",
    "control.deletion": PROTOCOLS,
    "auth.ldap_link": SLAPD,
    "auth.guesses": "tests/unit/auth/test_throttle.py",
    "auth.penalty_limits": "declarations: tests/unit/auth/test_throttle.py",
    "auth.penalty_reasons": "declarations: tests/unit/auth/test_throttle.py",
    "auth.penalty_sources": "tests/unit/auth/test_throttle.py",
    "auth.penalty_records": "tests/unit/auth/test_throttle.py, full and forgotten",
    "ca.programs": "tests/unit/ca/test_secrets.py, and tests/unit/inventories/test_fetching.py",
    "cli.advice": "tests/unit/cli/test_explain.py",
    "archive.contents": BUCKET,
    "archive.rebuilding": BUCKET,
    "cli.certificates": "tests/interop/test_issued_certificates.py, on a gateway",
    "cli.client_config": "tests/interop/jump/test_jump_client_config.py, with the clients that read it",
    "cli.doctor": DOCTOR,
    "cli.init_questions": "tests/unit/cli/test_init.py, on a terminal and by options",
    "cli.init_report": "tests/unit/cli/test_init.py",
    "cli.key_backup": "tests/unit/cli/test_keys.py",
    "cli.key_list": "tests/unit/cli/test_keys.py",
    "cli.holds": "tests/unit/cli/test_prune.py",
    "cli.key_rotation": "tests/interop/test_key_rotation.py",
    "cli.indexed": "tests/unit/cli/test_sessions.py",
    "cli.reading": "tests/unit/cli/test_search.py",
    "cli.ran": "tests/unit/cli/test_sessions.py",
    "cli.runtime": PROTOCOLS,
    "cli.ledger": "tests/unit/cli/test_copies.py, after the loss of a folder",
    "cli.stores": "tests/unit/cli/test_state.py",
    "cli.target": TARGETS,
    "auth.context": "tests/unit/auth/test_attempt.py, and doors/test_listener.py for accounts for emergencies",
    "cli.totp": "tests/hostile/test_second_factors.py, on a gateway",
    "session.clocks": "tests/unit/session/test_opening.py, and test_watch.py for what they do",
    "cli.progress": "a line on a terminal: tests/unit/cli/test_copies.py calls it without one",
    "cli.verify_bucket": BUCKET,
    "cli.reload": "tests/interop/test_reload.py",
    "cli.upgrade": "tests/interop/test_upgrade.py",
    "cli.keys_of": "tests/interop/test_issued_certificates.py, on a gateway",
    "control.key_listing": "tests/interop/test_issued_certificates.py, on a gateway",
    "cli.control_client": "tests/unit/cli/test_control_commands.py",
    "cli.live": "tests/unit/cli/test_control_commands.py",
    "cli.lock": "tests/unit/cli/test_control_commands.py",
    "cli.status": "tests/unit/cli/test_control_commands.py",
    "config.document": "tests/unit/config/test_load.py",
    "config.material": PROTOCOLS,
    "config.outputs": DECLARED,
    "config.penalties": "tests/unit/assembly/test_applying.py",
    "config.sections": DECLARED,
    "demo.files": DEMO,
    "demo.target": DEMO,
    "demo.world": DEMO,
    "console.browsers_attempt": "tests/unit/console/test_own_passkeys.py and test_elsewhere.py",
    "console.command": "a process: tests/unit/console/test_program.py",
    "console.desk": "what pages are given: tests/unit/console/test_application.py and test_listing.py",
    "console.nightly": "tests/unit/console/test_saved.py, on the searches that it saved",
    "console.reader": "a process: tests/unit/console/test_recordings.py",
    "console.returning": "tests/unit/console/test_elsewhere.py",
    "console.interface": "declarations: tests/unit/console/test_openapi.py",
    "console.owners": "tests/unit/console/test_saved.py, by what they lead to",
    "console.shapes": "declarations: tests/unit/console/test_openapi.py",
    "console.signing_in": "tests/unit/console/test_entry.py, and tests/interop/test_console.py with codes",
    "detect.person": "plain values: tests/unit/detect/test_memory.py has what they are of",
    "detect.settings": "declarations: tests/unit/config/test_detections.py",
    "doctor.bucket": "tests/faults/test_bucket_away.py, with a real bucket",
    "doctor.directory": DOCTOR,
    "doctor.examination": DOCTOR,
    "doctor.findings": PROTOCOLS,
    "doctor.gateway": DOCTOR,
    "doctor.network": DOCTOR,
    "control.asking": "tests/unit/control/test_node.py",
    "control.blocks": "tests/unit/control/test_desk.py, with penalties",
    "control.approvals": "plain values: tests/unit/control/test_codec.py sends each",
    "control.account_id": "plain values: tests/unit/control/test_codec.py sends each",
    "control.glass": "plain values: tests/unit/control/test_codec.py sends each",
    "control.reloads": "plain values: tests/unit/control/test_codec.py sends each",
    "control.confirming": "plain values: tests/unit/control/test_codec.py sends each",
    "control.there": "plain values: tests/unit/control/test_codec.py sends each",
    "control.penalty_orders": "plain values: tests/unit/control/test_codec.py sends each",
    "control.penalty_store": "tests/unit/control/test_penalty_sharing.py, with a store",
    "config.postgres": DECLARED,
    "console.metrics_port": "tests/unit/console/test_figures.py, read over HTTP",
    "control.proving": "plain values: tests/unit/control/test_codec.py sends each",
    "control.orders": "plain values: tests/unit/control/test_codec.py sends each",
    "doors.asked": PROTOCOLS,
    "doors.door": PROTOCOLS,
    "doors.lobby_talk": "tests/unit/doors/test_lobby_factor.py, by what is typed into one",
    "net.program": "processes: tests/interop/test_proxy_commands.py runs them",
    "upstream.leg": "tests/unit/upstream/test_dial.py and test_dial_hops.py",
    "endpoint.limits": "numbers alone",
    "endpoint.link": PROTOCOLS,
    "observe.events.base": EVENTS,
    "observe.family": FAMILIES,
    "net.posting": "tests/unit/session/test_announcing.py and detect/test_posting.py, over the wire",
    "observe.families.detections": FAMILIES,
    "observe.families.directory": FAMILIES,
    "observe.families.flow": FAMILIES,
    "observe.families.inventories": FAMILIES,
    "observe.families.sinks": FAMILIES,
    "observe.families.keys": FAMILIES,
    "observe.families.nodes": FAMILIES,
    "observe.families.opening": FAMILIES,
    "observe.families.recordings": FAMILIES,
    "observe.families.standing": FAMILIES,
    "observe.labels": "plain values: tests/unit/observe/test_meters.py",
    "console.token_command": "tests/unit/console/test_accounts.py",
    "observe.events.console": EVENTS,
    "observe.events.control": EVENTS,
    "observe.events.detections": EVENTS,
    "observe.events.keys": EVENTS,
    "observe.events.logins": EVENTS,
    "observe.events.nodes": EVENTS,
    "observe.events.process": EVENTS,
    "observe.events.reading": EVENTS,
    "observe.events.refusals": EVENTS,
    "observe.events.retention": EVENTS,
    "observe.events.reviewing": EVENTS,
    "observe.events.sessions": EVENTS,
    "observe.events.tunnels": EVENTS,
    "observe.events.workers": EVENTS,
    "handover.orders": "tests/interop/test_upgrade.py, with real processes",
    "handover.questions": PROTOCOLS,
    "handover.taking": "tests/interop/test_upgrade.py, with real processes",
    "options.paths": "tests/unit/options/test_kinds.py, with the other kinds",
    "reactor": "tests/unit/net/test_reactor.py",
    "running": "tests/interop/test_upgrade.py, test_drain.py and test_systemd.py, in processes of their own",
    "serving": "the program: every test with a gateway runs it",
    "supervisor.child": PROCESSES,
    "supervisor.running": PROCESSES,
    "supervisor.settings": "tests/unit/config/test_start.py",
    "recording.panes": "tests/unit/recording/test_command_cases.py, in tmux and screen",
    "recording.running": "tests/unit/recording/test_typed.py",
    "recording.screen_lines": "tests/unit/recording/test_command_cases.py, wrapped and wide",
    "recording.grid": "tests/unit/recording/test_terminal.py",
    "state.migrations.versions.r0001": MIGRATIONS,
    "state.migrations.versions.r0002": MIGRATIONS,
    "state.migrations.versions.r0003": MIGRATIONS,
    "state.migrations.versions.r0004": MIGRATIONS,
    "state.migrations.versions.r0005": MIGRATIONS,
    "state.migrations.versions.r0006": MIGRATIONS,
    "state.migrations.versions.r0007": MIGRATIONS,
    "state.schema": MIGRATIONS,
    "cli.requests": "tests/hostile/test_approvals.py, on a gateway",
    "control.answering": "tests/hostile/test_approvals.py, on a gateway",
    "observe.events.approvals": EVENTS,
    "session.engineer": PROTOCOLS,
    "session.heading": "tests/unit/session/test_opening.py",
    "state.migrations.versions.r0008": MIGRATIONS,
    "state.migrations.versions.r0009": MIGRATIONS,
    "state.migrations.versions.r0010": MIGRATIONS,
    "state.migrations.versions.r0011": MIGRATIONS,
    "state.migrations.versions.r0012": MIGRATIONS,
    "state.migrations.versions.r0013": MIGRATIONS,
    "state.migrations.versions.r0014": MIGRATIONS,
    "state.migrations.versions.r0015": MIGRATIONS,
    "state.migrations.versions.r0016": MIGRATIONS,
    "state.migrations.versions.r0017": MIGRATIONS,
    "state.migrations.versions.r0018": MIGRATIONS,
    "state.migrations.versions.r0019": MIGRATIONS,
    "state.migrations.versions.r0020": MIGRATIONS,
    "state.migrations.versions.r0021": MIGRATIONS,
    "state.migrations.versions.r0022": MIGRATIONS,
    "transport.exchange": WHOLE,
    "transport.key_exchange": WHOLE,
    "transport.owner": PROTOCOLS,
    "transport.packet_conn": PROTOCOLS,
    "transport.settings": "tests/unit/transport/test_handshake.py and test_weak_targets.py",
    "transport.transport": WHOLE,
    "userauth.authenticator": PROTOCOLS,
}
"""Module -> what tests it instead of a file of its own."""


def without_a_test() -> set[str]:
    found = set()
    for path in (ROOT / "bastion").rglob("*.py"):
        place = path.relative_to(ROOT / "bastion")
        if path.name != "__init__.py" and not (TESTS / place.parent / f"test_{path.stem}.py").exists():
            found.add(".".join(place.with_suffix("").parts))
    return found


def test_every_module_has_its_test() -> None:
    missing = sorted(without_a_test() - ELSEWHERE.keys())
    assert missing == [], "no tests/unit/<room>/test_<module>.py"


def test_what_is_tested_elsewhere_is_there_and_has_none() -> None:
    gone = sorted(ELSEWHERE.keys() - without_a_test())
    assert gone == [], "listed here, but has a test of its own or is no module"


def test_what_is_named_instead_is_there() -> None:
    words = {word.strip(",;:") for reason in ELSEWHERE.values() for word in reason.split()}
    named = {word for word in words if word.startswith("tests/")}
    assert named and [word for word in sorted(named) if not (ROOT / word).exists()] == []


def test_every_folder_of_tests_is_a_room() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    assert [str(folder) for folder in sorted(folders) if not (ROOT / "bastion" / folder).is_dir()] == []
