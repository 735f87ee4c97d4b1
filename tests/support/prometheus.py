"""A real Prometheus beside a gateway, with the rules and the scrape configuration as shipped; it asks each second."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.net import LOOPBACK, free_port

ETC = Path(__file__).resolve().parents[2] / "etc"


class Prometheus:
    """Runs until `stop`. `job`: what its scrape of the gateway needs beside the address."""

    def __init__(self, folder: Path, metrics_port: int, job: Mapping[str, Any] | None = None) -> None:
        self.port = free_port()
        shutil.copytree(ETC / "prometheus", folder, dirs_exist_ok=True)
        config = yaml.safe_load((folder / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        del config["alerting"]
        slow = folder / "bastion-slo.yml"
        slow.write_text(slow.read_text().replace("interval: 30s", "interval: 1s"))
        (scraped,) = config["scrape_configs"]
        scraped["static_configs"][0]["targets"] = [f"{LOOPBACK}:{metrics_port}"]
        scraped.update(job or {})
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                    f"--web.listen-address={LOOPBACK}:{self.port}", "--enable-feature=exemplar-storage",
                    "--log.level=warn",
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def ask(self, path: str, **options: str) -> Any:
        """The data of an answer; None while it cannot be asked."""
        url = f"http://{LOOPBACK}:{self.port}/api/v1/{path}?{urllib.parse.urlencode(options)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as page:
                return json.load(page)["data"]
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            assert error.code == 503, f"{options}: {text}"  # it begins
            return None
        except OSError:
            assert self.process.poll() is None, self.log.read_text()
            return None

    def value(self, query: str) -> float | None:
        """The one value of a query."""
        data = self.ask("query", query=query)
        return float(data["result"][0]["value"][1]) if data and data["result"] else None

    def range(self, query: str, since: float, until: float, step: float) -> list[dict[str, Any]]:
        """The series of a query over a time, in seconds since the epoch."""
        data = self.ask("query_range", query=query, start=str(since), end=str(until), step=str(step))
        result: list[dict[str, Any]] = data["result"]
        return result

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)
