"""Planned unavailability of machines: a schedule, offers that tell of it, inverse offers that ask for resources back.

A machine is `{hostname, ip}`; its agents are those with its hostname (and, where given, this host's ip). Machines of the
schedule are DRAINING; `machines_down` takes their agents out of the cluster, `machines_up` lets them back in.
"""

import time
from typing import Any

import orjson

from embedded.mesos.cluster import Cluster
from embedded.mesos.errors import CallError
from embedded.mesos.membership import Membership
from embedded.mesos.records import AgentRecord, Framework
from embedded.mesos.seam import Agent

Json = dict[str, Any]
MachineKey = tuple[str, str]


class Maintenance:
    def __init__(self, cluster: Cluster, agents: Membership) -> None:
        self._cluster = cluster
        self._agents = agents
        self._down: dict[MachineKey, list[Agent]] = {}
        self._answers: dict[tuple[str, str], Json] = {}  # (agent, framework) -> InverseOfferStatus

    def schedule(self) -> Json:
        """v1 maintenance.Schedule"""
        schedule: Json = self._cluster.registry.entries("settings").get("maintenance", {})
        return schedule

    def status(self) -> Json:
        """v1 maintenance.ClusterStatus"""
        draining, down = [], []
        for window in self.schedule().get("windows", []):
            for machine in window.get("machine_ids", []):
                if _key(machine) in self._down:
                    down.append(machine)
                else:
                    draining.append({"id": machine, "statuses": self._answers_of(machine)})
        status = {"draining_machines": draining, "down_machines": down}
        return {name: value for name, value in status.items() if value}

    def update_schedule(self, schedule: Json) -> None:
        """Raises CallError where the schedule contradicts itself or leaves out a machine that is down."""
        seen: set[MachineKey] = set()
        for window in schedule.get("windows", []):
            if not window.get("machine_ids"):
                raise CallError("List of machines in the maintenance window is empty")
            if window["unavailability"].get("duration", {}).get("nanoseconds", 0) < 0:
                raise CallError("Unavailability 'duration' is negative")
            for machine in window["machine_ids"]:
                if not machine.get("hostname") and not machine.get("ip"):
                    raise CallError("Both 'hostname' and 'ip' for a machine are empty")
                if _key(machine) in seen:
                    raise CallError(f"Machine '{_show(machine)}' appears more than once in the schedule")
                seen.add(_key(machine))
        missing = [key for key in self._down if key not in seen]
        if missing:
            raise CallError(
                f"Machine '{missing[0][0] or missing[0][1]}' is deactivated and cannot be removed from the schedule"
            )
        self._answers.clear()
        self._cluster.registry.put("settings", "maintenance", schedule if schedule.get("windows") else {})
        for agent in list(self._cluster.agents.values()):
            if self.unavailability(agent):
                self._cluster.rescind(agent.offers.values())
        for framework in self._cluster.frameworks.values():
            framework.inverse_offers.clear()
        self._cluster.allocate_soon()
        self.ask_back()

    def unavailability(self, agent: AgentRecord) -> Json | None:
        """When the schedule has the agent's machine away: `{start, duration?}`."""
        for window in self.schedule().get("windows", []):
            if any(self._is_on(agent, machine) for machine in window.get("machine_ids", [])):
                found: Json = window["unavailability"]
                return found
        return None

    def ask_back(self) -> None:
        """Sends inverse offers to the frameworks with tasks on machines of the schedule, once each."""
        if not self.schedule().get("windows"):
            return
        asked: dict[str, list[Json]] = {}
        for agent in self._cluster.agents.values():
            unavailability = self.unavailability(agent)
            if unavailability:
                for framework_id in {framework_id for framework_id, _ in agent.tasks}:
                    framework = self._cluster.frameworks[framework_id]
                    if framework.connected and not _was_asked(framework, agent.agent_id):
                        offer = self._inverse_offer(framework, agent, unavailability)
                        asked.setdefault(framework_id, []).append(offer)
        for framework_id, offers in asked.items():
            event = {"type": "INVERSE_OFFERS", "inverse_offers": {"inverse_offers": offers}}
            self._cluster.frameworks[framework_id].send(event)

    def answer(self, framework: Framework, offer_ids: list[str], status: str) -> None:
        """ACCEPT or DECLINE of inverse offers; a declined one may be sent again."""
        for offer_id in offer_ids:
            offer = framework.inverse_offers.get(offer_id)
            if offer:
                self._answers[offer["agent_id"]["value"], framework.framework_id] = {
                    "status": status,
                    "framework_id": {"value": framework.framework_id},
                    "timestamp": {"nanoseconds": time.time_ns()},
                }

    def machines_down(self, machines: list[Json]) -> None:
        """Raises CallError for a machine that is not in the schedule."""
        self._check_all(machines, draining=True)
        for machine in machines:
            gone = [agent for agent in self._cluster.agents.values() if self._is_on(agent, machine)]
            self._down[_key(machine)] = [agent.agent for agent in gone]
            for agent in gone:
                self._agents.take_down(agent)

    def machines_up(self, machines: list[Json]) -> None:
        """The machines leave the schedule, and their agents register anew. Raises CallError for one that is not down."""
        self._check_all(machines, draining=False)
        up = {_key(machine) for machine in machines}
        windows = []
        for window in self.schedule().get("windows", []):
            left = [machine for machine in window["machine_ids"] if _key(machine) not in up]
            if left:
                windows.append({**window, "machine_ids": left})
        self._cluster.registry.put("settings", "maintenance", {"windows": windows} if windows else {})
        for key in up:
            for agent in self._down.pop(key):
                self._agents.register(agent, [])

    def _check_all(self, machines: list[Json], *, draining: bool) -> None:
        if not machines:
            raise CallError("List of machines is empty")
        scheduled = {_key(m) for window in self.schedule().get("windows", []) for m in window["machine_ids"]}
        for machine in machines:
            key = _key(machine)
            if key not in scheduled:
                raise CallError(f"Machine '{_show(machine)}' is not part of a maintenance schedule")
            if draining and key in self._down:
                raise CallError(f"Machine '{_show(machine)}' is not in DRAINING mode and cannot be brought down")
            if not draining and key not in self._down:
                raise CallError(f"Machine '{_show(machine)}' is not in DOWN mode and cannot be brought up")

    def _is_on(self, agent: AgentRecord, machine: Json) -> bool:
        hostname, ip = _key(machine)
        return hostname in ("", agent.info["hostname"].lower()) and ip in ("", self._cluster.host)

    def _answers_of(self, machine: Json) -> list[Json]:
        agents = {agent.agent_id for agent in self._cluster.agents.values() if self._is_on(agent, machine)}
        return [status for (agent_id, _), status in self._answers.items() if agent_id in agents]

    def _inverse_offer(self, framework: Framework, agent: AgentRecord, unavailability: Json) -> Json:
        offer: Json = {
            "id": {"value": self._cluster.next_offer_id()},
            "url": self._cluster.agent_url(agent),
            "framework_id": {"value": framework.framework_id},
            "agent_id": {"value": agent.agent_id},
            "unavailability": unavailability,
            "resources": [],
        }
        framework.inverse_offers[offer["id"]["value"]] = offer
        return offer


def _was_asked(framework: Framework, agent_id: str) -> bool:
    return any(offer["agent_id"]["value"] == agent_id for offer in framework.inverse_offers.values())


def _show(machine: Json) -> str:
    return orjson.dumps(machine).decode()


def _key(machine: Json) -> MachineKey:
    return machine.get("hostname", "").lower(), machine.get("ip", "")
