"""The master: frameworks come and go, resources are offered to them, and what they say of tasks reaches the agents.

It lives in one event loop: nothing here waits, and every method leaves the state consistent before it tells anybody. HTTP is
the business of `scheduler_api`, `operator_api` and `endpoints`; who is offered what is `allocator`'s.
"""

import asyncio
import random
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from daemonkit.logs import get_logger
from embedded.mesos import reconcile
from embedded.mesos.allocator import Allocation, Allocator
from embedded.mesos.errors import CallError
from embedded.mesos.reconcile import master_status
from embedded.mesos.records import TERMINAL, AgentRecord, Framework, Offer, Task
from embedded.mesos.registry import Registry
from embedded.mesos.resources import Resources
from embedded.mesos.seam import Agent
from embedded.mesos.settings import MesosSettings
from embedded.mesos.stream import Stream, record
from embedded.mesos.validation import framework_problem

Json = dict[str, Any]
log = get_logger(__name__)

VERSION = "1.11.0"


class Master:
    """Call `start` inside a running event loop, `stop` at the end."""

    def __init__(self, settings: MesosSettings, registry: Registry, *, host: str, port: int) -> None:
        self.settings = settings
        self.registry = registry
        self.host = host
        self.port = port
        self.master_id = str(uuid.uuid4())
        self.start_time = time.time()
        self.allocator = Allocator(interval=settings.allocation_interval, shuffle=random.shuffle)
        self.frameworks: dict[str, Framework] = {}
        self.completed_frameworks: OrderedDict[str, Framework] = OrderedDict()
        self.agents: dict[str, AgentRecord] = {}
        self.recovered_agents: dict[str, Json] = dict(registry.entries("agents"))  # known, not yet back
        self.offers: dict[str, Offer] = {}
        self.counters: Counter[str] = Counter()
        self.operator_streams: OrderedDict[str, Stream] = OrderedDict()
        self._numbers: Counter[str] = Counter()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._allocating: set[str] | None = set()  # agents to look at in the next immediate pass; None: all
        self._allocation_asked: asyncio.Handle | None = None
        self._recovering = bool(self.recovered_agents)

    # Life

    def start(self) -> None:
        self._every_allocation_interval()
        if self._recovering:
            self._after("recovery", self.settings.recovery_timeout, self._end_recovery)
            self._after("agents", self.settings.agent_reregister_timeout, self._give_up_recovered_agents)
        for framework_id, entry in self.registry.entries("frameworks").items():
            self._add_framework(framework_id, entry["info"], entry["registered_time"], recovered=True)
            self.allocator.deactivate(framework_id)
            self._start_failover_timer(self.frameworks[framework_id])

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._allocation_asked:
            self._allocation_asked.cancel()
        for framework in self.frameworks.values():
            if framework.stream:
                framework.stream.close()
        for stream in self.operator_streams.values():
            stream.close()
        self.registry.save()

    @property
    def recovering(self) -> bool:
        """After a restart, until all known agents are back or the recovery timeout has passed: calls are answered 503."""
        return self._recovering

    @property
    def pid(self) -> str:
        return f"master@{self.host}:{self.port}"

    def framework(self, framework_id: str) -> Framework:
        """Raises CallError."""
        try:
            return self.frameworks[framework_id]
        except KeyError:
            raise CallError("Framework cannot be found") from None

    # Subscriptions

    def subscribe(self, info: Json, suppressed: list[str]) -> Stream:
        """A new stream whose first event is SUBSCRIBED, or ERROR after which it is closed."""
        stream = Stream(max_bytes=self.settings.stream_buffer_bytes, heartbeat=self.settings.heartbeat_interval)
        framework_id = info.get("id", {}).get("value", "")
        problem = framework_problem(info, suppressed)
        if not problem and framework_id in self.registry.entries("removed_frameworks"):
            problem = "Framework has been removed"
        framework = self.frameworks.get(framework_id)
        if not problem and framework:
            problem = _update_problem(framework.info, info)
        if problem:
            stream.send({"type": "ERROR", "error": {"message": problem}})
            stream.close()
            return stream
        if not framework_id:
            framework_id = f"{self.master_id}-{self._number('framework'):04d}"
        info = {**info, "id": {"value": framework_id}}
        if framework:
            self._take_over(framework, info)
        else:
            framework = self._add_framework(framework_id, info, time.time())
        self._connect(framework, stream, suppressed)
        return stream

    def disconnected(self, framework_id: str, stream: Stream) -> None:
        """The stream has ended, at whichever side."""
        framework = self.frameworks.get(framework_id)
        if framework and framework.stream is stream:
            log.info("framework disconnected", framework=framework_id)
            stream.close()
            framework.stream = None
            self._deactivate(framework)
            self._start_failover_timer(framework)
            self._framework_updated(framework)

    def update_framework(self, framework: Framework, info: Json, suppressed: list[str]) -> None:
        """UPDATE_FRAMEWORK. Raises CallError."""
        problem = framework_problem(info, suppressed) or _update_problem(framework.info, info)
        if problem:
            raise CallError(f"Framework info update is invalid: {problem}")
        framework.info = {**info, "id": {"value": framework.framework_id}}
        for offer in [o for o in framework.offers.values() if o.role not in framework.roles]:
            self._rescind(offer)
        self._tell_allocator(framework, suppressed)
        self._remember(framework)
        self._framework_updated(framework)
        self.allocate_soon()

    def _add_framework(
        self, framework_id: str, info: Json, registered_time: float, *, recovered: bool = False
    ) -> Framework:
        framework = Framework(
            framework_id,
            info,
            registered_time,
            self.settings.max_completed_tasks_per_framework,
            self.settings.max_unreachable_tasks_per_framework,
            recovered=recovered,
        )
        self.frameworks[framework_id] = framework
        self.allocator.add_framework(framework_id, framework.roles, suppressed=(), takes_gpus=_takes_gpus(info))
        if not recovered:
            log.info("framework added", framework=framework_id, name=info["name"], roles=framework.roles)
            self._remember(framework)
            self.tell_operators("FRAMEWORK_ADDED", lambda: {"framework": self._operator_framework(framework)})
        return framework

    def _take_over(self, framework: Framework, info: Json) -> None:
        """The framework is back, on a stream of a new scheduler."""
        if framework.stream:
            framework.send({"type": "ERROR", "error": {"message": "Framework failed over"}})
            framework.stream.close()
        self._deactivate(framework)
        framework.info = info
        framework.recovered = False
        framework.reregistered_time = time.time()
        self._remember(framework)

    def _connect(self, framework: Framework, stream: Stream, suppressed: list[str]) -> None:
        self._cancel(f"failover {framework.framework_id}")
        framework.stream = stream
        self._tell_allocator(framework, suppressed)
        self.allocator.activate(framework.framework_id)
        stream.send(
            {
                "type": "SUBSCRIBED",
                "subscribed": {
                    "framework_id": {"value": framework.framework_id},
                    "heartbeat_interval_seconds": self.settings.heartbeat_interval,
                    "master_info": self.master_info(),
                },
            }
        )
        stream.start_heartbeats()
        if framework.reregistered_time:
            self._framework_updated(framework)
        self.allocate_soon()

    def _tell_allocator(self, framework: Framework, suppressed: Iterable[str]) -> None:
        self.allocator.update_framework(
            framework.framework_id, framework.roles, suppressed=suppressed, takes_gpus=_takes_gpus(framework.info)
        )

    def _deactivate(self, framework: Framework) -> None:
        self.allocator.deactivate(framework.framework_id)
        for offer in list(framework.offers.values()):
            self.remove_offer(offer)
        framework.inverse_offers.clear()

    def _start_failover_timer(self, framework: Framework) -> None:
        timeout = max(0.0, framework.info.get("failover_timeout", 0.0))
        key = f"failover {framework.framework_id}"
        self._after(key, min(timeout, 10 * 365 * 86400.0), lambda: self._failover_timed_out(framework))

    def _failover_timed_out(self, framework: Framework) -> None:
        if framework.framework_id in self.frameworks and not framework.connected:
            log.info("failover timeout passed", framework=framework.framework_id)
            self.remove_framework(framework)

    def remove_framework(self, framework: Framework) -> None:
        """Teardown: all its tasks are killed, and its id is not accepted again."""
        framework_id = framework.framework_id
        self._cancel(f"failover {framework_id}")
        self._deactivate(framework)
        holders = {task.agent_id for task in framework.tasks.values()}
        for agent_id in holders & self.agents.keys():
            self.agents[agent_id].agent.shut_down_framework(framework_id)
        for task in list(framework.tasks.values()):
            if not task.terminal:
                message = f"Framework {framework_id} removed"
                status = master_status(
                    task.task_id, "TASK_KILLED", "REASON_FRAMEWORK_REMOVED", message, agent_id=task.agent_id
                )
                self._apply(task, status)
            self._remove_task(framework, task)
        for agent in self.agents.values():
            for key in [key for key in agent.executors if key[0] == framework_id]:
                self._remove_executor(agent, key)
        if framework.stream:
            framework.stream.close()
            framework.stream = None
        framework.unregistered_time = time.time()
        self.allocator.remove_framework(framework_id)
        del self.frameworks[framework_id]
        self.completed_frameworks[framework_id] = framework
        while len(self.completed_frameworks) > self.settings.max_completed_frameworks:
            self.completed_frameworks.popitem(last=False)
        self.registry.drop("frameworks", framework_id)
        self.registry.put("removed_frameworks", framework_id, framework.unregistered_time)
        log.info("framework removed", framework=framework_id)
        self.tell_operators("FRAMEWORK_REMOVED", lambda: {"framework_info": framework.info})

    def _remember(self, framework: Framework) -> None:
        entry = {"info": framework.info, "registered_time": framework.registered_time}
        self.registry.put("frameworks", framework.framework_id, entry)

    # Offers

    def allocate_soon(self, agent_id: str | None = None) -> None:
        """Asks for a pass at the end of this turn: over one agent, or over all."""
        if agent_id is None:
            self._allocating = None
        elif self._allocating is not None:
            self._allocating.add(agent_id)
        if self._allocation_asked is None:
            self._allocation_asked = asyncio.get_running_loop().call_soon(self._allocate_asked)

    def _allocate_asked(self) -> None:
        agents, self._allocating, self._allocation_asked = self._allocating, set(), None
        self._offer(self.allocator.allocate(self._now(), agents))

    def _every_allocation_interval(self) -> None:
        self._after("allocation", self.settings.allocation_interval, self._every_allocation_interval)
        self.counters["allocation_runs"] += 1
        self._offer(self.allocator.allocate(self._now()))

    def _offer(self, allocations: list[Allocation]) -> None:
        by_framework: dict[str, list[Json]] = {}
        for allocation in allocations:
            framework, agent = self.frameworks[allocation.framework_id], self.agents[allocation.agent_id]
            offer = Offer(
                f"{self.master_id}-O{self._number('offer')}",
                allocation.framework_id,
                allocation.agent_id,
                allocation.role,
                allocation.resources,
            )
            self.offers[offer.offer_id] = framework.offers[offer.offer_id] = agent.offers[offer.offer_id] = offer
            by_framework.setdefault(allocation.framework_id, []).append(self.offer_json(offer))
        for framework_id, offers in by_framework.items():
            self.counters["offers_sent"] += len(offers)
            self.frameworks[framework_id].send({"type": "OFFERS", "offers": {"offers": offers}})

    def offer_json(self, offer: Offer) -> Json:
        """The v1 Offer."""
        agent = self.agents[offer.agent_id]
        refined = self.frameworks[offer.framework_id].is_capable_of("RESERVATION_REFINEMENT")
        shown: Json = {
            "id": {"value": offer.offer_id},
            "framework_id": {"value": offer.framework_id},
            "agent_id": {"value": offer.agent_id},
            "hostname": agent.info["hostname"],
            "url": {
                "scheme": "http",
                "address": {"hostname": agent.info["hostname"], "ip": self.host, "port": self.port},
                "path": f"/{agent.process}",
            },
            "resources": offer.resources.to_json(allocated_to=offer.role, refined=refined),
            "allocation_info": {"role": offer.role},
        }
        if agent.info.get("attributes"):
            shown["attributes"] = agent.info["attributes"]
        if agent.info.get("domain"):
            shown["domain"] = agent.info["domain"]
        executors = [executor_id for framework_id, executor_id in agent.executors if framework_id == offer.framework_id]
        if executors:
            shown["executor_ids"] = [{"value": executor_id} for executor_id in executors]
        return shown

    def remove_offer(self, offer: Offer, *, refuse_seconds: float | None = None) -> None:
        """The offer is over, and its resources are free again."""
        self.forget_offer(offer)
        self.recover(offer.framework_id, offer.role, offer.agent_id, offer.resources, refuse_seconds)

    def forget_offer(self, offer: Offer) -> None:
        """The offer is over; the caller accounts for its resources."""
        self.offers.pop(offer.offer_id, None)
        self.frameworks[offer.framework_id].offers.pop(offer.offer_id, None)
        agent = self.agents.get(offer.agent_id)
        if agent:
            agent.offers.pop(offer.offer_id, None)

    def recover(
        self,
        framework_id: str,
        role: str,
        agent_id: str,
        resources: Resources,
        refuse_seconds: float | None = None,
    ) -> None:
        self.allocator.recover(framework_id, role, agent_id, resources, now=self._now(), refuse_seconds=refuse_seconds)

    def _rescind(self, offer: Offer) -> None:
        self.remove_offer(offer)
        self.counters["offers_rescinded"] += 1
        self.frameworks[offer.framework_id].send(
            {"type": "RESCIND", "rescind": {"offer_id": {"value": offer.offer_id}}}
        )

    def rescind_all(self, agent: AgentRecord) -> None:
        for offer in list(agent.offers.values()):
            self._rescind(offer)

    def decline(self, framework: Framework, offer_ids: Iterable[str], refuse_seconds: float) -> None:
        for offer_id in offer_ids:
            offer = framework.offers.get(offer_id)
            if offer:
                self.counters["offers_declined"] += 1
                self.remove_offer(offer, refuse_seconds=refuse_seconds)

    def suppress(self, framework: Framework, roles: list[str]) -> None:
        self.allocator.suppress(framework.framework_id, [role for role in roles if role in framework.roles])

    def revive(self, framework: Framework, roles: list[str]) -> None:
        known = [role for role in roles if role in framework.roles]
        if known or not roles:
            self.allocator.revive(framework.framework_id, known)
            self.allocate_soon()

    # Tasks

    def add_task(self, framework: Framework, agent: AgentRecord, task: Task) -> None:
        """A task that is launched now; its resources are already held."""
        framework.tasks[task.task_id] = task
        agent.tasks[framework.framework_id, task.task_id] = task
        agent.used += task.resources
        self.tell_operators("TASK_ADDED", lambda: {"task": task.to_json()})

    def add_executor(self, framework: Framework, agent: AgentRecord, executor: Json, role: str) -> None:
        resources = Resources.from_json(executor.get("resources", []))
        key = framework.framework_id, executor["executor_id"]["value"]
        agent.executors[key] = (executor, resources, role)
        agent.used += resources

    def _remove_executor(self, agent: AgentRecord, key: tuple[str, str]) -> None:
        _, resources, role = agent.executors.pop(key)
        agent.used -= resources
        self.recover(key[0], role, agent.agent_id, resources)

    def _remove_task(self, framework: Framework, task: Task) -> None:
        """The framework knows of the end: the task moves to the completed ones."""
        framework.complete(task)
        agent = self.agents.get(task.agent_id)
        if agent:
            agent.tasks.pop((framework.framework_id, task.task_id), None)
            self._end_executor_if_idle(agent, framework.framework_id, task.executor_id)

    def _end_executor_if_idle(self, agent: AgentRecord, framework_id: str, executor_id: str | None) -> None:
        """An executor ends with the last of its tasks."""
        key = (framework_id, executor_id or "")
        if key in agent.executors and not any(
            other.executor_id == executor_id for (owner, _), other in agent.tasks.items() if owner == framework_id
        ):
            self._remove_executor(agent, key)

    def _apply(self, task: Task, status: Json) -> None:
        """The task is in the state that the status tells; an end gives its resources back."""
        was_terminal = task.terminal
        changed = task.state != status["state"]
        if not was_terminal:
            task.state = status["state"]
        task.update_state, task.update_uuid = status["state"], status.get("uuid")
        kept = {name: value for name, value in status.items() if name != "data"}
        if task.statuses and task.statuses[-1]["state"] == status["state"]:
            task.statuses[-1] = kept
        else:
            task.statuses.append(kept)
        if task.terminal and not was_terminal:
            self.counters[status["state"]] += 1
            agent = self.agents.get(task.agent_id)
            if agent and (task.framework_id, task.task_id) in agent.tasks:
                agent.used -= task.resources
            self.recover(task.framework_id, task.role, task.agent_id, task.resources)
        if changed:
            self.tell_operators(
                "TASK_UPDATED",
                lambda: {
                    "framework_id": {"value": task.framework_id},
                    "status": kept,
                    "state": task.state,
                },
            )

    def send_status(self, framework: Framework, status: Json) -> None:
        framework.send({"type": "UPDATE", "update": {"status": status}})

    def acknowledge(self, framework: Framework, agent_id: str, task_id: str, uuid: str) -> None:
        agent = self.agents.get(agent_id)
        if not agent:
            self.counters["invalid_status_update_acknowledgements"] += 1
            return
        self.counters["valid_status_update_acknowledgements"] += 1
        task = framework.tasks.get(task_id)
        if task and task.update_uuid == uuid and task.update_state in TERMINAL and task.agent_id == agent_id:
            self._remove_task(framework, task)
            self._drained_if_empty(agent)
        agent.agent.acknowledge(framework.framework_id, task_id, uuid)

    def kill(self, framework: Framework, task_id: str, agent_id: str | None, kill_policy: Json | None) -> None:
        task = framework.tasks.get(task_id)
        if task is None:
            self.reconcile(framework, [(task_id, agent_id)])
            return
        agent = self.agents.get(task.agent_id)
        if agent and (agent_id is None or agent_id == task.agent_id):
            agent.agent.kill(framework.framework_id, task_id, kill_policy)

    def reconcile(self, framework: Framework, asked: list[tuple[str, str | None]]) -> None:
        """Explicit where tasks are named, else implicit: the latest state of each."""
        if not asked:
            for task in framework.tasks.values():
                message = "Reconciliation: Latest task state"
                self.send_status(framework, reconcile.latest_status(task, "REASON_RECONCILIATION", message))
        for task_id, agent_id in asked:
            status = reconcile.answer(
                framework,
                task_id,
                agent_id,
                registered=self.agents,
                recovered=self.recovered_agents,
                unreachable=self.registry.entries("unreachable_agents"),
                gone=self.registry.entries("gone_agents"),
                recovering=bool(self.recovered_agents),
            )
            if status:
                self.send_status(framework, status)

    # What agents tell (embedded.mesos.seam.Master)

    def register(self, agent: Agent, tasks: list[Json]) -> str:
        wanted = agent.info.get("id", {}).get("value", "")
        agent_id = wanted if wanted and wanted not in self.registry.entries("gone_agents") else ""
        agent_id = agent_id or f"{self.master_id}-S{self._number('agent')}"
        back = agent_id in self.recovered_agents or agent_id in self.registry.entries("unreachable_agents")
        if agent_id in self.agents:
            self._forget_agent(self.agents[agent_id])
        entry = self.registry.entries("agents").get(agent_id, {})
        total = Resources.from_json(entry.get("total") or agent.info["resources"])
        registered_time = entry.get("registered_time") or time.time()
        found = AgentRecord(
            agent_id,
            agent,
            f"{agent.name}@{self.host}:{self.port}",
            total,
            registered_time,
            reregistered_time=time.time() if back else None,
            deactivated=entry.get("deactivated", False),
            drain=entry.get("drain"),
        )
        self.agents[agent_id] = found
        self.recovered_agents.pop(agent_id, None)
        self.registry.drop("unreachable_agents", agent_id)
        self.remember_agent(found)
        adopted = self._adopt(found, tasks)
        self.allocator.add_agent(agent_id, total, found.used)
        for task in adopted:
            if not task.terminal:
                self.allocator.hold(task.framework_id, task.role, task.resources)
        self.allocator.set_agent_active(agent_id, not found.deactivated)
        log.info("agent registered", agent=agent_id, pid=found.pid, tasks=len(adopted), back=back)
        self.tell_operators("AGENT_ADDED", lambda: {"agent": self._operator_agent(found)})
        if back:
            self._tell_of_return(adopted)
        if self._recovering and not self.recovered_agents:
            self._end_recovery()
        self.allocate_soon(agent_id)
        return agent_id

    def status_update(self, agent_id: str, framework_id: str, status: Json) -> None:
        agent, framework = self.agents.get(agent_id), self.frameworks.get(framework_id)
        if agent is None or framework is None:
            self.counters["invalid_status_updates"] += 1
            if agent is not None:
                log.warning("update of an unknown framework", framework=framework_id, agent=agent_id)
                asyncio.get_running_loop().call_soon(agent.agent.shut_down_framework, framework_id)
            return
        self.counters["valid_status_updates"] += 1
        if agent.drain and status["state"] in ("TASK_KILLING", "TASK_KILLED") and "reason" not in status:
            status = {**status, "reason": "REASON_AGENT_DRAINING"}
        if "agent_id" not in status:
            status = {**status, "agent_id": {"value": agent_id}}
        task = framework.tasks.get(status["task_id"]["value"])
        if task:
            self._apply(task, status)
        self.send_status(framework, status)

    def executor_message(self, agent_id: str, framework_id: str, executor_id: str, data: str) -> None:
        framework = self.frameworks.get(framework_id)
        if framework:
            message = {"agent_id": {"value": agent_id}, "executor_id": {"value": executor_id}, "data": data}
            framework.send({"type": "MESSAGE", "message": message})

    def executor_exited(self, agent_id: str, framework_id: str, executor_id: str, status: int) -> None:
        agent, framework = self.agents.get(agent_id), self.frameworks.get(framework_id)
        if agent and (framework_id, executor_id) in agent.executors:
            self._remove_executor(agent, (framework_id, executor_id))
        if framework:
            failure = {"agent_id": {"value": agent_id}, "executor_id": {"value": executor_id}, "status": status}
            framework.send({"type": "FAILURE", "failure": failure})

    def _adopt(self, agent: AgentRecord, tasks: list[Json]) -> list[Task]:
        adopted = []
        for description in tasks:
            task = Task.recovered(description, agent.agent_id)
            framework = self.frameworks.get(task.framework_id)
            if framework is None:
                log.warning("an agent runs tasks of an unknown framework", framework=task.framework_id)
                asyncio.get_running_loop().call_soon(agent.agent.shut_down_framework, task.framework_id)
                continue
            framework.unreachable_tasks.pop(task.task_id, None)
            framework.tasks[task.task_id] = task
            agent.tasks[task.framework_id, task.task_id] = task
            if not task.terminal:
                agent.used += task.resources
            adopted.append(task)
        return adopted

    def _tell_of_return(self, tasks: list[Task]) -> None:
        """Frameworks hear again of tasks that they may have given up."""
        for task in tasks:
            framework = self.frameworks[task.framework_id]
            message = "Agent re-registered with the master"
            self.send_status(framework, reconcile.latest_status(task, "REASON_AGENT_REREGISTERED", message))

    def _end_recovery(self) -> None:
        if self._recovering:
            self._recovering = False
            self._cancel("recovery")
            log.info("recovery is over", missing_agents=len(self.recovered_agents))

    def _give_up_recovered_agents(self) -> None:
        for agent_id in list(self.recovered_agents):
            del self.recovered_agents[agent_id]
            self.registry.drop("agents", agent_id)
            self.registry.put("unreachable_agents", agent_id, time.time())
            log.warning("agent did not come back", agent=agent_id)

    # Agents that go

    def agent_unreachable(self, agent_id: str) -> None:
        """The agent has not answered for too long. It may come back, with its tasks."""
        agent = self.agents.get(agent_id)
        if agent:
            since = time.time()
            self.registry.put("unreachable_agents", agent_id, since)
            message = f"Agent {agent_id} at {agent.pid} is unreachable"
            self._lose_agent(agent, "TASK_UNREACHABLE", "REASON_AGENT_REMOVED", message, unreachable_since=since)

    def mark_agent_gone(self, agent_id: str) -> None:
        """An operator says that the agent will never come back. Raises CallError if it never was."""
        known = (self.agents, self.recovered_agents, self.registry.entries("unreachable_agents"))
        if not any(agent_id in agents for agents in known):
            if agent_id in self.registry.entries("gone_agents"):
                return
            raise CallError(f"Agent '{agent_id}' not found", 404)
        self.registry.put("gone_agents", agent_id, time.time())
        self.registry.drop("unreachable_agents", agent_id)
        self.recovered_agents.pop(agent_id, None)
        agent = self.agents.get(agent_id)
        if agent is None:
            self.registry.drop("agents", agent_id)
            return
        frameworks = {framework_id for framework_id, _ in agent.tasks}
        message = f"Agent {agent_id} at {agent.pid} has been marked gone"
        self._lose_agent(agent, "TASK_GONE_BY_OPERATOR", "REASON_AGENT_REMOVED_BY_OPERATOR", message)
        for framework_id in frameworks:
            agent.agent.shut_down_framework(framework_id)

    def _lose_agent(
        self, agent: AgentRecord, state: str, reason: str, message: str, *, unreachable_since: float | None = None
    ) -> None:
        log.warning("agent removed", agent=agent.agent_id, pid=agent.pid, reason=reason)
        self.rescind_all(agent)
        statuses: list[tuple[Framework, Json]] = []
        for (framework_id, task_id), task in list(agent.tasks.items()):
            framework = self.frameworks[framework_id]
            if task.terminal:
                self._remove_task(framework, task)
                continue
            told = framework.lost_state(state)
            status = master_status(
                task_id, told, reason, message, agent_id=agent.agent_id, unreachable_since=unreachable_since
            )
            self._apply(task, status)
            if unreachable_since is None:
                self._remove_task(framework, task)
            else:
                framework.lose_sight_of(task)
            statuses.append((framework, status))
        for framework_id, executor_id in list(agent.executors):
            self._remove_executor(agent, (framework_id, executor_id))
        self._forget_agent(agent)
        self.registry.drop("agents", agent.agent_id)
        for framework, status in statuses:
            self.send_status(framework, status)
        for framework in self.frameworks.values():
            framework.send({"type": "FAILURE", "failure": {"agent_id": {"value": agent.agent_id}}})
        self.tell_operators("AGENT_REMOVED", lambda: {"agent_id": {"value": agent.agent_id}})

    def _forget_agent(self, agent: AgentRecord) -> None:
        """It is not registered any more; its tasks, if any are left, will be told anew."""
        self.rescind_all(agent)
        for (framework_id, task_id), task in agent.tasks.items():
            framework = self.frameworks[framework_id]
            framework.tasks.pop(task_id, None)
            if not task.terminal:
                self.recover(framework_id, task.role, agent.agent_id, task.resources)
        for (framework_id, _), (_, resources, role) in agent.executors.items():
            self.recover(framework_id, role, agent.agent_id, resources)
        self.allocator.remove_agent(agent.agent_id)
        del self.agents[agent.agent_id]

    def remember_agent(self, agent: AgentRecord) -> None:
        entry: Json = {"registered_time": agent.registered_time}
        if agent.total != Resources.from_json(agent.info["resources"]):
            entry["total"] = agent.total.to_json(refined=True)
        if agent.deactivated:
            entry["deactivated"] = True
        if agent.drain:
            entry["drain"] = agent.drain
        self.registry.put("agents", agent.agent_id, entry)

    # Draining

    def deactivate_agent(self, agent_id: str) -> None:
        """Its resources are not offered until it is reactivated. Raises CallError."""
        agent = self._registered(agent_id)
        agent.deactivated = True
        self.allocator.set_agent_active(agent_id, False)
        self.rescind_all(agent)
        self.remember_agent(agent)

    def reactivate_agent(self, agent_id: str) -> None:
        agent = self._registered(agent_id)
        if not agent.deactivated:
            raise CallError(f"Agent {agent_id} is not deactivated")
        agent.deactivated, agent.drain = False, None
        self.allocator.set_agent_active(agent_id, True)
        self.remember_agent(agent)
        self.allocate_soon(agent_id)

    def drain_agent(self, agent_id: str, max_grace_period: Json | None, mark_gone: bool) -> None:
        """Deactivates the agent and kills its tasks, each within its own grace period or the given one if that is shorter."""
        agent = self._registered(agent_id)
        config: Json = {"mark_gone": mark_gone}
        if max_grace_period:
            config["max_grace_period"] = max_grace_period
        agent.drain = {"state": "DRAINING", "config": config}
        self.deactivate_agent(agent_id)
        for (framework_id, task_id), task in list(agent.tasks.items()):
            if not task.terminal:
                agent.agent.kill(framework_id, task_id, _shorter(task, max_grace_period))
        self._drained_if_empty(agent)

    def _drained_if_empty(self, agent: AgentRecord) -> None:
        if agent.drain and agent.drain["state"] == "DRAINING" and not agent.tasks:
            agent.drain = {**agent.drain, "state": "DRAINED"}
            self.remember_agent(agent)
            log.info("agent drained", agent=agent.agent_id)
            if agent.drain["config"]["mark_gone"]:
                self.mark_agent_gone(agent.agent_id)

    def _registered(self, agent_id: str) -> AgentRecord:
        if agent_id not in self.agents:
            raise CallError(f"Agent '{agent_id}' not found", 404)
        return self.agents[agent_id]

    # Operators

    def tell_operators(self, type: str, content: Callable[[], Json]) -> None:
        """An event of the operator stream, made only if somebody listens."""
        if self.operator_streams:
            event = record({"type": type, type.lower(): content()})
            for stream_id, stream in list(self.operator_streams.items()):
                stream.send_record(event)
                if stream.closed:
                    self.operator_streams.pop(stream_id, None)

    def _framework_updated(self, framework: Framework) -> None:
        self.tell_operators("FRAMEWORK_UPDATED", lambda: {"framework": self._operator_framework(framework)})

    def _operator_framework(self, framework: Framework) -> Json:
        from embedded.mesos import render

        return render.framework(self, framework)

    def _operator_agent(self, agent: AgentRecord) -> Json:
        from embedded.mesos import render

        return render.agent(agent)

    def master_info(self) -> Json:
        return {
            "id": self.master_id,
            "ip": _ip_number(self.host),
            "port": self.port,
            "pid": self.pid,
            "hostname": self.host,
            "version": VERSION,
            "address": {"hostname": self.host, "ip": self.host, "port": self.port},
            "capabilities": [{"type": "AGENT_UPDATE"}, {"type": "AGENT_DRAINING"}],
        }

    # Time and numbers

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _number(self, what: str) -> int:
        number = self._numbers[what]
        self._numbers[what] += 1
        return number

    def _after(self, key: str, delay: float, action: Callable[[], None]) -> None:
        self._cancel(key)
        self._timers[key] = asyncio.get_running_loop().call_later(delay, action)

    def _cancel(self, key: str) -> None:
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()


def _takes_gpus(info: Json) -> bool:
    return {"type": "GPU_RESOURCES"} in info.get("capabilities", [])


def _update_problem(old: Json, new: Json) -> str | None:
    """What a framework that comes back may not change."""
    for field in ("user", "checkpoint", "principal"):
        if old.get(field) != new.get(field):
            return f"Updating 'FrameworkInfo.{field}' is unsupported"
    return None


def _shorter(task: Task, max_grace_period: Json | None) -> Json | None:
    own = task.description.get("kill_policy", {}).get("grace_period")
    if max_grace_period and (own is None or own["nanoseconds"] > max_grace_period["nanoseconds"]):
        return {"grace_period": max_grace_period}
    return task.description.get("kill_policy")


def _ip_number(host: str) -> int:
    """An IPv4 address as MasterInfo has it: the bytes in network order, read as a little-endian number."""
    parts = host.split(".")
    if len(parts) != 4 or not all(part.isdigit() for part in parts):
        return 0
    return sum(int(part) << (8 * i) for i, part in enumerate(parts))
