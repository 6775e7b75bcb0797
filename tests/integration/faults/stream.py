"""What goes on while something breaks: a steady stream of deployments through the API, and an eye on Mesos.

Of every write it is kept whether it was acknowledged, so that in the end each app is held to what its user was told.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests

from tests.integration.faults.cluster import HOST, Cluster, Daemon
from tests.support.waiting import eventually

PAUSE = 0.4  # between two writes
TIMEOUT = 2.0  # of a request; then another node is asked
LOOK = 0.5  # between two looks at Mesos

STEADY: dict[str, Any] = {
    "/web": {
        "id": "/web",
        "cmd": "mkdir -p www && echo $MESOS_TASK_ID > www/index.html && exec busybox httpd -f -p $PORT0 -h www",
        "instances": 3,
        "portDefinitions": [{"port": 0}],
        "labels": {"HAPROXY_GROUP": "external", "HAPROXY_0_VHOST": HOST},
    },
    "/steady": {"id": "/steady", "cmd": "exec sleep 100000", "instances": 4},
}
COMMON = {
    "cpus": 0.05,
    "mem": 16,
    "backoffSeconds": 0.5,
    "upgradeStrategy": {"minimumHealthCapacity": 1, "maximumOverCapacity": 0},
}


@dataclass
class Stream:
    """Creates an app, scales the one before to two, deletes the one before that, and so on. `possible` are the counts that an app may
    have by what its users were told; None: it does not exist."""

    cluster: Cluster
    possible: dict[str, set[int | None]] = field(default_factory=dict)
    acknowledged: list[tuple[float, float]] = field(default_factory=list)  # (sent, answered)
    refused: int = 0
    _step: int = 0
    _node: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._stop.wait(PAUSE):
            number, kind = divmod(self._step, 3)
            self._step += 1
            if kind == 0:
                body = {**COMMON, "id": f"/s-{number}", "cmd": "exec sleep 100000", "instances": 1}
                self._write("PUT", f"/s-{number}", 1, body)
            elif kind == 1 and number >= 1:
                self._write("PUT", f"/s-{number - 1}", 2, {"instances": 2})
            elif kind == 2 and number >= 2:
                self._write("DELETE", f"/s-{number - 2}", None, None)

    def stop(self) -> None:
        self._stop.set()

    def _write(self, method: str, app_id: str, becomes: int | None, body: Any) -> None:
        """Until it is acknowledged, by any node, or the stream ends: as a user's script would."""
        before = self.possible.setdefault(app_id, {None})
        if before == {None} and becomes == 2:
            return  # its creation was never acknowledged
        while not self._stop.is_set():
            framework = self.cluster.frameworks[self._node % 3]
            url = f"{self.cluster.api(framework)}/v2/apps{app_id}?force=true"
            sent = time.monotonic()
            before.add(becomes)
            try:
                response = requests.request(method, url, json=body, timeout=TIMEOUT)
            except requests.RequestException:
                self._node += 1
                self.refused += 1
                continue
            if response.ok or (method == "DELETE" and response.status_code == 404):
                before.clear()
                before.add(becomes)
                self.acknowledged.append((sent, time.monotonic()))
                return
            self.refused += 1
            self._node += 1
            self._stop.wait(0.1)

    def lost(self) -> list[str]:
        """Apps that are not as somebody was told that they are."""
        declared = {app["id"]: app["instances"] for app in self.cluster.get("/v2/apps")["apps"]}
        return [
            f"{app_id}: {declared.get(app_id)}, told {counts}"
            for app_id, counts in self.possible.items()
            if declared.get(app_id) not in counts
        ]


@dataclass
class Watch:
    """Looks at Mesos all the while. `doubles`: the most that an app had above what its strategy allows. `steady`: the tasks that nothing
    may touch."""

    cluster: Cluster
    steady: frozenset[str]
    doubles: dict[str, int] = field(default_factory=dict)
    looks: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._stop.wait(LOOK):
            with contextlib.suppress(requests.RequestException, KeyError, ValueError):
                counts = Counter(self.cluster.mesos_tasks().values())
                self.looks += 1
                for app_id, count in counts.items():
                    most = STEADY[app_id]["instances"] if app_id in STEADY else 2
                    if count > most:
                        self.doubles[app_id] = max(self.doubles.get(app_id, 0), count - most)

    def stop(self) -> None:
        self._stop.set()

    def killed(self) -> set[str]:
        return set(self.steady) - set(eventually(self.cluster.mesos_tasks, 60))


@dataclass
class Succession:
    """Asks the nodes that do not lead whether they do now. `since`: when the first said so."""

    cluster: Cluster
    leader: Daemon
    since: float | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        others = [framework for framework in self.cluster.frameworks if framework is not self.leader]
        while self.since is None and not self._stop.wait(0.1):
            for other in others:
                with contextlib.suppress(requests.RequestException, KeyError, ValueError):
                    answer = requests.get(f"{self.cluster.api(other)}/v2/leader", timeout=0.5).json()["leader"]
                    if answer.partition(":")[0] == other.address:
                        self.since = time.monotonic()
                        return

    def stop(self) -> None:
        self._stop.set()


@contextlib.contextmanager
def in_thread(job: Stream | Watch | Succession) -> Iterator[None]:
    thread = threading.Thread(target=job.run, name=type(job).__name__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        job.stop()
        thread.join(30)
