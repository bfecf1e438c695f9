"""A Prometheus of a test's own: what it scrapes and which rules it has, the test says."""

import json
import shutil
import signal
from contextlib import suppress
from urllib.error import URLError
from urllib.parse import quote

import yaml

from .servers import HOST, Server
from .web import get, get_json


class Prometheus(Server):
    """``with Prometheus({"relay": "127.0.0.1:8001"}, rules) as server: server.ask("up")``."""

    def __init__(self, targets, rules):
        super().__init__(pid_file="pid", signals={"fast": signal.SIGTERM})
        self._targets = targets
        self._rules = rules

    @staticmethod
    def missing():
        """Why there can be none here; empty if there can."""
        if shutil.which("prometheus"):
            return ""
        return "There is no program prometheus on this machine (Debian: apt-get install prometheus)"

    def ask(self, query):
        """The labels and the value of each series that a query has now."""
        found = self._get(f"query?query={quote(query)}")["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def values(self, label, metric):
        """What ``label_values(metric, label)`` of a dashboard offers."""
        return self._get(f"label/{label}/values?match[]={quote(metric)}")

    def rules(self):
        """The rules, as they were evaluated last."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path):
        status, document = get_json(f"http://{HOST}:{self.port}/api/v1/{path}")
        assert status == 200, document
        return document["data"]

    def _prepare(self):
        # Read by another user than ours, from a folder that is open to it.
        shutil.copy(self._rules, self.folder / "rules.yml")
        config = {
            "global": {"scrape_interval": "200ms", "evaluation_interval": "200ms"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]}
                for job, target in self._targets.items()
            ],
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))

    def _command(self):
        return [
            shutil.which("prometheus"),
            "--config.file=prometheus.yml",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={HOST}:{self.port}",
        ]

    def _serves(self):
        with suppress(URLError, OSError, json.JSONDecodeError):
            return get(f"http://{HOST}:{self.port}/-/ready")[0] == 200
        return False
