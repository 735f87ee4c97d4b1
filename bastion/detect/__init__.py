"""Detections: what the audit log shows that somebody should look at (L1, pure but for two modules).

What it is for: a `Detector` takes the lines of the audit log one at a time, in order, remembers what is usual for each
person, and gives findings that say what was expected, what came and in which sessions.

Invariants: nothing of the detections reads a file, a clock or a socket, so the same lines give the same findings, live
or years later; whatever is remembered of one person, and how many persons, has a named limit; a line is never trusted
to have any field, or of any type; what is told once is not told again the same day.

May import: L0, of L1 `recording.strict_json`. `whereabouts` is L2, because it opens the databases that addresses are
looked up in, and `posting`, because it speaks to web servers: that one imports `net` (what a POST is), `ca` (files of
tokens and secrets) and `observe.audit` (times).

- `settings`: what is looked for, from when on it is told, and how loud
- `findings`: what is told
- `places`: networks, distances
- `memory`: what is remembered of anything, bounded and decaying; `person`: of one person
- `seen`: one line with whose it is; `following`: which session and connection is whose
- `logins`, `tunnels`, `sessions`, `gateway`: the detections
- `detector`: all of them, over all lines
- `lines`: which lines of a log are of interest; `learned`: what was learned as documents, and back
- `report`: what the process that detects says to the gateway
- `whereabouts`: networks and places from databases of addresses; `posting`: alerts to an Alertmanager, a webhook
"""
