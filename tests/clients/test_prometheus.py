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
        answer = requests.get(f"http://127.0.0.1:{port}/api/v1/targets?state=active", timeout=60).json()
        return [target for target in answer["data"]["activeTargets"] if target["labels"]["job"] == job]

    with running(command, log=tmp_path / "prometheus.log"):
        eventually(lambda: targets("framework") and targets("framework")[0]["health"] == "up", timeout=60)
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
        framework.change("PUT", "/v2/apps/watched/bad", {"cmd": "exit 3", "cpus": 0.1, "mem": 32, "backoffSeconds": 60})
        eventually(lambda: framework.app("/watched/bad").get("lastTaskFailure"), timeout=60)
        tasks = {f"{task['host']}:{task['ports'][0]}" for task in framework.tasks("/watched/web")}
        assert len(tasks) == 2
        eventually(lambda: {t["labels"]["instance"] for t in targets("apps")} == tasks, timeout=60)
        assert {(t["labels"]["app"], t["labels"]["team"]) for t in targets("apps")} == {("/watched/web", "blue")}
        framework.change("PUT", "/v2/apps/watched/web", {"instances": 1})
        framework.settled()
        framework.change("PUT", "/v2/apps/watched/web", {"labels": {"team": "green"}})
        eventually(lambda: [t["labels"]["team"] for t in targets("apps")] == ["green"], timeout=60)
        framework.change("DELETE", "/v2/apps/watched/bad?force=true")
        framework.settled()
        framework.change("DELETE", "/v2/apps/watched/web")
        framework.settled()
        eventually(lambda: targets("apps") == [], timeout=60)
