"""API tokens of the review console."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    op.create_table(
        "console_tokens",
        sa.Column("id", sa.Text, primary_key=True),
        *map(_text, ("digest", "label", "uid", "name", "scope")),
        sa.Column("made_at", sa.Double, nullable=False),
        _text("made_by"),
        sa.Column("ends_at", sa.Double, nullable=False),
        sa.Column("used_at", sa.Double),
    )
    op.create_index("console_tokens_uid", "console_tokens", ["uid"])
