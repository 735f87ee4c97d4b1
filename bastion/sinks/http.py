"""Sinks that are spoken to over HTTP (L2): Loki, Elasticsearch, OpenTelemetry. Blocks: call it in a thread.

Invariants: no redirect is followed and no proxy asked; of an answer no more is read than may be there, and nothing of
it stands in a log; a token goes to the one host that the URL names.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from bastion.ca.secrets import read_secret_file
from bastion.errors import ConfigError
from bastion.observe.labels import SinkReason
from bastion.sinks.fault import SinkFault
from bastion.sinks.lines import AuditLine
from bastion.sinks.link import Trust, connected
from bastion.sinks.section import Sink
from bastion.sinks.shapes import authorization, elastic_body, loki_body, otlp_body

ANSWER_MAX: Final = 4 << 20
"""Bytes of an answer: Elasticsearch's has some 150 for each of BATCH_MAX lines, its reasons for refusing them more."""

LATER_MAX: Final = 600.0
"""Seconds, of what a server may ask for with Retry-After."""

REFUSALS: Final = frozenset((400, 413, 422))
"""Of HTTP: about what was sent, so that sending it again changes nothing."""

_DENIED: Final = frozenset((401, 403))
_BUSY: Final = frozenset((429, 503))


@dataclass(frozen=True, slots=True)
class Answer:
    """The status, the whole body, and for how many seconds the server asks to be left alone."""

    status: int
    body: bytes
    later: float


class Http:
    """What the three have in common: one POST for each delivery."""

    path = ""
    content = "application/json"

    def __init__(self, sink: Sink, node: str) -> None:
        self._sink, self._node = sink, node
        self._url = urlsplit(sink.url or "")
        self._trust = Trust(sink)
        self._place = sink.place

    def deliver(self, lines: Sequence[AuditLine]) -> Sequence[int]:
        """Which of them, by index, the sink does not take for what they are; it has the others. Raises SinkFault."""
        answer = self._post(self.body(lines))
        if not 200 <= answer.status < 300:
            raise self._fault(answer)
        return self.judge(answer, len(lines))

    def probe(self) -> None:
        """Does it answer, with these credentials? Nothing is written there. Raises SinkFault."""
        answer = self._post(self.body(()))
        if not 200 <= answer.status < 300 and answer.status not in REFUSALS:
            raise self._fault(answer)

    def body(self, lines: Sequence[AuditLine]) -> bytes:
        raise NotImplementedError

    def judge(self, answer: Answer, count: int) -> Sequence[int]:
        raise NotImplementedError

    def _fault(self, answer: Answer) -> SinkFault:
        text = f"{self._place}: HTTP status {answer.status}"
        if answer.status in REFUSALS:
            return SinkFault(SinkReason.REFUSED, text)
        if answer.status in _DENIED:
            return SinkFault(SinkReason.DENIED, text)
        if answer.status in _BUSY:
            return SinkFault(SinkReason.BUSY, text, answer.later)
        if 300 <= answer.status < 400:
            text += ": redirects are not followed, write where it leads"
        return SinkFault(SinkReason.STATUS, text)

    def _headers(self) -> dict[str, str]:
        headers = {
            "Host": self._url.netloc,
            "Content-Type": self.content,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "bastion",
        }
        if self._sink.tenant is not None:
            headers["X-Scope-OrgID"] = self._sink.tenant
        if self._sink.token_file is not None:
            try:
                token = read_secret_file(self._sink.token_file, "sink's token")
            except ConfigError as error:
                raise SinkFault(SinkReason.SETTINGS, str(error)) from None
            headers["Authorization"] = authorization(self._sink.token_scheme, token)
        return headers

    def _post(self, body: bytes) -> Answer:
        url, secure = self._url, self._url.scheme == "https"
        host, port = url.hostname or "", url.port or (443 if secure else 80)
        headers, context = self._headers(), self._trust.context() if secure else None
        made = http.client.HTTPConnection(host, port)
        try:
            with connected(host, port, self._sink.timeout, self._place) as opened:
                made.sock = opened if context is None else context.wrap_socket(opened, server_hostname=host)
                made.request("POST", url.path.rstrip("/") + self.path, body, headers)
                return self._read(made.getresponse())
        except http.client.HTTPException as error:
            text = f"{self._place}: it does not speak HTTP as it should: {type(error).__name__}"
            raise SinkFault(SinkReason.BAD_ANSWER, text) from None
        except ValueError:  # a token that cannot be a header
            raise SinkFault(SinkReason.SETTINGS, f"{self._place}: the request cannot be made") from None
        finally:
            made.close()

    def _read(self, response: http.client.HTTPResponse) -> Answer:
        body = response.read(ANSWER_MAX + 1)
        if len(body) > ANSWER_MAX:
            raise self._bad(f"an answer of more than {ANSWER_MAX} bytes")
        if response.length:
            raise self._bad("an answer that ends in the middle")
        return Answer(response.status, body, _seconds(response.getheader("Retry-After", "")))

    def _bad(self, what: str) -> SinkFault:
        return SinkFault(SinkReason.BAD_ANSWER, f"{self._place}: {what}")

    def _document(self, answer: Answer) -> Mapping[str, Any]:
        try:
            found = orjson.loads(answer.body or b"{}")
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise self._bad("an answer that is no object of JSON")
        return found


