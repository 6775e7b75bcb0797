"""The engine's hands in the simulation: to Mesos, and to the tasks whose health it asks. They see what must never be done."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from framework.engine.actions import Launch
from framework.engine.events import Probed
from framework.model.app import App
from framework.model.instance import Instance
from framework.model.offer import Offer, Pool
from framework.model.run_spec import RunSpec

if TYPE_CHECKING:
    from tests.simulation.node import Node


class SimHand:
    """engine.perform.Mesos"""

    def __init__(self, node: "Node") -> None:
        self._node = node

    def subscribe(self, framework_id: str | None, roles: Sequence[str]) -> None:
        self._node.acted()
        self._node.link.join(framework_id, tuple(roles))

    def update_roles(self, roles: Sequence[str]) -> None:
        self._node.acted()
        self._node.link.roles = tuple(roles)
        self._node.link.call("update_roles", tuple(roles))

    def unsubscribe(self) -> None:
        self._node.link.leave()

    def accept(
        self, offer: Offer, launches: Sequence[Launch], refuse_seconds: float, releases: Sequence[Pool] = ()
    ) -> None:
        node = self._node
        node.acted()
        for launch in launches:
            if node.leads_by_right:
                node.must_be_durable(launch)
            node.world.note(f"{node.name}: launch {launch.instance.id} on {offer.agent.id}")
            node.launched_at[launch.instance.id] = node.world.now
        for pool in releases:
            instance = node.cluster.ensemble.instance(pool.owner[1]) if pool.owner else None
            if instance is not None and instance.agent.id == offer.agent.id and node.leads_by_right:
                raise node.world.violated(f"the volume of {instance.id} is destroyed though it is known")
        node.link.call("accept", offer.id, tuple(launches), refuse_seconds, tuple(releases))

    def decline(self, offer_ids: Sequence[str], refuse_seconds: float) -> None:
        self._node.acted()
        self._node.link.call("decline", tuple(offer_ids), refuse_seconds)

    def revive(self, roles: Sequence[str]) -> None:
        self._node.acted()
        self._node.link.call("revive", tuple(roles))

    def suppress(self, roles: Sequence[str]) -> None:
        self._node.acted()
        self._node.link.call("suppress", tuple(roles))

    def answer_inverse_offers(self, accepted: Sequence[str], declined: Sequence[str]) -> None:
        self._node.acted()
        self._node.link.call("answer_inverse_offers", tuple(accepted), tuple(declined))

    def acknowledge(self, task_id: str, agent_id: str, uuid: str) -> None:
        self._node.acted()
        self._node.link.call("acknowledge", task_id, uuid)

    def kill(self, task_id: str, agent_id: str | None, grace_seconds: float | None) -> None:
        node = self._node
        node.acted()
        instance_id = task_id.rpartition(".")[0].rpartition(".")[0]
        instance = node.cluster.ensemble.instance(instance_id)
        if node.launched_at.get(instance_id) == node.world.now:
            raise node.world.violated(f"{instance_id} is launched and killed in one batch")
        if instance is not None and not (instance.leaving or instance.parked) and task_id in _tasks(instance):
            raise node.world.violated(f"{task_id} is killed though it is wanted")
        node.world.note(f"{node.name}: kill {task_id}")
        node.link.call("kill", task_id)

    def reconcile(self, tasks: Sequence[tuple[str, str | None]]) -> None:
        self._node.acted()
        self._node.link.call("reconcile", tuple(tasks))


def _tasks(instance: Instance) -> list[str]:
    """Not those of an earlier incarnation."""
    return [task.id for task in instance.tasks]


class SimProbes:
    """engine.perform.Probes: asks the simulated tasks how they are. Probes of the same interval are made at the same moments."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._turns = 0

    def start(self, instance: Instance, spec: RunSpec, readiness: bool) -> None:
        node, world = self._node, self._node.world
        node.acted()
        assert isinstance(spec, App), "of pods the agents probe"
        self._turns += 1
        turn = node.probing[instance.id] = self._turns
        life, task_id, master = node.life, instance.tasks[0].id, node.cluster.master
        for index, check in enumerate(spec.health_checks):

            def probe(index: int = index, interval: float = check.interval_seconds) -> None:
                if node.life != life or node.engine is None or node.probing.get(instance.id) != turn:
                    return
                now = world.now
                if not node.paused:
                    task = master.task(task_id)
                    alive = (
                        task is not None
                        and task.alive
                        and task.healthy
                        and not node.cluster.probe_cut
                        and master.agents[task.agent_id].connected
                    )
                    node.post(Probed(instance.id, index, alive, "" if alive else "refused"))
                world.at(now - now % interval + interval, probe)

            world.after(world.random.random(), probe)

    def stop(self, instance_id: str) -> None:
        self._node.probing.pop(instance_id, None)
