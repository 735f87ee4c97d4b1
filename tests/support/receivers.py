"""Real servers that take logs and traces: VictoriaLogs, and OpenTelemetry's collector writing what came to a file.

`.ci/go-programs` builds them once for each user (`make receivers`). Each listens on a port of its own that stays the
same over `stop` and `start`, and keeps what it has: an outage.
"""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.support.net import LOOPBACK, free_port, wait_until_listening
from tests.support.s3 import CACHE

VICTORIA_LOGS = CACHE / "victoria-logs-1.52.1"
OTELCOL = CACHE / "otelcol-0.161.0"
MOST = 1_000_000


def receivers_missing() -> str:
    """Why they cannot run here, or ""."""
    missing = [program.name for program in (VICTORIA_LOGS, OTELCOL) if not program.exists()]
    return f"{', '.join(missing)} missing: make receivers builds them" if missing else ""


class Program:
    """One of them. `stop` is an orderly end: what it has said yes to is on its disk then."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> Self:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_until_listening(self.port)
        return self

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            assert process.wait(30) == 0, (self.folder / "log").read_text()[-2000:]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(10)


class VictoriaLogs(Program):
    """Takes Loki's push at `url`/loki/api/v1/push and Elasticsearch's bulk at `url`/elasticsearch/_bulk."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/insert"

    def command(self) -> list[str]:
        return [
            str(VICTORIA_LOGS), f"-httpListenAddr={LOOPBACK}:{self.port}",
            f"-storageDataPath={self.folder}/data", "-loki.disableMessageParsing",
        ]  # fmt: skip

    def rows(self, query: str = "*") -> list[dict[str, str]]:
        """What a query of LogsQL finds."""
        asked = urllib.parse.urlencode({"query": query, "limit": MOST}).encode()
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/select/logsql/query", asked, 30) as found:
            return [json.loads(line) for line in found]


class OtelCollector(Program):
    """Takes OTLP over HTTP at `url`; what it takes it hands to its exporter, which writes a file."""

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def command(self) -> list[str]:
        kinds = ("logs", "traces")
        config = {
            "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"{LOOPBACK}:{self.port}"}}}},
            "exporters": {
                f"file/{kind}": {
                    "path": str(self.folder / f"{kind}.jsonl"),
                    "append": True,
                    "flush_interval": "100ms",
                }
                for kind in kinds
            },
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {kind: {"receivers": ["otlp"], "exporters": [f"file/{kind}"]} for kind in kinds},
            },
        }
        file = self.folder / "config.json"  # which is YAML, too
        file.write_text(json.dumps(config))
        return [str(OTELCOL), f"--config=file:{file}"]

    def logs(self) -> Iterator[dict[str, Any]]:
        """Every record that came, with its resource's attributes beside its own."""
        for document in self._documents("logs"):
            for resource in document["resourceLogs"]:
                for scope in resource["scopeLogs"]:
                    for record in scope["logRecords"]:
                        yield record | {"attributes": values(resource["resource"]) | values(record)}

    def spans(self) -> Iterator[dict[str, Any]]:
        """Every span that came."""
        for document in self._documents("traces"):
            for resource in document["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    for span in scope["spans"]:
                        yield span | {"attributes": values(resource["resource"]) | values(span)}

    def _documents(self, kind: str) -> Iterator[Any]:
        file = self.folder / f"{kind}.jsonl"
        for line in file.read_bytes().splitlines(keepends=True) if file.exists() else ():
            if line.endswith(b"\n"):
                yield json.loads(line)


def values(of: dict[str, Any]) -> dict[str, str]:
    """Attributes as the collector writes them."""
    return {one["key"]: next(iter(one["value"].values())) for one in of.get("attributes", ())}
