"""Passkeys for the review console."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    op.create_table(
        "passkeys",
        sa.Column("id", sa.Text, primary_key=True),
        *map(_text, ("credential", "public_key", "uid", "name", "label")),
        sa.Column("counter", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("synced", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("used_at", sa.Double),
    )
    op.create_index("passkeys_uid", "passkeys", ["uid"])
