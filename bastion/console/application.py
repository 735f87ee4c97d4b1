"""From a request to its answer (L4): read, find the route, admit, answer; whatever goes wrong is an answer too.

Invariant: this is the one way to every page. What was refused is a line in the audit log, as far as whoever asks may
have written, and what fails says nothing of how.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from bastion.auth.penalty_sources import source_block
from bastion.console import (
    access,
    accounts,
    deleting,
    entry,
    holding,
    keeping,
    listing,
    locking,
    openapi,
    orders,
    overview,
    own_passkeys,
    playing,
    recordings,
    requests,
    returning,
    reviews,
    saved,
    searching,
    watching,
)
from bastion.console.admission import STATUS, TEXTS, judge
from bastion.console.answers import Answer, cookie, cookie_name, document, see
from bastion.console.asked import Asked, BadRequest, Proxies, read
from bastion.console.bearers import Bearers
from bastion.console.desk import Call, Desk
from bastion.console.reads import Trouble
from bastion.console.routes import ANYBODY, NOWHERE, Found, find, methods_of
from bastion.console.site import ConsoleRequest
from bastion.console.standing import Standing
from bastion.console.throttle import Throttle
from bastion.console.visits import Visit
from bastion.errors import ConsoleReason
from bastion.observe.events import About
from bastion.observe.events.console import ConsoleRefused

_log = Logger(namespace="bastion.console")


async def static(call: Call) -> Answer:
    """A file that is the same for everybody."""
    return call.desk.pages.file(call.found.parts["file"])


Answers = Callable[[Call], Awaitable[Answer]]

ANSWERS: Final[Mapping[str, Answers]] = {
    "static": static,
    "sign_in_form": entry.sign_in_form,
    "sign_in": entry.sign_in,
    "elsewhere": returning.elsewhere,
    "back_from_elsewhere": returning.back_from_elsewhere,
    "sign_out": entry.sign_out,
    "home": entry.home,
    "sessions": listing.sessions,
    "session": listing.session,
    "text": recordings.text,
    "play": playing.play,
    "part": playing.part,
    "files": recordings.files,
    "api_note": reviews.api_note,
    "api_tag": reviews.api_tag,
    "api_mark": reviews.api_mark,
    "api_hold": holding.api_hold,
    "api_ask_lift": holding.api_ask,
    "api_answer_lift": holding.api_answer,
    "api_save_search": saved.api_save,
    "api_drop_search": saved.api_drop,
    "looks": recordings.looks,
    "api_looks": recordings.api_looks,
    "verify": recordings.verify,
    "export": recordings.export,
    "note": reviews.note,
    "tag": reviews.tag,
    "reviewed": reviews.reviewed,
    "reviews": reviews.reviews,
    "holds": holding.holds,
    "answer_lift": holding.answer,
    "hold": holding.hold,
    "ask_lift": holding.ask,
    "deletions": deleting.deletions,
    "deletion": deleting.deletion,
    "answer_deletion": deleting.answer,
    "ask_deletion_form": deleting.ask_form,
    "ask_deletion": deleting.ask,
    "api_deletions": deleting.api_deletions,
    "retention": keeping.retention,
    "api_retention": keeping.api_retention,
    "overview": overview.overview,
    "access": access.access,
    "search": searching.search,
    "searches": saved.searches,
    "save_search": saved.save,
    "drop_search": saved.drop,
    "live": orders.live,
    "watch_page": watching.watch_page,
    "end_form": orders.end_form,
    "end": orders.end,
    "lock_form": orders.lock_form,
    "lock": orders.lock,
    "locks": locking.locks,
    "unlock_form": locking.unlock_form,
    "unlock": locking.unlock,
    "api_sessions": listing.api_sessions,
    "api_session": listing.api_session,
    "api_reviews": reviews.api_reviews,
    "api_holds": holding.api_holds,
    "api_overview": overview.api_overview,
    "api_access": access.api_access,
    "api_search": searching.api_search,
    "api_searches": saved.api_searches,
    "api_live": orders.api_live,
    "account": accounts.account,
    "make_token": accounts.make_token,
    "revoke_token": accounts.revoke_token,
    "accounts": accounts.accounts,
    "revoke_any_token": accounts.revoke_any_token,
    "api_verify": recordings.api_verify,
    "api_end": orders.api_end,
    "api_lock": orders.api_lock,
    "api_unlock": locking.api_unlock,
    "api_locks": locking.api_locks,
    "api_me": accounts.api_me,
    "api_tokens": accounts.api_tokens,
    "add_passkey": own_passkeys.add_passkey,
    "remove_passkey": own_passkeys.remove_passkey,
    "remove_any_passkey": own_passkeys.remove_any_passkey,
    "api_passkeys": own_passkeys.api_passkeys,
    "api_document": openapi.api_document,
    "watch": watching.watch,
    "requests": requests.requests,
    "request": requests.request,
    "answer": requests.answer,
    "api_requests": requests.api_requests,
    "requests_stream": requests.requests_stream,
    "api_answer": requests.api_answer,
}
"""Route's name -> what answers it."""