class Loki(Http):
    """204 says that all of it is kept."""

    path = "/loki/api/v1/push"

    def body(self, lines: Sequence[AuditLine]) -> bytes:
        return loki_body(lines, self._node, self._sink.labels)

    def judge(self, answer: Answer, count: int) -> Sequence[int]:
        if answer.status != 204:
            raise self._bad(f"HTTP status {answer.status}, where Loki says 204")
        return ()


class Elastic(Http):
    """Each line has an answer of its own, in their order; 409 says that it is there already."""

    path = "/_bulk"
    content = "application/x-ndjson"

    def body(self, lines: Sequence[AuditLine]) -> bytes:
        return elastic_body(lines, self._node, self._sink.index)

    def judge(self, answer: Answer, count: int) -> Sequence[int]:
        items = self._document(answer).get("items")
        if not isinstance(items, list) or len(items) != count:
            raise self._bad("not one answer for each line")
        return [index for index, item in enumerate(items) if self._is_refused(item)]

    def _is_refused(self, item: Any) -> bool:
        created = item.get("create") if isinstance(item, dict) else None
        status = created.get("status") if isinstance(created, dict) else None
        if type(status) is not int:
            raise self._bad("an item without a status")
        if 200 <= status < 300 or status == 409:
            return False
        if status in REFUSALS:
            return True
        raise self._fault(Answer(status, b"", 0.0))


class Otlp(Http):
    """200; a number of records may have been rejected, which are not to be sent again and are not named."""

    path = "/v1/logs"

    def __init__(self, sink: Sink, node: str, version: str) -> None:
        super().__init__(sink, node)
        self._version = version

    def body(self, lines: Sequence[AuditLine]) -> bytes:
        return otlp_body(lines, self._node, self._version)

    def judge(self, answer: Answer, count: int) -> Sequence[int]:
        if answer.status != 200:
            raise self._bad(f"HTTP status {answer.status}, where OTLP says 200")
        partial = self._document(answer).get("partialSuccess") or {}
        rejected = partial.get("rejectedLogRecords", 0) if isinstance(partial, dict) else None
        if str(rejected) == "0":  # an int64 is a number or a string in its JSON
            return ()
        raise SinkFault(SinkReason.REFUSED, f"{self._place}: some records were rejected")


def _seconds(text: str) -> float:
    return min(float(text), LATER_MAX) if text.isascii() and text.isdigit() and len(text) < 10 else 0.0
