"""Ends of locks, and which programs the schema is for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

oldest = 19


def upgrade() -> None:
    op.create_table(
        "lock_ends",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double, nullable=False),
    )
    op.create_table(
        "schema_oldest", sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False)
    )
