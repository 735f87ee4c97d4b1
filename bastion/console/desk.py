"""What every page is given (L4): the person, the request, and what is asked for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bastion.auth.budget import Budget
from bastion.auth.context import AuthContext, AuthServices
from bastion.auth.directory import Asker, Directory
from bastion.clock import Clock
from bastion.config.mail import Mail
from bastion.console.admission import TEXTS, Place
from bastion.console.answers import Answer
from bastion.console.asked import Asked
from bastion.console.codes import CodesFrom
from bastion.console.feed import Feed
from bastion.console.figures import Figures
from bastion.console.gateway import GatewaySocket
from bastion.console.painting import Easel
from bastion.console.passkeys import Passkeys
from bastion.console.readers import Object, Opened, Question, Readers
from bastion.console.reads import Reads, Trouble
from bastion.console.rendering import Pages
from bastion.console.routes import ACTS, KEEPS, LOOKS, Found
from bastion.console.streams import Streams
from bastion.console.visits import Visit, Visits
from bastion.errors import ConsoleReason
from bastion.observe.audit import AuditFailed, AuditLog
from bastion.observe.events import About, AuditEvent
from bastion.observe.events.reading import RecordingsRead
from bastion.observe.meters import Meters
from bastion.observe.rationed import RationedLog
from bastion.recording.format import REF_LENGTH
from bastion.recording.redacting import Redaction
from bastion.state.paging import Place as Recorded
from bastion.state.stored import stored_of

if TYPE_CHECKING:  # it loads what verifies tokens, which comes with the extra `oidc`
    from bastion.console.elsewhere import Elsewhere
from bastion.state.review_queue import Rules

ASKED_MAX: Final = 500


@dataclass(slots=True)
class Desk:
    """What one console has. `groups`: role -> the groups whose members have it."""

    reactor: Any
    clock: Clock
    meters: Meters
    audit: AuditLog
    rationed: RationedLog
    budget: Budget
    auth: AuthServices
    reads: Reads
    readers: Readers
    gateway: GatewaySocket
    pages: Pages
    visits: Visits
    place: Place
    recorded: Recorded
    redaction: Redaction
    groups: Mapping[str, frozenset[str]]
    review: Rules
    login_log: Path  # the gateway's audit log
    config_file: Path
    mail: Mail
    streams: Streams
    figures: Figures
    token_lifetime: float | None = None  # the longest of an API token, in seconds; None: there are none
    passkeys: Passkeys | None = None  # None: they are no way in
    elsewhere: Elsewhere | None = None  # likewise
    codes: CodesFrom | None = None  # None: no code is ever right
    bucket: bool = False  # recordings may be in one
    feed: Feed = field(init=False)
    easel: Easel = field(init=False)

    def __post_init__(self) -> None:
        self.feed = Feed(self.reactor, self.clock, self.gateway)
        self.easel = Easel(self.reactor, self.clock)

    @property
    def directory(self) -> Directory:
        return self.auth.directory

    def context(self, source: str, connection: str) -> AuthContext:
        """What the attempts of one sign-in are made with."""
        return AuthContext(
            services=self.auth,
            source=source,
            purse=self.budget.source(source),
            payer=source,
            clock=self.clock,
            meters=self.meters,
            audit=self.audit,
            rationed=self.rationed,
            connection=connection,
            codes=None if self.codes is None else self.codes(source),
        )


@dataclass(slots=True)
class Call:
    """One request that is answered. `visit` is None for routes that are anybody's."""

    desk: Desk
    asked: Asked
    found: Found
    visit: Visit | None = None
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def somebody(self) -> Visit:
        """Whoever has signed in: of routes with roles there is one."""
        assert self.visit is not None
        return self.visit

    @property
    def asker(self) -> Asker:
        """Who pays for the place in a thread."""
        visit = self.visit
        budget = self.desk.budget
        return Asker(budget.source(self.asked.source) if visit is None else budget.identity(visit.name))

    def page(self, template: str, status: int = 200, **values: Any) -> Answer:
        """A page with what every page has."""
        return self.desk.pages.page(template, status, **self.common(), **values)

    def common(self) -> dict[str, Any]:
        """What `base.html` asks for."""
        visit = self.visit
        roles = visit.roles if visit else frozenset()
        return {
            "who": visit.name if visit else "",
            "roles": sorted(roles),
            "token": visit.token if visit else "",
            "looks": bool(roles & LOOKS),
            "acts": bool(roles & ACTS),
            "keeps": bool(roles & KEEPS),
            "here": self.found.route.path,
        }

    def note_read(self, command: str, asked: str, session: str = "") -> None:
        """The line about what is shown next. Raises Trouble when it cannot be written."""
        about = About(session, session[:REF_LENGTH], source=self.asked.source)
        self.emit(RecordingsRead(self.somebody.name, self._command(command), asked[:ASKED_MAX]), about)

    def _command(self, command: str) -> str:
        """As it stands in the audit log."""
        by = self.somebody.by_token
        return f"console {command} by token {by}" if by else f"console {command}"

    def emit(self, event: AuditEvent, about: About | None = None) -> None:
        """A line that must be there before anything comes of it. Raises Trouble."""
        given = About(user=self.somebody.name, source=self.asked.source) if about is None else about
        try:
            self.desk.audit.emit(event, given)
        except AuditFailed:
            raise Trouble(ConsoleReason.UNAUDITED, TEXTS[ConsoleReason.UNAUDITED]) from None

    async def open(
        self,
        what: str,
        session: str,
        command: str,
        asked: str = "",
        channel: int | None = None,
        **more: Any,
    ) -> Opened:
        """The recording of a session, by the process that notes it and reads it; without a `command` a line of before
        covers it (`grants`). `more` as of `Question`. Raises Trouble."""
        stored, unknown = await self._stored(session)
        question = Question(
            what,
            session,
            self.somebody.name,
            self.asked.source,
            command and self._command(command),
            asked[:ASKED_MAX],
            channel,
            stored=stored,
            unknown=unknown,
            **more,
        )
        return await self.desk.readers.ask(question)

    async def _stored(self, session: str) -> tuple[Object | None, str]:
        """Where in the bucket its recording is, and why nobody knows: one in the folder is opened without the store."""
        if not self.desk.bucket:
            return None, ""
        try:
            found = await self.desk.reads.ask(lambda database: stored_of(database, session), self.asker)
        except Trouble as trouble:
            return None, trouble.text
        return None if found is None else Object(found.url, found.version, found.size, found.sha256), ""

    def channel(self) -> int | None:
        """The channel that was asked for; None: all. Raises Trouble."""
        text = self.asked.query.get("channel", "")
        if text and not (text.isascii() and text.isdigit() and len(text) <= 9):
            raise Trouble(ConsoleReason.BAD_REQUEST, "the channel is no number")
        return int(text) if text else None
