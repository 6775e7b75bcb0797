"""Agents register, report, go out of reach, drain and are gone: the master's side of embedded.mesos.seam."""

import asyncio
import time
from typing import Any

from daemonkit.logs import get_logger
from embedded.mesos import render
from embedded.mesos.cluster import Cluster
from embedded.mesos.errors import CallError
from embedded.mesos.reconcile import latest_status, master_status
from embedded.mesos.records import AgentRecord, Framework, Task
from embedded.mesos.resources import Resources
from embedded.mesos.seam import Agent

Json = dict[str, Any]
log = get_logger(__name__)


class Membership:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def recover(self) -> None:
        """Agents of before the restart are waited for; calls are, for a while, answered 503 until all are back."""
        if self._cluster.recovering:
            settings = self._cluster.settings
            self._cluster.after("recovery", settings.recovery_timeout, self._end_recovery)
            self._cluster.after("agents", settings.agent_reregister_timeout, self._give_up_the_missing)

    # embedded.mesos.seam.Master

    def register(self, agent: Agent, tasks: list[Json]) -> str:
        cluster = self._cluster
        agent_id: str = agent.info.get("id", {}).get("value", "")
        if not agent_id or agent_id in cluster.gone_agents:
            agent_id = f"{cluster.master_id}-S{cluster.number('agent')}"
        back = agent_id in cluster.recovered_agents or agent_id in cluster.unreachable_agents
        if agent_id in cluster.agents:
            self._forget(cluster.agents[agent_id])
        found = self._record(agent_id, agent, back)
        cluster.agents[agent_id] = found
        cluster.recovered_agents.pop(agent_id, None)
        cluster.registry.drop("unreachable_agents", agent_id)
        cluster.remember_agent(found)
        adopted = self._adopt(found, tasks)
        cluster.allocator.add_agent(agent_id, found.total, found.used)
        for task in adopted:
            if not task.terminal:
                cluster.allocator.hold(task.framework_id, task.role, task.resources)
        cluster.allocator.set_agent_active(agent_id, not found.deactivated)
        cluster.counters["slave_registrations"] += 1
        log.info("agent registered", agent=agent_id, pid=found.pid, tasks=len(adopted), back=back)
        cluster.tell_operators("AGENT_ADDED", lambda: {"agent": render.agent(found)})
        if back:
            self._tell_of_return(adopted)
        if not cluster.recovered_agents:
            self._end_recovery()
        cluster.allocate_soon(agent_id)
        return agent_id

    def status_update(self, agent_id: str, framework_id: str, status: Json) -> None:
        cluster = self._cluster
        agent, framework = cluster.agents.get(agent_id), cluster.frameworks.get(framework_id)
        if agent is None or framework is None:
            cluster.counters["invalid_status_updates"] += 1
            if agent is not None:
                self._shut_down_unknown(agent.agent, framework_id)
            return
        cluster.counters["valid_status_updates"] += 1
        if agent.drain and status["state"] in ("TASK_KILLING", "TASK_KILLED") and "reason" not in status:
            status = {**status, "reason": "REASON_AGENT_DRAINING"}
        if "agent_id" not in status:
            status = {**status, "agent_id": {"value": agent_id}}
        task_id = status["task_id"]["value"]
        task = framework.tasks.get(task_id)
        if task and task.agent_id != agent_id:
            # A leftover whose id the framework has used again: of this one it is to hear nothing.
            asyncio.get_running_loop().call_soon(agent.agent.acknowledge, framework_id, task_id, status["uuid"])
            return
        if task:
            cluster.apply(task, status)
        framework.send_status(status)

    def executor_message(self, agent_id: str, framework_id: str, executor_id: str, data: str) -> None:
        framework = self._cluster.frameworks.get(framework_id)
        if framework:
            message = {"agent_id": {"value": agent_id}, "executor_id": {"value": executor_id}, "data": data}
            framework.send({"type": "MESSAGE", "message": message})

    def executor_exited(self, agent_id: str, framework_id: str, executor_id: str, status: int) -> None:
        agent, framework = self._cluster.agents.get(agent_id), self._cluster.frameworks.get(framework_id)
        if agent and (framework_id, executor_id) in agent.executors:
            self._cluster.remove_executor(agent, (framework_id, executor_id))
        if framework:
            failure = {"agent_id": {"value": agent_id}, "executor_id": {"value": executor_id}, "status": status}
            framework.send({"type": "FAILURE", "failure": failure})

    # Registration

    def _record(self, agent_id: str, agent: Agent, back: bool) -> AgentRecord:
        cluster = self._cluster
        entry = cluster.registry.entries("agents").get(agent_id, {})
        return AgentRecord(
            agent_id,
            agent,
            f"{agent.name}@{cluster.host}:{cluster.port}",
            Resources.from_json(entry.get("total") or agent.info["resources"]),
            entry.get("registered_time") or time.time(),
            reregistered_time=time.time() if back else None,
            deactivated=entry.get("deactivated", False),
            drain=entry.get("drain"),
            drain_started=entry.get("drain_started", 0.0),
        )

    def _adopt(self, agent: AgentRecord, tasks: list[Json]) -> list[Task]:
        adopted = []
        for description in tasks:
            task = Task.recovered(description, agent.agent_id)
            framework = self._cluster.frameworks.get(task.framework_id)
            if framework is None:
                self._shut_down_unknown(agent.agent, task.framework_id)
                continue
            framework.unreachable_tasks.pop(task.task_id, None)
            if task.task_id in framework.tasks:
                log.warning("an agent is back with a task whose id was used again", task=task.task_id)
                asyncio.get_running_loop().call_soon(agent.agent.kill, task.framework_id, task.task_id, None)
                continue
            framework.tasks[task.task_id] = task
            agent.tasks[task.framework_id, task.task_id] = task
            if not task.terminal:
                agent.used += task.resources
            adopted.append(task)
        return adopted

    @staticmethod
    def _shut_down_unknown(agent: Agent, framework_id: str) -> None:
        """After this turn: the agent may be in the middle of telling."""
        log.warning("an agent runs tasks of an unknown framework", framework=framework_id)
        asyncio.get_running_loop().call_soon(agent.shut_down_framework, framework_id)

    def _tell_of_return(self, tasks: list[Task]) -> None:
        """Frameworks hear again of tasks that they may have given up."""
        for task in tasks:
            status = latest_status(task, "REASON_AGENT_REREGISTERED", "Agent re-registered with the master")
            self._cluster.frameworks[task.framework_id].send_status(status)

    def _end_recovery(self) -> None:
        if self._cluster.recovering:
            self._cluster.recovering = False
            self._cluster.cancel("recovery")
            log.info("recovery is over", missing_agents=len(self._cluster.recovered_agents))

    def _give_up_the_missing(self) -> None:
        for agent_id in list(self._cluster.recovered_agents):
            del self._cluster.recovered_agents[agent_id]
            self._cluster.registry.drop("agents", agent_id)
            self._cluster.registry.put("unreachable_agents", agent_id, time.time())
            log.warning("an agent has not come back", agent=agent_id)

    # Going

    def unreachable(self, agent_id: str) -> None:
        """The agent has not answered for too long. It may come back, with its tasks."""
        agent = self._cluster.agents.get(agent_id)
        if agent:
            since = time.time()
            self._cluster.registry.put("unreachable_agents", agent_id, since)
            message = f"Agent {agent_id} at {agent.pid} is unreachable"
            self._lose(agent, "TASK_UNREACHABLE", "REASON_AGENT_REMOVED", message, unreachable_since=since)

    def mark_gone(self, agent_id: str) -> None:
        """An operator says that the agent will never come back. Raises CallError if it never was."""
        cluster = self._cluster
        known = (cluster.agents, cluster.recovered_agents, cluster.unreachable_agents)
        if not any(agent_id in agents for agents in known):
            if agent_id in cluster.gone_agents:
                return
            raise CallError(f"Agent '{agent_id}' not found", 404)
        cluster.registry.put("gone_agents", agent_id, time.time())
        cluster.registry.drop("unreachable_agents", agent_id)
        cluster.recovered_agents.pop(agent_id, None)
        agent = cluster.agents.get(agent_id)
        if agent:
            message = f"Agent {agent_id} at {agent.pid} has been marked gone"
            self._shut_down(agent, "TASK_GONE_BY_OPERATOR", "REASON_AGENT_REMOVED_BY_OPERATOR", message)
        else:
            cluster.registry.drop("agents", agent_id)

    def take_down(self, agent: AgentRecord) -> None:
        """Maintenance of its machine begins: its tasks end with it."""
        message = f"Agent {agent.agent_id} at {agent.pid} was taken down for maintenance"
        self._shut_down(agent, "TASK_GONE", "REASON_AGENT_REMOVED", message)

    def _shut_down(self, agent: AgentRecord, state: str, reason: str, message: str) -> None:
        frameworks = {framework_id for framework_id, _ in agent.tasks}
        self._lose(agent, state, reason, message)
        for framework_id in frameworks:
            agent.agent.shut_down_framework(framework_id)

    def _lose(
        self, agent: AgentRecord, state: str, reason: str, message: str, *, unreachable_since: float | None = None
    ) -> None:
        """RESCIND, then what became of each task, then FAILURE."""
        cluster = self._cluster
        log.warning("agent removed", agent=agent.agent_id, pid=agent.pid, reason=reason)
        cluster.counters["slave_removals"] += 1
        cluster.rescind(agent.offers.values())
        told: list[tuple[Framework, Json]] = []
        for (framework_id, task_id), task in list(agent.tasks.items()):
            framework = cluster.frameworks[framework_id]
            if not task.terminal:
                state_told = framework.lost_state(state)
                status = master_status(
                    task_id, state_told, reason, message, agent_id=agent.agent_id, unreachable_since=unreachable_since
                )
                cluster.apply(task, status)
                told.append((framework, status))
                if unreachable_since is not None:
                    framework.lose_sight_of(task)
                    continue
            cluster.complete_task(framework, task)
        self._forget(agent)
        cluster.registry.drop("agents", agent.agent_id)
        for framework, status in told:
            framework.send_status(status)
        for framework in cluster.frameworks.values():
            framework.send({"type": "FAILURE", "failure": {"agent_id": {"value": agent.agent_id}}})
        cluster.tell_operators("AGENT_REMOVED", lambda: {"agent_id": {"value": agent.agent_id}})

    def _forget(self, agent: AgentRecord) -> None:
        """It is not registered any more; tasks that are left are told anew when it registers again."""
        cluster = self._cluster
        cluster.rescind(agent.offers.values())
        for key in list(agent.executors):
            cluster.remove_executor(agent, key)
        for (framework_id, task_id), task in agent.tasks.items():
            cluster.frameworks[framework_id].tasks.pop(task_id, None)
            if not task.terminal:
                cluster.recover(framework_id, task.role, agent.agent_id, task.resources)
        cluster.allocator.remove_agent(agent.agent_id)
        del cluster.agents[agent.agent_id]

    # Draining

    def deactivate(self, agent_id: str) -> None:
        """Its resources are not offered until it is reactivated. Raises CallError."""
        agent = self._get(agent_id)
        agent.deactivated = True
        self._cluster.allocator.set_agent_active(agent_id, False)
        self._cluster.rescind(agent.offers.values())
        self._cluster.remember_agent(agent)

    def reactivate(self, agent_id: str) -> None:
        agent = self._cluster.agents.get(agent_id)
        if agent is None or not agent.deactivated:
            raise CallError("Agent is not deactivated")
        if agent.drain and agent.drain["state"] == "DRAINING":
            raise CallError("Agent is still in the DRAINING state")
        agent.deactivated, agent.drain = False, None
        self._cluster.allocator.set_agent_active(agent_id, True)
        self._cluster.remember_agent(agent)
        self._cluster.allocate_soon(agent_id)

    def drain(self, agent_id: str, max_grace_period: Json | None, mark_gone: bool) -> None:
        """Deactivates the agent and kills its tasks, each in its own grace period or the given one if that is shorter."""
        agent = self._get(agent_id)
        config: Json = {"mark_gone": mark_gone}
        if max_grace_period:
            config["max_grace_period"] = max_grace_period
        agent.drain, agent.drain_started = {"state": "DRAINING", "config": config}, time.time()
        self.deactivate(agent_id)
        for (framework_id, task_id), task in list(agent.tasks.items()):
            if not task.terminal:
                agent.agent.kill(framework_id, task_id, _shorter(task, max_grace_period))
        self.finish_drain(agent)

    def finish_drain(self, agent: AgentRecord) -> None:
        """To be called when a task of the agent is over."""
        if agent.drain and agent.drain["state"] == "DRAINING" and not agent.tasks:
            agent.drain = {**agent.drain, "state": "DRAINED"}
            self._cluster.remember_agent(agent)
            log.info("agent drained", agent=agent.agent_id)
            if agent.drain["config"]["mark_gone"]:
                self.mark_gone(agent.agent_id)

    def _get(self, agent_id: str) -> AgentRecord:
        if agent_id not in self._cluster.agents:
            raise CallError("Unknown agent")
        return self._cluster.agents[agent_id]


def _shorter(task: Task, max_grace_period: Json | None) -> Json | None:
    own: Json | None = task.description.get("kill_policy")
    period = (own or {}).get("grace_period")
    if max_grace_period and (period is None or period["nanoseconds"] > max_grace_period["nanoseconds"]):
        return {"grace_period": max_grace_period}
    return own
