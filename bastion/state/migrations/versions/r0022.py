"""Saved searches: where their news are mailed to, what is still to be told, and that one runs no more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

oldest = 19


def upgrade() -> None:
    op.add_column("saved_searches", sa.Column("mail", sa.Text, nullable=False, server_default=""))
    op.add_column("saved_searches", sa.Column("stopped_at", sa.Double))
    op.add_column("saved_searches", sa.Column("stopped", sa.Text, nullable=False, server_default=""))
    for name in ("to_post", "to_mail"):
        op.add_column("saved_hits", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
