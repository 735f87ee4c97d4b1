"""Holds are lifted by two people."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    op.create_table(
        "hold_lifts",
        sa.Column("id", sa.Text, primary_key=True),
        *map(_text, ("session_id", "state", "reason", "asked_uid", "asked_by")),
        sa.Column("asked_at", sa.Double, nullable=False),
        *map(_text, ("answered_uid", "answered_by")),
        sa.Column("answered_at", sa.Double),
    )
    op.create_index("hold_lifts_session", "hold_lifts", ["session_id"])
