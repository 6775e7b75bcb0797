"""The master's metrics: /metrics/snapshot by Mesos's own names, and the same for Prometheus at /metrics."""

import os
import time
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from embedded.mesos.cluster import Cluster
from embedded.mesos.records import TERMINAL

RESOURCES = ("cpus", "mem", "disk", "gpus")
LIVING = ("TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING")
CALLS = {
    "calls/accept": "master/messages_launch_tasks",
    "calls/decline": "master/messages_decline_offers",
    "calls/kill": "master/messages_kill_task",
    "calls/reconcile": "master/messages_reconcile_tasks",
    "calls/revive": "master/messages_revive_offers",
    "calls/suppress": "master/messages_suppress_offers",
    "calls/acknowledge": "master/messages_status_update_acknowledgement",
    "calls/message": "master/messages_framework_to_executor",
    "calls/teardown": "master/messages_unregister_framework",
}
COUNTED = (
    "invalid_status_updates",
    "valid_status_updates",
    "invalid_status_update_acknowledgements",
    "valid_status_update_acknowledgements",
    "slave_registrations",
    "slave_removals",
)


def snapshot(cluster: Cluster) -> dict[str, float]:
    """Numbers by name, as /metrics/snapshot tells them."""
    counters = cluster.counters
    found: dict[str, float] = {
        "master/elected": 1.0,
        "master/uptime_secs": time.time() - cluster.start_time,
        "master/outstanding_offers": float(len(cluster.offers)),
        "allocator/mesos/allocation_runs": float(counters["allocation_runs"]),
        "registrar/registry_size_bytes": float(cluster.registry.size),
        **_agents(cluster),
        **_frameworks(cluster),
        **_resources(cluster),
        **_tasks(cluster),
        **_system(),
    }
    found |= {name: float(counters[counter]) for counter, name in CALLS.items()}
    found |= {f"master/{name}": float(counters[name]) for name in COUNTED}
    found["master/messages_status_update"] = found["master/valid_status_updates"]
    for role in {role for framework in cluster.frameworks.values() for role in framework.roles}:
        found[f"allocator/mesos/roles/{role}/shares/dominant"] = cluster.allocator.share(role)
    return found


def _agents(cluster: Cluster) -> dict[str, float]:
    agents = list(cluster.agents.values())
    return {
        "master/slaves_active": float(sum(not agent.deactivated for agent in agents)),
        "master/slaves_inactive": float(sum(agent.deactivated for agent in agents)),
        "master/slaves_connected": float(len(agents)),
        "master/slaves_disconnected": 0.0,
        "master/slaves_unreachable": float(len(cluster.unreachable_agents)),
        "master/recovery_slave_removals": 0.0,
    }


def _frameworks(cluster: Cluster) -> dict[str, float]:
    connected = float(sum(framework.connected for framework in cluster.frameworks.values()))
    gone = len(cluster.frameworks) - connected
    return {
        "master/frameworks_active": connected,
        "master/frameworks_inactive": gone,
        "master/frameworks_connected": connected,
        "master/frameworks_disconnected": gone,
    }


def _resources(cluster: Cluster) -> dict[str, float]:
    used: Counter[str] = Counter()
    offered: Counter[str] = Counter()
    for agent in cluster.agents.values():
        used.update({name: agent.used.thousandths(name) for name in RESOURCES})
    for offer in cluster.offers.values():
        offered.update({name: offer.resources.thousandths(name) for name in RESOURCES})
    found = {}
    for name in RESOURCES:
        total = cluster.allocator.total().get(name, 0)
        found[f"master/{name}_total"] = total / 1000
        found[f"master/{name}_used"] = used[name] / 1000
        found[f"master/{name}_percent"] = used[name] / total if total else 0.0
        found[f"allocator/mesos/resources/{name}/total"] = total / 1000
        found[f"allocator/mesos/resources/{name}/offered_or_allocated"] = (used[name] + offered[name]) / 1000
    return found


def _tasks(cluster: Cluster) -> dict[str, float]:
    living = Counter(task.state for framework in cluster.frameworks.values() for task in framework.tasks.values())
    unreachable = sum(len(framework.unreachable_tasks) for framework in cluster.frameworks.values())
    found = {f"master/{_plural(state)}": float(living[state]) for state in LIVING}
    found |= {f"master/{_plural(state)}": float(cluster.counters[state]) for state in sorted(TERMINAL)}
    return found | {"master/tasks_unreachable": float(unreachable)}


def _plural(state: str) -> str:
    return "tasks_" + state.removeprefix("TASK_").lower()


def _system() -> dict[str, float]:
    page = os.sysconf("SC_PAGE_SIZE")
    one, five, fifteen = os.getloadavg()
    return {
        "system/cpus_total": float(os.cpu_count() or 1),
        "system/load_1min": one,
        "system/load_5min": five,
        "system/load_15min": fifteen,
        "system/mem_total_bytes": float(page * os.sysconf("SC_PHYS_PAGES")),
        "system/mem_free_bytes": float(page * os.sysconf("SC_AVPHYS_PAGES")),
    }


class _Snapshot(Collector):
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def collect(self) -> Iterator[Metric]:
        for name, value in sorted(snapshot(self._cluster).items()):
            if not name.startswith("allocator/mesos/roles/"):
                clean = "mesos_" + name.replace("/", "_")
                yield GaugeMetricFamily(clean, f"{name} of /metrics/snapshot", value=value)
        shares = GaugeMetricFamily("mesos_allocator_role_dominant_share", "0 to 1, by role", labels=["role"])
        for role in {role for framework in self._cluster.frameworks.values() for role in framework.roles}:
            shares.add_metric([role], self._cluster.allocator.share(role))
        yield shares


def prometheus_registry(cluster: Cluster) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Snapshot(cluster))
    return registry
