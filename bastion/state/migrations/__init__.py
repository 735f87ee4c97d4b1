"""The migrations, as alembic reads them (L2): they come with the package, and `state.migrating` runs them.

Expand, then contract: a revision only adds (tables, columns with a default, indexes), so that gateways of the version
before go on working on it; what is no longer used is dropped one version later. `docs/state.md` has the rule, and
`tests/unit/state/test_migrating.py` runs the statements of the revision before against the newest schema.

- `versions`: one module for each revision, `r0001` on
"""
