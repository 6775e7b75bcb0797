"""What tasks use of their CPU and memory, as the agents of a Mesos cluster tell it.

Source: Mesos' endpoints `/slaves` of a master and `/monitor/statistics` of an agent. `cpus_*_time_secs` are counters; the soft
limits are what the task asked for, which is what a share in use is measured by.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson
import requests

from autoscale.errors import MetricsError
from autoscale.metrics import fetching
from autoscale.sample import Quality, Sample
from daemonkit.addresses import without_credentials


@dataclass(frozen=True)
class Usage:
    """Of one task: CPU seconds spent so far at the agent's time `at`, and what it is allowed (CPUs, bytes) and has in memory."""

    at: float
    cpu_seconds: float
    cpus: float
    memory: float
    memory_limit: float


class Mesos:
    """`look` asks all agents; `cpu` and `memory` then tell, by app, how many instances' worth is in use."""

    def __init__(self, url: str, *, timeout: float, most_threads: int = 16) -> None:
        self._url, self._timeout = url.rstrip("/"), timeout
        self._session = requests.Session()
        self._session.trust_env = False
        self._threads = ThreadPoolExecutor(most_threads, "mesos")
        self._before: Mapping[str, Usage] = {}
        self._now: Mapping[str, Usage] = {}
        self.errors: list[str] = []

    def look(self) -> None:
        """Blocking. An agent that does not answer leaves its tasks unknown. Raises MetricsError where the master does not."""
        errors: list[str] = []
        found: dict[str, Usage] = {}
        for usages in self._threads.map(
            lambda url: self._of_agent(url, errors), agents(self._json(f"{self._url}/slaves"))
        ):
            found.update(usages)
        before = {}
        for task, usage in found.items():
            # An agent measures at its own pace: the same moment twice is one measurement. One before that is of a clock set back.
            former = self._now.get(task)
            known = former if former and former.at < usage.at else self._before.get(task)
            if known and known.at < usage.at:
                before[task] = known
        self._before, self._now, self.errors = before, found, errors

    def cpu(self, tasks: Iterable[str], now: float) -> Sample:
        """CPU in use over the last two measurements, in instances that use all they have."""
        return self._sum(tasks, now, self._cpu_of)

    def memory(self, tasks: Iterable[str], now: float) -> Sample:
        return self._sum(tasks, now, self._memory_of)

    def _cpu_of(self, task: str) -> float | None:
        usage, before = self._now.get(task), self._before.get(task)
        if not usage or not before or usage.cpus <= 0:
            return None
        if usage.cpu_seconds < before.cpu_seconds or usage.at <= before.at:
            return None
        return (usage.cpu_seconds - before.cpu_seconds) / (usage.at - before.at) / usage.cpus

    def _memory_of(self, task: str) -> float | None:
        usage = self._now.get(task)
        return usage.memory / usage.memory_limit if usage and usage.memory_limit > 0 else None

    def _sum(self, tasks: Iterable[str], now: float, share: Any) -> Sample:
        shares = [share(task) for task in tasks]
        known = [value for value in shares if value is not None]
        if not known:
            return Sample(now, 0.0, Quality.STALE)
        total = sum(known)
        if len(known) < len(shares):
            return Sample(now, total, Quality.PARTIAL)
        return Sample(now, total, Quality.FRESH if total > 0 else Quality.TRUE_ZERO)

    def _of_agent(self, url: str, errors: list[str]) -> dict[str, Usage]:
        try:
            return usages(self._json(f"{url}/monitor/statistics"))
        except MetricsError as error:
            errors.append(str(error))
            return {}

    def _json(self, url: str) -> Any:
        # A master that does not lead sends on to the one that does.
        body = fetching.get(self._session, url, what="Mesos", timeout=self._timeout, redirects=True).body
        try:
            return orjson.loads(body)
        except ValueError:
            raise MetricsError(f"Mesos at {without_credentials(url)} did not answer with JSON") from None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._session.close()


def agents(document: Any) -> list[str]:
    """The addresses of active agents: `slave(1)@10.0.0.1:5051` answers below `http://10.0.0.1:5051/slave(1)`."""
    found = []
    try:
        for agent in document["slaves"]:
            name, at, address = agent["pid"].partition("@")
            if at and agent.get("active", True):
                found.append(f"http://{address}/{name}")
    except (KeyError, TypeError, AttributeError):
        raise MetricsError("the Mesos master's answer lists no agents") from None
    return found


def usages(document: Any) -> dict[str, Usage]:
    """By task: a command's executor has the task's id; `source` has it, too, where an executor has an id of its own."""
    found = {}
    try:
        for executor in document:
            statistics: Mapping[str, float] = executor["statistics"]
            usage = Usage(
                at=float(statistics["timestamp"]),
                cpu_seconds=statistics.get("cpus_user_time_secs", 0.0) + statistics.get("cpus_system_time_secs", 0.0),
                cpus=statistics.get("cpus_soft_limit") or statistics.get("cpus_limit", 0.0),
                memory=statistics.get("mem_rss_bytes", statistics.get("mem_total_bytes", 0.0)),
                memory_limit=statistics.get("mem_soft_limit_bytes") or statistics.get("mem_limit_bytes", 0.0),
            )
            for task in {executor.get("source"), executor.get("executor_id")} - {None, ""}:
                found[task] = usage
    except (KeyError, TypeError, AttributeError, ValueError):
        raise MetricsError("an agent's statistics cannot be read") from None
    return found
