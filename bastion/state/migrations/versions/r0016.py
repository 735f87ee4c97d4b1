"""Searches that people saved, and what they found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    op.create_table(
        "saved_searches",
        sa.Column("id", sa.Text, primary_key=True),
        *map(_text, ("uid", "name", "title", "words", "query")),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("ran_at", sa.Double),
    )
    op.create_table(
        "saved_hits",
        sa.Column("search_id", sa.Text, primary_key=True),
        sa.Column("session_id", sa.Text, primary_key=True),
        _text("who"),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("found_at", sa.Double, nullable=False),
    )
