"""A collector: takes OTLP over HTTP as JSON, and holds each post against what opentelemetry-proto says of it.

Written from the proto files (trace/v1/trace.proto, collector/trace/v1) and the JSON mapping of the OTLP specification:
ids in hexadecimal, 64-bit numbers as text, enumerations as numbers, no unknown field.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SPAN = {
    "traceId", "spanId", "parentSpanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano", "attributes",
    "links", "status",
}  # fmt: skip
YEAR_2020, YEAR_2100 = 1_577_836_800 * 10**9, 4_102_444_800 * 10**9


@dataclass
class Seen:
    """A span as it came."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    began: int
    ended: int
    attributes: dict[str, str | int]
    links: list[tuple[str, str]]
    error: str

    @property
    def seconds(self) -> float:
        return (self.ended - self.began) / 1e9


@dataclass
class Collector:
    """What has come; `answers` are statuses for the next posts, 200 after that."""

    port: int = 0
    spans: list[Seen] = field(default_factory=list)
    resources: list[dict[str, str | int]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def traces(self) -> dict[str, list[Seen]]:
        found: dict[str, list[Seen]] = {}
        for span in self.spans:
            found.setdefault(span.trace, []).append(span)
        return found


def read_values(listed: Any) -> dict[str, str | int]:
    """KeyValue: each key once, each value of one kind."""
    found: dict[str, str | int] = {}
    for one in listed:
        assert set(one) == {"key", "value"} and one["key"] and one["key"] not in found, one
        ((kind, value),) = one["value"].items()
        assert isinstance(value, str), one
        assert kind in ("stringValue", "intValue"), one
        found[one["key"]] = int(value) if kind == "intValue" else value
    return found


def read_id(text: Any, size: int) -> str:
    assert isinstance(text, str) and re.fullmatch(f"[0-9a-f]{{{2 * size}}}", text) and int(text, 16), text
    return text


def read_moment(text: Any) -> int:
    assert isinstance(text, str) and text.isdecimal() and YEAR_2020 < int(text) < YEAR_2100, text
    return int(text)


def read_span(one: dict[str, Any]) -> Seen:
    assert set(one) <= SPAN and set(one) >= SPAN - {"parentSpanId", "links"}, sorted(one)
    links = []
    for link in one.get("links", ()):
        assert set(link) == {"traceId", "spanId"}
        links.append((read_id(link["traceId"], 16), read_id(link["spanId"], 8)))
    status = one["status"]
    assert set(status) <= {"code", "message"} and status["code"] in (1, 2)
    assert ("message" in status) == (status["code"] == 2)
    assert one["kind"] in (1, 2, 3) and isinstance(one["name"], str) and one["name"]
    began, ended = read_moment(one["startTimeUnixNano"]), read_moment(one["endTimeUnixNano"])
    assert began <= ended
    parent = read_id(one["parentSpanId"], 8) if "parentSpanId" in one else ""
    return Seen(
        read_id(one["traceId"], 16), read_id(one["spanId"], 8), parent, one["name"], one["kind"], began, ended,
        read_values(one["attributes"]), links, status.get("message", ""),
    )  # fmt: skip


def read_request(body: bytes) -> Iterator[tuple[dict[str, str | int], list[Seen]]]:
    """ExportTraceServiceRequest: each resource with its spans. AssertionError for what is not one."""
    document = json.loads(body)
    assert set(document) == {"resourceSpans"}
    for of_resource in document["resourceSpans"]:
        assert set(of_resource) == {"resource", "scopeSpans"} and set(of_resource["resource"]) == {
            "attributes"
        }
        spans: list[Seen] = []
        for of_scope in of_resource["scopeSpans"]:
            assert set(of_scope) == {"scope", "spans"} and set(of_scope["scope"]) == {"name", "version"}
            spans += map(read_span, of_scope["spans"])
        assert len({span.id for span in spans}) == len(spans)
        yield read_values(of_resource["resource"]["attributes"]), spans


@contextmanager
def collector() -> Iterator[Collector]:
    """One that listens on loopback."""
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = made.answers.pop(0) if made.answers else 200
            try:
                assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/json")
                for resource, spans in read_request(body):
                    if status == 200:
                        made.resources.append(resource)
                        made.spans += spans
            except (AssertionError, ValueError, KeyError, TypeError) as error:
                made.faults.append(f"{error!r} in {body[:2000]!r}")
                status = 400
            made.tokens.append(self.headers["Authorization"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
    assert made.faults == []
