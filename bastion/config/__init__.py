"""What an operator has decided: declared once, read strictly, one value (L2).

What it is for: `bastion.toml` and the files it names become a `Config` and a `Material`, or a list of everything that
is wrong with them. The sample file, the reference in docs/ and `bastion check` come from the same declarations.

Invariants: a fault names file, line, key and what may stand there; `check.inspect` is the one reader of a
configuration and its files, for `bastion check`, start and reload alike, so that what was checked is what is used;
nothing is changed and nobody is contacted by reading.

May import: L0, L1, and beside it `options.paths`, `auth` (LDAP's options, the file of users), `inventories` (what they
answered last) and `ca` (keys, known hosts). It builds nothing that runs: that is `assembly`.

- `target_faults`: what `check` says of single targets
- `further_factors`: factors that others judge; `second_factors`: keys and secrets that factors need
- `sections`, `listen`, `login`, `outputs`, `recording_store`: every section of `bastion.toml`, each option on one line
- `login_cas`: the login CAs, and whom each may let in
- `issue`: the section about certificates for people; `redact`: the section about secrets
- `metrics`: the section about the page that is scraped, and who may read it; `ports`: does each listener have its own?
- `traces`: the section about what is told to a collector; `postgres`: a URL of a database
- `console`: the section about the review console
- `approvals`: the section about what somebody else has to approve; `detections`: about what should be looked at
- `mail`: the section about the mail server for news of saved searches
- `nodes`: the section about other gateways; `proxy_command`: a program that a target is reached through
- `document`: one TOML file with the lines of its keys; `start`: what is read before all else
- `load`: `bastion.toml` and the files it names as one value
- `check`: everything that can be known without starting; `places`: a trial of all that will be written
- `key_dates`: how old the keys are, for the metrics
- `target_faults`: what is wrong with the inventory beyond its grammar
- `key_slots`: its key files; `authorities`: their keys beside each other and the ledger; `key_backup`: what of them
  is backed up
- `whole_backup`: what else a backup of a whole gateway has, and where it may be restored to
- `material`: what the files hold: keys, known hosts, users
- `penalties`: what guessing costs, as whoever keeps penalties knows it
- `resolvers`: whose word on DNSSEC is taken
- `changes`: which options differ between two configurations, and whether that needs a restart
- `differences`: the same for people, with targets and rules; `contents`: have two readings read the same files?
- `versions`: a policy as a value that is kept, and judged by later
- `render`: the sample file, the dump and the reference
"""
