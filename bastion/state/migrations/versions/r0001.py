"""Nodes, sessions, recordings, locks, configurations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def _time(name: str, required: bool = True) -> sa.Column[float]:
    return sa.Column(name, sa.Double, nullable=not required)


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


def upgrade() -> None:
    op.create_table("nodes", _key("name"), _text("version"), _time("started_at"), _time("seen_at"))
    words = ("kind", "state", "identity", "uid", "target", "login", "host")
    op.create_table(
        "sessions",
        _key("id"),
        *map(_text, words),
        _count("port"),
        *map(_text, ("door", "source", "rules", "connection")),
        _time("started_at"),
        _time("ended_at", required=False),
        _text("reason"),
        *map(_count, ("bytes_in", "bytes_out", "channels", "opaque")),
        *map(_text, ("summary", "header", "node", "instance", "config")),
    )
    op.create_index("sessions_started_at", "sessions", ["started_at"])
    op.create_index("sessions_live", "sessions", ["state", "instance"])
    op.create_table(
        "recordings", _key("session_id"), _text("node"), _text("path"), _count("size"), _text("state")
    )
    op.create_table(
        "locks",
        _key("kind"),
        _key("value"),
        _text("reason"),
        _text("made_by"),
        _time("made_at"),
        _time("until", required=False),
    )
    op.create_table(
        "configs", _key("digest"), _key("node"), _time("loaded_at"), _text("loaded_by"), _text("version")
    )