BEARER: Final = (("www-authenticate", 'Bearer realm="bastion"'),)
"""What programs prove themselves with (RFC 6750 section 3)."""

METHODS: Final = ("GET", "HEAD", "POST")


class Application:
    """One per console."""

    def __init__(self, desk: Desk, proxies: Proxies, standing: Standing) -> None:
        self._desk, self._proxies, self._standing = desk, proxies, standing
        self._by_source, self._by_person = Throttle(desk.clock), Throttle(desk.clock)
        self._bearers = Bearers(desk.reads, standing, desk.clock, desk.token_lifetime)

    def serve(self, request: ConsoleRequest) -> None:
        """For the site: answer it, whatever comes of it."""
        answered = Deferred.fromCoroutine(self._answered(request))

        def failed(failure: Failure) -> Answer:
            _log.failure("a request failed", failure=failure)
            return self.refusal(None, ConsoleReason.FAILED)

        secure = self._desk.place.is_secure
        answered.addErrback(failed)
        answered.addCallback(lambda answer: request.answer(answer, secure))
        answered.addErrback(lambda failure: _log.failure("an answer could not be sent", failure=failure))

    async def _answered(self, request: ConsoleRequest) -> Answer:
        try:
            if request.too_long:
                raise BadRequest("the body is too long", ConsoleReason.TOO_LARGE)
            asked = read(
                request.method.decode("latin-1"),
                request.uri.decode("latin-1"),
                request.all_headers(),
                request.body,
                request.peer,
                self._proxies,
            )
        except BadRequest as error:
            source = request.peer or "unix"
            self._note(error.reason, source, "", "", "", "")
            return self.refusal(None, error.reason, error.text, request.uri.startswith(b"/api/"))
        return await self.answer(asked)

    async def answer(self, asked: Asked) -> Answer:
        """The answer to one request."""
        found = find(asked.method, asked.path) if asked.method in METHODS else None
        call = Call(self._desk, asked, found or Found(NOWHERE, {}))
        return await self._desk.figures.timed(call.found.route.name, self._answer(call))

    async def _answer(self, call: Call) -> Answer:
        asked, route = call.asked, call.found.route
        if not self._by_source.allows(source_block(asked.source)):
            return self._refused(call, ConsoleReason.THROTTLED)
        if route is NOWHERE:
            return self._nowhere(call)
        if asked.has_body:
            return self._refused(call, ConsoleReason.BAD_REQUEST, "there is a body")
        try:
            made = await self._visited(call)
        except Trouble as trouble:
            return self._refused(call, trouble.reason, trouble.text)
        reason: ConsoleReason | None = judge(route, asked, call.visit, self._desk.place)
        if reason is ConsoleReason.NOT_SIGNED_IN:
            reason = call.values.get("over", reason)
        if reason is None and call.visit is not None and route.whose != ANYBODY:
            reason = await self._still(call, call.visit)
        if reason is not None:
            return self._refused(call, reason)
        try:
            answer = await ANSWERS[route.name](call)
        except Trouble as trouble:
            return self._refused(call, trouble.reason, trouble.text)
        if not made:
            return answer
        secure = self._desk.place.is_secure
        more = cookie(cookie_name(secure), made, secure)
        return Answer(
            answer.status, answer.kind, answer.body, (*answer.headers, more), answer.stream, answer.policy
        )

    async def _visited(self, call: Call) -> str:
        """Who asks, into the call; the id of a visit that a proxy's word has begun, "" for none."""
        desk, asked = self._desk, call.asked
        name = cookie_name(desk.place.is_secure)
        if asked.bearer is not None:
            if name in asked.cookies:
                raise Trouble(ConsoleReason.BAD_REQUEST, "an API token goes with no cookie")
            if call.found.route.is_data and asked.host == desk.place.host:
                call.visit = await self._bearers.visit(asked.bearer, asked.source, call.asker)
            return ""
        call.visit, call.values["over"] = desk.visits.find(asked.cookies.get(name, ""))
        if not asked.user or call.found.route.whose == ANYBODY or asked.host != desk.place.host:
            return ""
        if call.visit is not None and call.visit.proxied == asked.user:
            return ""
        if call.visit is not None:
            desk.visits.end(call.visit, ConsoleReason.SIGNED_OUT)
            call.visit = None
        begun = await entry.proxied(call)
        if begun is None:
            return ""
        call.visit, made = begun
        return made

    async def _still(self, call: Call, visit: Visit) -> ConsoleReason | None:
        """Is it still somebody, who asks no more than may be?"""
        if not self._by_person.allows(visit.uid or visit.name):
            return ConsoleReason.THROTTLED
        over = await self._standing.ask(visit, call.asker)
        if over in (ConsoleReason.ACCOUNT_GONE, ConsoleReason.LOCKED):
            self._desk.visits.end(visit, over)  # one by a token is none of them
            call.visit = None
            return over
        if over is None and not call.found.route.whose & visit.roles:  # type: ignore[operator]
            return ConsoleReason.NO_ROLE
        return over

    def _nowhere(self, call: Call) -> Answer:
        """There is no such page, or it is not asked for so (RFC 9110 section 15.5.6)."""
        methods = methods_of(call.asked.path)
        if not methods and call.asked.method in METHODS:
            return self._refused(call, ConsoleReason.NOT_FOUND)
        answer = self._refused(call, ConsoleReason.BAD_METHOD)
        return replace(answer, headers=(*answer.headers, ("allow", ", ".join(methods))))

    # -- refusing ----------------------------------------------------------------------------------------

    def _refused(self, call: Call, reason: ConsoleReason, text: str = "") -> Answer:
        asked, route = call.asked, call.found.route
        name = call.visit.name if call.visit is not None else ""
        self._note(reason, asked.source, name, route.name, asked.method, asked.path)
        wants_page = not route.is_data and asked.method in ("GET", "HEAD") and asked.bearer is None
        if STATUS[reason] == 401 and wants_page:
            return see(f"/sign-in?next={quote(asked.target, safe='')}" if asked.path != "/" else "/sign-in")
        return self.refusal(call, reason, text)

    def refusal(
        self, call: Call | None, reason: ConsoleReason, text: str = "", for_program: bool = False
    ) -> Answer:
        """What whoever asked reads; `call` is None where nothing could be read."""
        said, status = text or TEXTS[reason], STATUS[reason]
        if for_program or (call is not None and call.asked.path.startswith("/api/")):
            answer = document({"error": str(reason), "text": said}, status)
            return replace(answer, headers=BEARER) if status == 401 else answer
        if call is None:
            return Answer(status, "text/plain; charset=utf-8", f"{said}\n".encode())
        if call.found.route.is_stream:
            return document({"error": str(reason), "text": said}, status)
        return call.page("refused.html", status, text=said)

    def _note(
        self, reason: ConsoleReason, source: str, user: str, route: str, method: str, path: str
    ) -> None:
        """A line for which whoever asked pays; what is not written is counted in one line a minute."""
        self._desk.figures.refused(reason)
        budget = self._desk.budget
        purse = budget.identity(user) if user else budget.source(source)
        event = ConsoleRefused(reason, route, method[:8], path[:200])
        self._desk.rationed.note(purse, user or source, event, About(user=user, source=source))
