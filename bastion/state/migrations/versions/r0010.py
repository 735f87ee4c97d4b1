"""Locks on users hang on the immutable id of the account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("locks", sa.Column("uid", sa.Text, nullable=False, server_default=""))
