"""Debian's Prometheus with `marathon_sd_configs`: it finds the tasks of apps, and forgets those that are gone."""

from pathlib import Path
from typing import Any

import requests

from tests.support.framework import Framework
from tests.support.processes import free_port, running
from tests.support.waiting import eventually

CONFIGURATION = """
scrape_configs:
  - job_name: apps
    scrape_interval: 1s
    marathon_sd_configs:
      - servers: [{api}]
        refresh_interval: 1s
    relabel_configs:
      - source_labels: [__meta_marathon_app]
        target_label: app
      - source_labels: [__meta_marathon_app_label_team]
        target_label: team
  - job_name: framework
    scrape_interval: 1s
    static_configs:
      - targets: [{address}]
"""


def test_prometheus_finds_tasks_and_scrapes_the_framework(framework: Framework, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(
        CONFIGURATION.format(api=framework.url, address=framework.url.removeprefix("http://"))
    )
    command = ["prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip  # noqa: E501

    def targets(job: str) -> list[dict[str, Any]]:
        answer = requests.get(f"http://127.0.0.1:{port}/api/v1/targets?state=active", timeout=5).json()
        return [target for target in answer["data"]["activeTargets"] if target["labels"]["job"] == job]

    with running(command, log=tmp_path / "prometheus.log"):
        eventually(lambda: targets("framework") and targets("framework")[0]["health"] == "up", timeout=30)
        framework.deploy(
            {
                "id": "/watched/web",
                "cmd": "sleep 1000",
                "cpus": 0.1,
                "mem": 32,
                "instances": 2,
                "labels": {"team": "blue"},
            }
        )
        eventually(lambda: len(targets("apps")) == 2, timeout=20)
        found = targets("apps")
        assert {(t["labels"]["app"], t["labels"]["team"]) for t in found} == {("/watched/web", "blue")}
        tasks = {f"{task['host']}:{task['ports'][0]}" for task in framework.tasks("/watched/web")}
        assert {target["labels"]["instance"] for target in found} == tasks
        framework.change("PUT", "/v2/apps/watched/web", {"instances": 1})
        framework.settled()
        eventually(lambda: len(targets("apps")) == 1, timeout=20)
        framework.change("DELETE", "/v2/apps/watched/web")
        framework.settled()
        eventually(lambda: targets("apps") == [], timeout=20)
