"""Penalties for failed logins that several gateways share, and the key of their digests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "penalties",
        sa.Column("node", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False, server_default="") for name in ("of", "source")),
        sa.Column("failures", sa.BigInteger, nullable=False, server_default="0"),
        *(
            sa.Column(name, sa.Double, nullable=False)
            for name in ("until", "made_at", "cleared_at", "written_at", "ends_at")
        ),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_index("penalties_revision", "penalties", ["node", "revision"])
    op.create_table(
        "penalty_key",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, server_default=""),
    )
