"""The tables of the state store, as SQLAlchemy sees them (L2). `docs/state.md` says what each column is.

Invariant: this is what the newest migration leaves behind (a test compares the two). Times are seconds since the
epoch, ids are text, lists are JSON text: SQLite and PostgreSQL say the same of each.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import BigInteger, Column, ColumnElement, Double, Index, MetaData, Table, Text

METADATA: Final = MetaData()


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _partial(name: str, column: Column[Any], where: ColumnElement[bool]) -> None:
    """An index of the few rows of which that is so; a statement that is to use it says so too."""
    Index(name, column, sqlite_where=where, postgresql_where=where)


NODES: Final = Table(
    "nodes",
    METADATA,
    Column("name", Text, primary_key=True),
    _text("version"),
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
)
"""The gateways that write here."""

SESSIONS: Final = Table(
    "sessions",
    METADATA,
    Column("id", Text, primary_key=True),
    _text("kind"),
    _text("state"),
    _text("identity"),
    _text("uid"),
    _text("target"),
    _text("login"),
    _text("host"),
    _count("port"),
    _text("door"),
    _text("source"),
    _text("rules"),
    _text("connection"),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    _text("reason"),
    _count("bytes_in"),
    _count("bytes_out"),
    _count("channels"),
    _count("opaque"),
    _text("summary"),
    _text("header"),
    _text("node"),
    _text("instance"),
    _text("config"),
    _text("ran"),
    _count("emergency"),
)
"""Sessions and tunnels: a row from the start on, completed at the end."""

Index("sessions_started_at", SESSIONS.c.started_at)
Index("sessions_live", SESSIONS.c.state, SESSIONS.c.instance)
_partial("sessions_connection", SESSIONS.c.connection, SESSIONS.c.connection != "")
_partial("sessions_emergency", SESSIONS.c.started_at, SESSIONS.c.emergency == 1)

RECORDINGS: Final = Table(
    "recordings",
    METADATA,
    Column("session_id", Text, primary_key=True),
    _text("node"),
    _text("path"),
    _count("size"),
    _text("state"),
    Column("deleted_at", Double),
    _text("deleted_by"),
    _text("deleted_why"),
    _text("sha256"),
    _text("stored"),
    _text("stored_version"),
    Column("stored_at", Double),
)
"""The files of sessions; a path is relative to the folder of recordings of its node."""

LOCKS: Final = Table(
    "locks",
    METADATA,
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    _text("reason"),
    _text("made_by"),
    Column("made_at", Double, nullable=False),
    Column("until", Double),
    _text("uid"),
)
"""What is locked out now: a user (by the immutable id of the account where there is one), a target, a certificate or a
source."""

LOCK_ENDS: Final = Table(
    "lock_ends",
    METADATA,
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Column("made_at", Double, nullable=False),
    Column("ended_at", Double, nullable=False),
)
"""What was taken away: no lock of that place that was made then, or before, is in force, whoever writes it again."""

BREAK_GLASS: Final = Table(
    "break_glass",
    METADATA,
    Column("node", Text, primary_key=True),
    Column("made_at", Double, nullable=False),
    Column("until", Double, nullable=False),
    _text("reason"),
    _text("made_by"),
)
"""When break-glass accounts were opened or closed last at each gateway; `until` is 0 where they were closed."""

HOLDS: Final = Table(
    "holds",
    METADATA,
    Column("session_id", Text, primary_key=True),
    _text("reason"),
    _text("made_by"),
    Column("made_at", Double, nullable=False),
)
"""Recordings that nothing may delete, whatever the rules of retention say."""

LEDGER_HEADS: Final = Table(
    "ledger_heads",
    METADATA,
    Column("node", Text, primary_key=True),
    Column("serial", BigInteger, nullable=False),
    _text("digest"),
    Column("told_at", Double, nullable=False),
)
"""The newest line of each gateway's ledger of recordings, as it was told last."""

CONFIGS: Final = Table(
    "configs",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("node", Text, primary_key=True),
    Column("loaded_at", Double, nullable=False),
    _text("loaded_by"),
    _text("version"),
)
"""Which configurations were in force, by digest, and who loaded them first."""

POLICY_TEXTS: Final = Table(
    "policy_texts",
    METADATA,
    Column("digest", Text, primary_key=True),
    Column("part", BigInteger, primary_key=True, autoincrement=False),
    _text("packed"),
)
"""Policies with their inventories as they were read, by digest: zlib in base64, in parts that a journal takes."""

POLICY_LOADS: Final = Table(
    "policy_loads",
    METADATA,
    Column("node", Text, primary_key=True),
    Column("loaded_at", Double, primary_key=True),
    _text("digest"),
    _text("config"),
    _text("loaded_by"),
    _text("version"),
)
"""When which of them came in force, and with which configuration: a row for each start and reload of a gateway."""

