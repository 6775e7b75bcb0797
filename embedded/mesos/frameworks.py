"""Frameworks come, fail over and go."""

import time
from collections.abc import Iterable
from typing import Any

from daemonkit.logs import get_logger
from embedded.mesos import render
from embedded.mesos.cluster import Cluster
from embedded.mesos.errors import CallError
from embedded.mesos.reconcile import master_status
from embedded.mesos.records import Framework
from embedded.mesos.stream import Stream
from embedded.mesos.validation import UNCHANGING, framework_problem, principal_problem, update_problem

Json = dict[str, Any]
log = get_logger(__name__)

LONGEST_TIMER = 10 * 365 * 86400.0


class Frameworks:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def recover(self) -> None:
        """Those that were registered before the restart: they have their failover timeout to come back in."""
        for framework_id, entry in self._cluster.registry.entries("frameworks").items():
            framework = self._new(framework_id, entry["info"], entry["registered_time"], recovered=True)
            self._cluster.allocator.deactivate(framework_id)
            self._start_failover_timer(framework)

    def get(self, framework_id: str) -> Framework:
        """Raises CallError."""
        try:
            return self._cluster.frameworks[framework_id]
        except KeyError:
            raise CallError("Framework cannot be found") from None

    def subscribe(self, info: Json, suppressed: list[str]) -> tuple[str, Stream]:
        """The framework's id and a new stream whose first event is SUBSCRIBED, or ERROR after which it is closed."""
        cluster = self._cluster
        stream = Stream(max_bytes=cluster.settings.stream_buffer_bytes, heartbeat=cluster.settings.heartbeat_interval)
        framework_id = info.get("id", {}).get("value", "")
        framework = cluster.frameworks.get(framework_id)
        problem = framework_problem(info, suppressed)
        if not problem and framework_id in cluster.registry.entries("removed_frameworks"):
            problem = "Framework has been removed"
        if not problem and framework:
            problem = principal_problem(framework.info, info)
        if problem:
            stream.send({"type": "ERROR", "error": {"message": problem}})
            stream.close()
            return framework_id, stream
        if not framework_id:
            framework_id = f"{cluster.master_id}-{cluster.number('framework'):04d}"
        info = {**info, "id": {"value": framework_id}}
        if framework:
            self._take_over(framework, info)
        else:
            framework = self._add(framework_id, info)
        self._connect(framework, stream, suppressed)
        return framework_id, stream

    def disconnected(self, framework_id: str, stream: Stream) -> None:
        """The stream has ended, at whichever side."""
        framework = self._cluster.frameworks.get(framework_id)
        if framework and framework.stream is stream:
            log.info("framework disconnected", framework=framework_id)
            framework.stream = None
            self._deactivate(framework)
            self._start_failover_timer(framework)
            self._cluster.tell_of_framework("FRAMEWORK_UPDATED", framework)

    def update(self, framework: Framework, info: Json, suppressed: list[str]) -> None:
        """UPDATE_FRAMEWORK. Raises CallError."""
        problem = framework_problem(info, suppressed)
        if problem:
            raise CallError(f"Supplied FrameworkInfo is not valid: {problem}")
        problem = update_problem(framework.info, info)
        if problem:
            raise CallError(f"FrameworkInfo update is not valid: {problem}")
        framework.info = {**info, "id": {"value": framework.framework_id}}
        self._cluster.rescind(offer for offer in framework.offers.values() if offer.role not in framework.roles)
        self._tell_allocator(framework, suppressed)
        self._cluster.remember_framework(framework)
        self._cluster.tell_of_framework("FRAMEWORK_UPDATED", framework)
        self._cluster.allocate_soon()

    def remove(self, framework: Framework) -> None:
        """Teardown: all its tasks are killed, and its id is not accepted again."""
        cluster, framework_id = self._cluster, framework.framework_id
        cluster.cancel(_failover(framework_id))
        self._deactivate(framework)
        for agent_id in {task.agent_id for task in framework.tasks.values()} & cluster.agents.keys():
            cluster.agents[agent_id].agent.shut_down_framework(framework_id)
        for task in list(framework.tasks.values()):
            if not task.terminal:
                message, reason = f"Framework {framework_id} removed", "REASON_FRAMEWORK_REMOVED"
                cluster.apply(task, master_status(task.task_id, "TASK_KILLED", reason, message, agent_id=task.agent_id))
            cluster.complete_task(framework, task)
        for agent in cluster.agents.values():
            for key in [key for key in agent.executors if key[0] == framework_id]:
                cluster.remove_executor(agent, key)
        if framework.stream:
            framework.stream.close()
            framework.stream = None
        framework.unregistered_time = time.time()
        cluster.allocator.remove_framework(framework_id)
        del cluster.frameworks[framework_id]
        cluster.completed_frameworks[framework_id] = framework
        while len(cluster.completed_frameworks) > cluster.settings.max_completed_frameworks:
            cluster.completed_frameworks.popitem(last=False)
        cluster.registry.drop("frameworks", framework_id)
        cluster.registry.put("removed_frameworks", framework_id, framework.unregistered_time)
        log.info("framework removed", framework=framework_id)
        cluster.tell_operators("FRAMEWORK_REMOVED", lambda: {"framework_info": framework.info})

    def _new(self, framework_id: str, info: Json, registered_time: float, *, recovered: bool) -> Framework:
        settings = self._cluster.settings
        framework = Framework(
            framework_id,
            info,
            registered_time,
            settings.max_completed_tasks_per_framework,
            settings.max_unreachable_tasks_per_framework,
            recovered=recovered,
        )
        self._cluster.frameworks[framework_id] = framework
        takes_gpus = framework.is_capable_of("GPU_RESOURCES")
        self._cluster.allocator.add_framework(framework_id, framework.roles, suppressed=(), takes_gpus=takes_gpus)
        return framework

    def _add(self, framework_id: str, info: Json) -> Framework:
        framework = self._new(framework_id, info, time.time(), recovered=False)
        log.info("framework added", framework=framework_id, name=info["name"], roles=framework.roles)
        self._cluster.remember_framework(framework)
        self._cluster.tell_operators(
            "FRAMEWORK_ADDED", lambda: {"framework": render.framework(self._cluster, framework)}
        )
        return framework

    def _take_over(self, framework: Framework, info: Json) -> None:
        """The framework is back, on the stream of a new scheduler."""
        if framework.stream:
            framework.send({"type": "ERROR", "error": {"message": "Framework failed over"}})
            framework.stream.close()
        self._remove_offers(framework)
        framework.info = info | {name: framework.info[name] for name in UNCHANGING}
        framework.recovered = False
        framework.reregistered_time = time.time()
        self._cluster.remember_framework(framework)
        log.info("framework is back", framework=framework.framework_id)

    def _connect(self, framework: Framework, stream: Stream, suppressed: list[str]) -> None:
        cluster = self._cluster
        cluster.cancel(_failover(framework.framework_id))
        framework.stream = stream
        self._tell_allocator(framework, suppressed)
        cluster.allocator.activate(framework.framework_id)
        stream.send(
            {
                "type": "SUBSCRIBED",
                "subscribed": {
                    "framework_id": {"value": framework.framework_id},
                    "heartbeat_interval_seconds": cluster.settings.heartbeat_interval,
                    "master_info": render.master_info(cluster),
                },
            }
        )
        stream.start_heartbeats()
        if framework.reregistered_time:
            cluster.tell_of_framework("FRAMEWORK_UPDATED", framework)
            for record in list(cluster.agents.values()):
                record.agent.resume(framework.framework_id)
        cluster.allocate_soon()

    def _tell_allocator(self, framework: Framework, suppressed: Iterable[str]) -> None:
        takes_gpus = framework.is_capable_of("GPU_RESOURCES")
        self._cluster.allocator.update_framework(
            framework.framework_id, framework.roles, suppressed=suppressed, takes_gpus=takes_gpus
        )

    def _deactivate(self, framework: Framework) -> None:
        self._cluster.allocator.deactivate(framework.framework_id)
        self._remove_offers(framework)

    def _remove_offers(self, framework: Framework) -> None:
        for offer in list(framework.offers.values()):
            self._cluster.remove_offer(offer)
        framework.inverse_offers.clear()

    def _start_failover_timer(self, framework: Framework) -> None:
        def time_out() -> None:
            if framework.framework_id in self._cluster.frameworks and not framework.connected:
                log.info("the failover timeout has passed", framework=framework.framework_id)
                self.remove(framework)

        timeout = min(max(0.0, framework.info.get("failover_timeout", 0.0)), LONGEST_TIMER)
        self._cluster.after(_failover(framework.framework_id), timeout, time_out)


def _failover(framework_id: str) -> str:
    return f"failover {framework_id}"
