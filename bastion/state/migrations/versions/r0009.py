"""Policies that were in force."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    op.create_table(
        "policy_texts",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("part", sa.BigInteger, primary_key=True, autoincrement=False),
        _text("packed"),
    )
    op.create_table(
        "policy_loads",
        sa.Column("node", sa.Text, primary_key=True),
        sa.Column("loaded_at", sa.Double, primary_key=True),
        *map(_text, ("digest", "config", "loaded_by", "version")),
    )
