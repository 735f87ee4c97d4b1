"""What reviewers leave at sessions, and what finds those that are to be reviewed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def _partial(name: str, column: str, where: str) -> None:
    found = sa.text(where)
    op.create_index(name, "sessions", [column], sqlite_where=found, postgresql_where=found)


def upgrade() -> None:
    op.add_column("sessions", sa.Column("emergency", sa.BigInteger, nullable=False, server_default="0"))
    _partial("sessions_connection", "connection", "connection != ''")
    _partial("sessions_emergency", "started_at", "emergency = 1")
    for name in ("review_notes", "review_marks"):
        op.create_table(
            name,
            sa.Column("id", sa.Text, primary_key=True),
            *map(_text, ("session_id", "uid", "name")),
            sa.Column("made_at", sa.Double, nullable=False),
            _text("text"),
        )
        op.create_index(f"{name}_session", name, ["session_id"])
    op.create_table(
        "review_tags",
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("tag", sa.Text, primary_key=True),
        *map(_text, ("uid", "name")),
        sa.Column("made_at", sa.Double, nullable=False),
    )
    op.create_index("review_tags_tag", "review_tags", ["tag"])
