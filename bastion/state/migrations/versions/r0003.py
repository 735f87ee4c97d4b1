"""Where a recording is that was uploaded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("stored", "stored_version"):
        op.add_column("recordings", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.add_column("recordings", sa.Column("stored_at", sa.Double))
