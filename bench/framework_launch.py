"""How fast apps come up, from the API call to the last task running: framework and Mesos (simulated agents) as processes of their own.

Stalls of the event loop are told as the wall clock has them ("late"), and as CPU time of its thread between two ticks ("busy"): on a
machine with other work, only the second are the framework's own.

python -m bench.framework_launch [--agents 100] [--cprofile FILE]
"""

import argparse
import re
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from tests.support.mesos import running_embedded_mesos
from tests.support.processes import free_port, running
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[1]
TASK = {"cmd": "sleep 1000", "cpus": 0.01, "mem": 1, "instances": 1, "portDefinitions": [{"port": 0}]}
LOOP = "dromos_framework_loop"
SHAPES = ((1, 1000), (100, 100), (1, 10_000), (1000, 1))


def request(url: str, method: str = "GET", body: Any = None) -> Any:
    data = None if body is None else orjson.dumps(body)
    call = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(call, timeout=60) as response:
        return orjson.loads(response.read() or b"null")


def figures(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
        text = response.read().decode()
    return {name: float(value) for name, value in re.findall(r"^(dromos_framework_\S+) (\S+)$", text, re.MULTILINE)}


def launch(url: str, apps: int, instances: int) -> tuple[float, float, dict[str, float], dict[str, float]]:
    """Seconds until all run, seconds until all are gone again, and what the engine did in each of the two."""
    before = figures(url)
    started = time.monotonic()
    if apps == 1:
        request(f"{url}/v2/apps", "POST", {**TASK, "id": "/bench/app", "instances": instances})
    else:
        listed = [{**TASK, "id": f"app-{i}", "instances": instances} for i in range(apps)]
        request(f"{url}/v2/groups", "POST", {"id": "/bench", "apps": listed})
    total = apps * instances

    def all_run() -> bool:
        return figures(url).get('dromos_framework_instances{condition="Running"}', 0) >= total

    eventually(all_run, timeout=600, interval=0.1, what=f"{total} running")
    up = time.monotonic() - started
    after = figures(url)
    eventually(lambda: not request(f"{url}/v2/deployments"), timeout=60)
    started = time.monotonic()
    request(f"{url}/v2/groups/bench?force=true", "DELETE")
    eventually(lambda: not request(f"{url}/v2/deployments"), timeout=600, interval=0.1)
    down, gone = time.monotonic() - started, figures(url)
    return (
        up,
        down,
        {name: after[name] - before.get(name, 0) for name in after},
        {name: gone[name] - after.get(name, 0) for name in gone},
    )


def stalls(did: dict[str, float]) -> str:
    """How many ticks of the event loop were late, and how many busy, by more than 50 ms."""
    late, busy = (
        round(did[f"{LOOP}_{what}_seconds_count"] - did[f'{LOOP}_{what}_seconds_bucket{{le="0.05"}}'])
        for what in ("stall", "busy")
    )
    return f"{late} / {busy}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--cprofile", help="write the framework's profile to this file")
    options = parser.parse_args()
    title = f"launching on {options.agents} simulated agents; stalls: late / busy"
    table = Table(title=title)
    columns = ("apps × instances", "all running, s", "tasks/s", "engine busy, s", "events", "stalls > 50 ms")
    for column in (*columns, "gone again, s", "stalls > 50 ms"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as directory:
        path, port = Path(directory), free_port()
        profile = ["-m", "cProfile", "-o", options.cprofile] if options.cprofile else []
        resources = "cpus:32;mem:65536;disk:65536;ports:[20000-32000]"
        with running_embedded_mesos(path / "mesos", agents=options.agents, simulate=True, resources=resources) as mesos:
            command = [sys.executable, *profile, "-m", "framework.daemon", "--master", mesos.address]
            command += ["--http-port", str(port), "--state-dir", str(path / "state"), "--drain-seconds", "0"]
            with running(command, log=path / "framework.log", env={"PYTHONPATH": str(ROOT)}, grace=30):
                url = f"http://127.0.0.1:{port}"
                eventually(lambda: request(f"{url}/health")["healthy"], timeout=30)
                for apps, instances in SHAPES:
                    up, down, did, undid = launch(url, apps, instances)
                    busy = sum(did[f"dromos_framework_{n}_seconds_total"] for n in ("handle", "commit", "perform"))
                    table.add_row(
                        f"{apps} × {instances}",
                        f"{up:.2f}",
                        f"{apps * instances / up:.0f}",
                        f"{busy:.2f}",
                        f"{did['dromos_framework_events_total']:.0f}",
                        stalls(did),
                        f"{down:.2f}",
                        stalls(undid),
                    )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
