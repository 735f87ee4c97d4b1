"""Since when keys have logged in; approvals are for one machine, whatever its target is called."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "key_ages",
        sa.Column("uid", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, primary_key=True),
        sa.Column("first_seen", sa.Double, nullable=False),
        sa.Column("last_seen", sa.Double, nullable=False),
        sa.Column("told_at", sa.Double, nullable=False, server_default="0"),
    )
    op.add_column("approvals", sa.Column("machine", sa.Text, nullable=False, server_default=""))
