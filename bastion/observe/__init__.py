"""What can be seen of the gateway while it runs (L0 and L2): counters, the pages, the audit log.

What it is for: every question of an operator has a metric, every question of the security team an audit line. Which
session wrote what to its recording is the recording's own.

Invariants: labels are closed sets, created at 0, and never text from a peer; a counter is a plain integer, so that
a keystroke adds to a list cell and nothing is rendered before somebody asks; an audit line is whole or counted as
lost, never torn, and holds no secret, command or path; what a peer can repeat is paid for.

May import: L0, and beside it nothing; Twisted and prometheus_client in `exporter` only. `meters`
and `events` are pure: the rooms below L2 use them too.

- `family`, `families`, `meters`, `labels`: all families of metrics, as integers
- `spans`: the steps of one login, as OpenTelemetry has them
- `exemplars`: the last session that was counted somewhere
- `per_target`: figures of targets that an operator has named
- `process_figures`: what this process uses of the machine
- `exporter`: the pages on a port of their own
- `events`: what a line of the audit log can say, a type for each
- `audit`: one JSON line per event, one write(2) per line
- `audit_schema`: the lines as a JSON Schema, made from the events
- `audit_chain`: what binds each line to the one before; `audit_verify`: is a log what was written
- `log_files`: the log's files and their lines; `tail`: the log as it grows, and where somebody was in it
- `rationed`: audit lines that somebody pays for, and one with the counts when he cannot
- `build`: what is running
- `lag`: how late the event loop is
- `clock_steps`: notices that the machine's clock was set
"""
