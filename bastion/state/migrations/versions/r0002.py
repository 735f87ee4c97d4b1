"""What became of a recording that was deleted, and holds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    op.add_column("recordings", sa.Column("deleted_at", sa.Double))
    for name in ("deleted_by", "deleted_why", "sha256"):
        op.add_column("recordings", _text(name))
    op.create_table(
        "holds",
        sa.Column("session_id", sa.Text, primary_key=True),
        _text("reason"),
        _text("made_by"),
        sa.Column("made_at", sa.Double, nullable=False),
    )
