"""Recordings that two people want deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

oldest = 19


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False, server_default="") for name in names]


def upgrade() -> None:
    op.create_table(
        "deletions",
        sa.Column("id", sa.Text, primary_key=True),
        *_texts("session_id", "state", "reason", "asked_uid", "asked_by", "asked_factor"),
        sa.Column("asked_at", sa.Double, nullable=False),
        *_texts("answered_uid", "answered_by", "answered_factor"),
        sa.Column("answered_at", sa.Double),
        sa.Column("void_at", sa.Double),
        *_texts("outcome"),
    )
    op.create_index("deletions_session", "deletions", ["session_id"])
