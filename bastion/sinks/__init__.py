"""Where the audit log goes besides (L2): journald, syslog over TLS, Loki, Elasticsearch, OpenTelemetry.

What it is for: a log that is also elsewhere cannot be taken away with the machine, and can be searched with others. It
is sent by a process of its own, which follows the file that is written anyway; no session waits for it.

Invariants: every line is delivered at least once, with an id by which a receiver knows it again; how far a sink has got
is on disk, written after the sink has confirmed it; a receiver that is away costs nothing but time, as long as the
files of the log are kept; what could not be delivered is counted and told.

May import: L0, L1, and beside it `ca` (secrets, programs), `net` (what a URL is), `options.paths`, `observe` (the log's
files and chain) and `state` (a file of JSON).

- `section`: the options of a sink; `faults`: what is wrong with the files that they name
- `lines`: one line and its id; `shapes`: lines as receivers want them
- `files`: one file of the log; `spool`: all of them, as far as a sink has not got them; `position`: how far it has
- `fault`: why it has not; `link`: a connection, with TLS; `http`, `syslog`, `journal`: the kinds of sinks
- `destinations`: which one a section is; `delivery`: lines from the spool to one sink, again and again
- `report`: how the sinks are, for the gateway
"""
