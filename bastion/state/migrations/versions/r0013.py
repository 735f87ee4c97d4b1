"""What detections found and have learned, and what of it is muted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    op.create_table(
        "findings",
        sa.Column("node", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        *map(_text, ("kind", "level")),
        sa.Column("at", sa.Double, nullable=False),
        *map(_text, ("identity", "target", "expected", "came", "sessions")),
        sa.Column("made_at", sa.Double, nullable=False),
        *map(_text, ("mute", "audited", "alertmanager", "webhook")),
    )
    op.create_index("findings_at", "findings", ["at"])
    op.create_table(
        "mutes",
        sa.Column("id", sa.Text, primary_key=True),
        *map(_text, ("kind", "identity", "target", "reason", "made_by")),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
    )
    op.create_table(
        "learned",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("form", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        _text("node"),
        sa.Column("saved_at", sa.Double, nullable=False),
        _text("packed"),
    )
    op.create_index("learned_saved_at", "learned", ["kind", "saved_at"])