APPROVALS: Final = Table(
    "approvals",
    METADATA,
    Column("id", Text, primary_key=True),
    _text("state"),
    _text("uid"),
    _text("identity"),
    _text("target"),
    _text("login"),
    _text("verbs"),
    _text("source"),
    _text("needed"),
    _text("why"),
    Column("made_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("answered_at", Double),
    _text("answered_by"),
    _text("answered_uid"),
    _text("factor"),
    _text("answer_why"),
    _text("session"),
    _text("machine"),
)
"""Requests for approval: what each is bound to, and who answered it. Whoever changes `state` has done it."""

Index("approvals_uid", APPROVALS.c.uid, APPROVALS.c.state)

TOTP: Final = Table(
    "totp",
    METADATA,
    Column("uid", Text, primary_key=True),
    _text("name"),
    _text("sealed"),
    Column("made_at", Double, nullable=False),
    _text("made_by"),
    _count("last_step"),
)
"""Second factors, by the immutable id of the identity: the sealed secret, and the step of the last code that was used.
The name is that of the day of enrolment, for people."""

TOTP_RECOVERY: Final = Table(
    "totp_recovery",
    METADATA,
    Column("uid", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
)
"""Recovery codes that have not been used, as keyed digests."""

CERTIFICATES: Final = Table(
    "certificates",
    METADATA,
    Column("ca", Text, primary_key=True),
    Column("serial", BigInteger, primary_key=True, autoincrement=False),
    _text("uid"),
    _text("name"),
    _text("key_id"),
    _text("fingerprint"),
    _text("factors"),
    Column("proved_at", Double, nullable=False),
    Column("issued_at", Double, nullable=False),
    Column("ends_at", Double, nullable=False),
    _text("source"),
    _text("node"),
)
"""Certificates issued to people who had logged in, by CA and serial; `fingerprint` is of the certified key, `factors`
are what the certificate carries, with commas, and were proved at `proved_at`."""

Index("certificates_fingerprint", CERTIFICATES.c.fingerprint)
Index("certificates_uid", CERTIFICATES.c.uid)

KEY_AGES: Final = Table(
    "key_ages",
    METADATA,
    Column("uid", Text, primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("first_seen", Double, nullable=False),
    Column("last_seen", Double, nullable=False),
    Column("told_at", Double, nullable=False, server_default="0"),
)
"""Since when each key of an identity has logged in, and when somebody was last told that it is old."""

FINDINGS: Final = Table(
    "findings",
    METADATA,
    Column("node", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    _text("kind"),
    _text("level"),
    Column("at", Double, nullable=False),
    _text("identity"),
    _text("target"),
    _text("expected"),
    _text("came"),
    _text("sessions"),
    Column("made_at", Double, nullable=False),
    _text("mute"),
    _text("audited"),
    _text("alertmanager"),
    _text("webhook"),
)
"""What detections found in a gateway's log: `at` is when the line was written that showed it; `audited` and the ways by
which it is posted are `waiting` until that is done."""

Index("findings_at", FINDINGS.c.at)

MUTES: Final = Table(
    "mutes",
    METADATA,
    Column("id", Text, primary_key=True),
    _text("kind"),
    _text("identity"),
    _text("target"),
    _text("reason"),
    _text("made_by"),
    Column("made_at", Double, nullable=False),
    Column("until", Double, nullable=False),
)
"""Findings that are posted to nobody for a while: those of which each part that is not empty is so."""

CONSOLE_TOKENS: Final = Table(
    "console_tokens",
    METADATA,
    Column("id", Text, primary_key=True),
    _text("digest"),
    _text("label"),
    _text("uid"),
    _text("name"),
    _text("scope"),
    Column("made_at", Double, nullable=False),
    _text("made_by"),
    Column("ends_at", Double, nullable=False),
    Column("used_at", Double),
)
"""API tokens of the review console: a digest of each, whose it is by the immutable id of the identity (the name is that
of the day it was made), what it may ask for (with commas), and until when."""

Index("console_tokens_uid", CONSOLE_TOKENS.c.uid)

PASSKEYS: Final = Table(
    "passkeys",
    METADATA,
    Column("id", Text, primary_key=True),
    _text("credential"),
    _text("public_key"),
    _text("uid"),
    _text("name"),
    _text("label"),
    _count("counter"),
    _count("synced"),
    Column("made_at", Double, nullable=False),
    Column("used_at", Double),
)
"""Passkeys for the review console, by the fingerprint of the credential's id; whose each is by the immutable id of the
identity (the name is that of the day it was made), and how far its counter had come."""

Index("passkeys_uid", PASSKEYS.c.uid)

LEARNED: Final = Table(
    "learned",
    METADATA,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("form", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    _text("node"),
    Column("saved_at", Double, nullable=False),
    _text("packed"),
)
"""What detections have learned of a person, or of a gateway: JSON, zlib, base64. Rows of another `form` are not read;
`revision` counts who has written."""

Index("learned_saved_at", LEARNED.c.kind, LEARNED.c.saved_at)

REVIEW_NOTES: Final = Table(
    "review_notes",
    METADATA,
    Column("id", Text, primary_key=True),
    _text("session_id"),
    _text("uid"),
    _text("name"),
    Column("made_at", Double, nullable=False),
    _text("text"),
)
"""What reviewers have written at a session. Nobody changes a row, and nobody removes one."""

Index("review_notes_session", REVIEW_NOTES.c.session_id)

REVIEW_TAGS: Final = Table(
    "review_tags",
    METADATA,
    Column("session_id", Text, primary_key=True),
    Column("tag", Text, primary_key=True),
    _text("uid"),
    _text("name"),
    Column("made_at", Double, nullable=False),
)
"""Words by which reviewers find sessions again."""

Index("review_tags_tag", REVIEW_TAGS.c.tag)

REVIEW_MARKS: Final = Table(
    "review_marks",
    METADATA,
    Column("id", Text, primary_key=True),
    _text("session_id"),
    _text("uid"),
    _text("name"),
    Column("made_at", Double, nullable=False),
    _text("text"),
)
"""Who has reviewed a session, and with what result. Nobody changes a row, and nobody removes one."""

Index("review_marks_session", REVIEW_MARKS.c.session_id)

HOLD_LIFTS: Final = Table(
    "hold_lifts",
    METADATA,
    Column("id", Text, primary_key=True),
    _text("session_id"),
    _text("state"),
    _text("reason"),
    _text("asked_uid"),
    _text("asked_by"),
    Column("asked_at", Double, nullable=False),
    _text("answered_uid"),
    _text("answered_by"),
    Column("answered_at", Double),
)
"""That somebody asked in the console to lift a hold, and who answered. Whoever changes `state` has done it."""

Index("hold_lifts_session", HOLD_LIFTS.c.session_id)

DELETIONS: Final = Table(
    "deletions",
    METADATA,
    Column("id", Text, primary_key=True),
    _text("session_id"),
    _text("state"),
    _text("reason"),
    _text("asked_uid"),
    _text("asked_by"),
    _text("asked_factor"),
    Column("asked_at", Double, nullable=False),
    _text("answered_uid"),
    _text("answered_by"),
    _text("answered_factor"),
    Column("answered_at", Double),
    Column("void_at", Double),
    _text("outcome"),
)
"""That somebody asked to delete a recording, and who agreed, each with a proof that the gateway had. Whoever changes
`state` has done it; a console may change `void_at` alone, which a hold sets."""

Index("deletions_session", DELETIONS.c.session_id)

SAVED_SEARCHES: Final = Table(
    "saved_searches",
    METADATA,
    Column("id", Text, primary_key=True),
    _text("uid"),
    _text("name"),
    _text("title"),
    _text("words"),
    _text("query"),
    Column("made_at", Double, nullable=False),
    Column("ran_at", Double),
    _text("mail"),
    Column("stopped_at", Double),
    _text("stopped"),
)
"""What somebody wants looked for every night: words, and filters as the query of a URL; where news are mailed to, and
why it runs no more."""

SAVED_HITS: Final = Table(
    "saved_hits",
    METADATA,
    Column("search_id", Text, primary_key=True),
    Column("session_id", Text, primary_key=True),
    _text("who"),
    Column("started_at", Double, nullable=False),
    Column("found_at", Double, nullable=False),
    _count("to_post"),
    _count("to_mail"),
)
"""Sessions in which that was found, each told once: posted and mailed, or still to be."""

PENALTIES: Final = Table(
    "penalties",
    METADATA,
    Column("node", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    _text("of"),
    _text("source"),
    _count("failures"),
    Column("until", Double, nullable=False),
    Column("made_at", Double, nullable=False),
    Column("cleared_at", Double, nullable=False),
    Column("written_at", Double, nullable=False),
    Column("ends_at", Double, nullable=False),
    _count("revision"),
)
"""What each gateway says of whom it makes wait after failed logins (`auth.penalty_claims`). Of accounts `key`, a keyed
digest, is all that stands there."""

Index("penalties_revision", PENALTIES.c.node, PENALTIES.c.revision)

PENALTY_KEY: Final = Table("penalty_key", METADATA, Column("name", Text, primary_key=True), _text("key"))
"""What the digests of all gateways are keyed with: that of the one which was there first."""
