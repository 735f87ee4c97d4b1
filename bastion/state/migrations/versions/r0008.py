"""Requests for approval."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TEXTS = ("answered_by", "answered_uid", "factor", "answer_why", "session")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.Text, primary_key=True),
        *map(_text, ("state", "uid", "identity", "target", "login", "verbs", "source", "needed", "why")),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("answered_at", sa.Double),
        *map(_text, TEXTS),
    )
    op.create_index("approvals_uid", "approvals", ["uid", "state"])
