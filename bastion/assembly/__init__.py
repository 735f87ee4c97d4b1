"""From a checked configuration to the services in force (L4), at the start and at every reload.

What it is for: building what the doors and sessions are given (directory, policy, host keys, upstream credentials), and
swapping all of it while people work. `app` calls it once, SIGHUP every time.

Invariants: what is in force was checked as a whole, with the very files that were read (`config.check`); a reload is
swapped in one turn of the reactor or not at all; sessions keep the grant they began with; reading a large inventory
happens in a thread and lets others run.

May import: every layer below (L0 to L3); nothing of `cli` or `app`. The reactor is an argument.

- `building`: from configuration and material to `Services`
- `applying`: the steps from a checked configuration to the one in force, the same at start and reload
- `recording_key`: the key that vouches for recordings, made where none is configured
- `ledger_heads`: the newest line of the ledger of recordings, told to the audit log and the store
- `part`: what of the gateway a process is: all of it, or one of several workers
- `reloading`: SIGHUP: reads and checks in a thread, one at a time, and swaps
- `ldap_meters`: what the LDAP directory says of itself, as counters
- `telling`: what the operator reads of a reload
- `control_desk`: the desk over a hub, and the control socket
- `fleet`: the other gateways of one that has some; `roles`: which group gives which role
- `controlling`: the same with the node of a process that serves
- `log_level`: how much the operator's log tells, to be changed while it runs
- `gauges`: the gauges that are set when somebody looks
- `metrics_site`: the pages on their socket; `metrics_access`: who may read them
- `health`: what works and what does not, for `/readyz`, the operator's log and the metrics
- `leftovers`: what processes that died left of their sessions, written to its end
- `inheriting`: the same for a gateway that does not come back; `endings`: what both write down
- `companion`: a program that runs beside the gateway, started and heard; `beside`: all of them
- `uploads`: the one that uploads recordings; `uploading`: that process itself
- `inventories`: the one that asks inventories; `asking`: that process itself
- `detections`: the one that detects; `detecting`: that process itself, `lookout` what it does
- `alone`: such a process as it is inside: one of its kind, and over when its input is
- `sinks`: the one that sends the audit log on; `sending`: that process itself
- `growth`: what such a process has counted since it began, as counters of the gateway
- `penalty_keeper`: who must wait, over restarts and handovers
"""
