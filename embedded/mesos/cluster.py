"""The state of the cluster and its bookkeeping: who is there, what is offered, held and free, and who is told of changes.

Frameworks, Agents, the calls and the endpoints stand on this; only it touches the allocator's accounts. It lives in one event
loop: nothing here waits, and every method leaves the state consistent before it tells anybody.
"""

import asyncio
import random
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from daemonkit.recordio import record
from embedded.mesos import render
from embedded.mesos.allocator import Allocation, Allocator
from embedded.mesos.records import AgentRecord, Framework, Offer, Task
from embedded.mesos.registry import Registry
from embedded.mesos.resources import Resources
from embedded.mesos.settings import MesosSettings
from embedded.mesos.stream import Stream

Json = dict[str, Any]


class Cluster:
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
        self.recovering = bool(self.recovered_agents)
        self.unavailability_of: Callable[[AgentRecord], Json | None] = lambda agent: None
        self._numbers: Counter[str] = Counter()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._allocating: set[str] | None = set()  # agents to look at in the next immediate pass; None: all
        self._allocation_asked: asyncio.Handle | None = None

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._allocation_asked:
            self._allocation_asked.cancel()
        self.close_streams()
        self.registry.save()

    def close_streams(self) -> None:
        for framework in self.frameworks.values():
            if framework.stream:
                framework.stream.close()
        for stream in self.operator_streams.values():
            stream.close()

    @property
    def pid(self) -> str:
        return f"master@{self.host}:{self.port}"

    @property
    def unreachable_agents(self) -> dict[str, float]:
        """Agents out of reach, and since when (epoch seconds)."""
        return self.registry.entries("unreachable_agents")

    @property
    def gone_agents(self) -> dict[str, float]:
        return self.registry.entries("gone_agents")

    # Allocation

    def allocate_soon(self, agent_id: str | None = None) -> None:
        """Asks for a pass at the end of this turn: over one agent, or over all."""
        if agent_id is None:
            self._allocating = None
        elif self._allocating is not None:
            self._allocating.add(agent_id)
        if self._allocation_asked is None:
            self._allocation_asked = asyncio.get_running_loop().call_soon(self._allocate_asked)

    def allocate_all(self) -> None:
        self.counters["allocation_runs"] += 1
        self._offer(self.allocator.allocate(self.now()))

    def _allocate_asked(self) -> None:
        agents, self._allocating, self._allocation_asked = self._allocating, set(), None
        self.counters["allocation_runs"] += 1
        self._offer(self.allocator.allocate(self.now(), agents))

    def _offer(self, allocations: list[Allocation]) -> None:
        """One OFFERS event for each framework."""
        by_framework: dict[str, list[Json]] = {}
        for allocation in allocations:
            framework, agent = self.frameworks[allocation.framework_id], self.agents[allocation.agent_id]
            id = self.next_offer_id()
            offer = Offer(id, framework.framework_id, agent.agent_id, allocation.role, allocation.resources)
            self.offers[id] = framework.offers[id] = agent.offers[id] = offer
            by_framework.setdefault(framework.framework_id, []).append(self.offer_json(offer))
        for framework_id, offers in by_framework.items():
            self.counters["offers_sent"] += len(offers)
            self.frameworks[framework_id].send({"type": "OFFERS", "offers": {"offers": offers}})

    # Offers

    def next_offer_id(self) -> str:
        return f"{self.master_id}-O{self.number('offer')}"

    def agent_url(self, agent: AgentRecord) -> Json:
        return {
            "scheme": "http",
            "address": {"hostname": agent.info["hostname"], "ip": self.host, "port": self.port},
            "path": f"/{agent.process}",
        }

    def offer_json(self, offer: Offer) -> Json:
        """The v1 Offer."""
        agent = self.agents[offer.agent_id]
        framework = self.frameworks[offer.framework_id]
        refined = framework.is_capable_of("RESERVATION_REFINEMENT")
        allocated_to = offer.role if framework.is_capable_of("MULTI_ROLE") else None
        shown: Json = {
            "id": {"value": offer.offer_id},
            "framework_id": {"value": offer.framework_id},
            "agent_id": {"value": offer.agent_id},
            "hostname": agent.info["hostname"],
            "url": self.agent_url(agent),
            "resources": offer.resources.to_json(allocated_to=allocated_to, refined=refined),
        }
        if allocated_to:
            shown["allocation_info"] = {"role": allocated_to}
        for name in ("attributes", "domain"):
            if agent.info.get(name):
                shown[name] = agent.info[name]
        executors = [executor_id for framework_id, executor_id in agent.executors if framework_id == offer.framework_id]
        if executors:
            shown["executor_ids"] = [{"value": executor_id} for executor_id in executors]
        unavailability = self.unavailability_of(agent)
        if unavailability:
            shown["unavailability"] = unavailability
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

    def rescind(self, offers: Iterable[Offer]) -> None:
        for offer in list(offers):
            self.remove_offer(offer)
            self.counters["offers_rescinded"] += 1
            event = {"type": "RESCIND", "rescind": {"offer_id": {"value": offer.offer_id}}}
            self.frameworks[offer.framework_id].send(event)

    def recover(
        self,
        framework_id: str,
        role: str,
        agent_id: str,
        resources: Resources,
        refuse_seconds: float | None = None,
    ) -> None:
        """Resources are free again."""
        self.allocator.recover(framework_id, role, agent_id, resources, now=self.now(), refuse_seconds=refuse_seconds)

    # Tasks and executors

    def add_task(self, framework: Framework, agent: AgentRecord, task: Task) -> None:
        """A task that is launched now; its resources are already held."""
        framework.tasks[task.task_id] = task
        agent.tasks[framework.framework_id, task.task_id] = task
        agent.used += task.resources
        self.tell_operators("TASK_ADDED", lambda: {"task": task.to_json()})

    def apply(self, task: Task, status: Json) -> None:
        """The task is in the state that the status tells; an end gives its resources back."""
        was_terminal = task.terminal
        changed = task.state != status["state"] and not was_terminal
        task.take(status)
        if task.terminal and not was_terminal:
            self.counters[task.state] += 1
            agent = self.agents.get(task.agent_id)
            if agent and (task.framework_id, task.task_id) in agent.tasks:
                agent.used -= task.resources
            self.recover(task.framework_id, task.role, task.agent_id, task.resources)
        if changed:
            framework_id = {"value": task.framework_id}
            content = {"framework_id": framework_id, "status": status, "state": task.state}
            self.tell_operators("TASK_UPDATED", lambda: content)

    def complete_task(self, framework: Framework, task: Task) -> None:
        """The framework knows of the end: the task moves to the completed ones. An executor ends with its last task."""
        framework.complete(task)
        agent = self.agents.get(task.agent_id)
        if agent is None:
            return
        agent.tasks.pop((framework.framework_id, task.task_id), None)
        key = (framework.framework_id, task.executor_id or "")
        if key in agent.executors and not any(
            other.executor_id == task.executor_id
            for (owner, _), other in agent.tasks.items()
            if owner == framework.framework_id
        ):
            self.remove_executor(agent, key)

    def add_executor(self, framework: Framework, agent: AgentRecord, executor: Json, role: str) -> None:
        resources = Resources.from_json(executor.get("resources", []))
        key = framework.framework_id, executor["executor_id"]["value"]
        agent.executors[key] = (executor, resources, role)
        agent.used += resources

    def remove_executor(self, agent: AgentRecord, key: tuple[str, str]) -> None:
        _, resources, role = agent.executors.pop(key)
        agent.used -= resources
        self.recover(key[0], role, agent.agent_id, resources)

    # What outlives a restart

    def remember_framework(self, framework: Framework) -> None:
        entry = {"info": framework.info, "registered_time": framework.registered_time}
        self.registry.put("frameworks", framework.framework_id, entry)

    def remember_agent(self, agent: AgentRecord) -> None:
        entry: Json = {"registered_time": agent.registered_time}
        if agent.total != Resources.from_json(agent.info["resources"]):
            entry["total"] = agent.total.to_json(refined=True)
        if agent.deactivated:
            entry["deactivated"] = True
        if agent.drain:
            entry |= {"drain": agent.drain, "drain_started": agent.drain_started}
        self.registry.put("agents", agent.agent_id, entry)

    # Operators

    def tell_operators(self, type: str, content: Callable[[], Json]) -> None:
        """An event of the operator stream, made only if somebody listens."""
        if self.operator_streams:
            event = record({"type": type, type.lower(): content()})
            for stream_id, stream in list(self.operator_streams.items()):
                stream.send_record(event)
                if stream.closed:
                    self.operator_streams.pop(stream_id, None)

    def tell_of_framework(self, type: str, framework: Framework) -> None:
        self.tell_operators(type, lambda: {"framework": render.framework(self, framework)})

    # Time and numbers

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def number(self, what: str) -> int:
        """0, 1, 2, … for each kind of thing."""
        number = self._numbers[what]
        self._numbers[what] += 1
        return number

    def after(self, key: str, delay: float, action: Callable[[], None]) -> None:
        """Sets the timer of this name, in place of one that was set before."""
        self.cancel(key)
        self._timers[key] = asyncio.get_running_loop().call_later(delay, action)

    def cancel(self, key: str) -> None:
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()
