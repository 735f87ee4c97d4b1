"""The state store (L2): who was where and what is locked, in SQLite or PostgreSQL, beside the hot path and never on it.

What it is for: an index of sessions, tunnels and recordings that is there from their start, and what must outlive a
process or be shared by several. Recordings are evidence without it; it can be made again from them.

Invariants: the reactor never waits for a database; what cannot be written is owed, in order, on disk; applying a
change twice is applying it once; no password, command line or output is ever a row.

May import: L0, L1, `recording`'s listing, `auth`'s threads, and what `auth` does not have of its own. `docs/state.md`
has the tables and the rules of migrations.

- `schema`: the tables
- `schema_version`: does the schema in the database fit this program?
- `database`: one database through SQLAlchemy, and what goes wrong with it
- `folder`: the folder of the gateway's own state, closed to others
- `changes`: what is to become of a row, as a value and as a line
- `rows`: sessions, tunnels, locks and configurations as changes
- `journal`: what the store is owed, in memory and in a spool file
- `json_file`: a small file beside the store, whole or not at all
- `lock_copy`: the locks as they were known last, for a start while the store is away
- `shared_locks`: the locks as the store has them now, which several gateways may share
- `lock_ends`: those that were taken away
- `openings`: that break-glass accounts were opened, and by whom
- `adopting`: what processes that died have left to others
- `store`: the store as a gateway's process has it
- `index`: sessions and tunnels read back, for commands; `paging`: a page of them at a time, for the console
- `checking`: index against files, and the index made again from them
- `retention`: which recordings are to go, by the rules
- `pruning`: recordings that go, and those that are held; `stored`: which are in the bucket, and which could be
- `hold_lifts`: holds that two people lift; `deletions`: recordings that two people want deleted
- `snapshot`: a copy of the state as an SQLite file, and a store made from one
- `roles`: what the roles of PostgreSQL may
- `migrating`: alembic, for the command and for a child process
- `migrations`: the revisions
- `approvals`: requests for approval, each answered once and used once
- `codes`: second factors, and each code used once
- `glass_codes`: those of break-glass accounts, where the store is away
- `certificates`: certificates that were issued; `key_uses`: when a key was used
- `key_ages`: since when a key has logged in
- `findings`: what detections found, and what of it is muted; `learned`: what they have learned
- `reviewing`: what reviewers leave at sessions; `review_queue`: which wait for one
- `saved`: searches that people saved, and what was told of them
- `figures`: how many of what there were, for an overview
- `console_tokens`: API tokens of the review console; `passkeys`: passkeys for it
- `versions`: policies that were in force, and since when
- `penalty_copy`: who must wait, in a file for the next process
- `shared_penalties`: who must wait, as gateways of one store tell each other
- `runs`: when commands over all recordings ended, and what they found, for the metrics
"""
