"""Maintenance: an inverse offer says when an agent goes away. What runs there is replaced elsewhere first, and ended then.

An instance that is to move counts as one on its way out; so a replacement is launched as far as maximumOverCapacity has room, and it is
ended as soon as minimumHealthCapacity allows. One with persistent volumes stays: its data would not come with it.
"""

from framework.decide.advance_deployment import Census, max_capacity, min_healthy
from framework.engine.actions import AnswerInverseOffers
from framework.engine.core import Core
from framework.engine.events import InverseOffer
from framework.model.deployment import Progress
from framework.model.instance import Instance
from framework.model.run_spec import RunSpec
from framework.model.values import replace

EVACUATE = "evacuate"


class Evacuator:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._windows: dict[str, InverseOffer] = {}  # by agent

    def received(self, offers: tuple[InverseOffer, ...]) -> None:
        core = self._core
        accepted: list[str] = []
        declined: list[str] = []
        for offer in offers:
            self._windows[offer.agent_id] = offer
            core.timers.set(EVACUATE, offer.agent_id, max(core.now, offer.start - core.settings.maintenance_lead))
            stays = any(not self._can_move(instance) for instance in self._on(offer.agent_id))
            (declined if stays else accepted).append(offer.id)
        core.act(AnswerInverseOffers(tuple(accepted), tuple(declined)))

    def rescinded(self, offer_id: str) -> None:
        """The maintenance is called off: what has not moved yet stays."""
        for agent_id in [agent_id for agent_id, offer in self._windows.items() if offer.id == offer_id]:
            del self._windows[agent_id]
            self._core.timers.cancel(EVACUATE, agent_id)
            for instance in self._on(agent_id):
                if instance.evacuating and not instance.leaving:
                    self._core.put(replace(instance, evacuating=False), "its agent stays")

    def due(self, agent_id: str) -> None:
        window = self._windows.get(agent_id)
        if window is None or (window.until is not None and window.until <= self._core.now):
            return
        for instance in self._on(agent_id):
            if self._can_move(instance) and not instance.leaving and not instance.evacuating:
                self._core.put(replace(instance, evacuating=True), "its agent goes into maintenance")

    def relieved(self, spec: RunSpec, census: Census, moving: int, restarting: Progress | None = None) -> Census:
        """The census for launches, where the bounds leave no room: one instance may be more, or nothing could ever move. A restart may
        have taken that one already."""
        if not moving or min_healthy(spec.instances, spec.upgrade_strategy) < max_capacity(
            spec.instances, spec.upgrade_strategy
        ):
            return census
        if restarting is not None and (restarting.extra or census.ok >= spec.instances):
            return census
        if census.new.leaving:
            return replace(census, new=replace(census.new, leaving=census.new.leaving - 1))
        return replace(census, old=replace(census.old, leaving=max(0, census.old.leaving - 1)))

    def end(self, spec: RunSpec, census: Census, wanted: int) -> None:
        """Ends those that have been replaced, or that nobody misses."""
        moving = [i for i in self._core.ledger.instances_of(spec.id) if i.evacuating and not i.leaving]
        idle = sum(instance.ok and not instance.evacuating for instance in self._core.ledger.held(spec.id))
        well = [instance for instance in moving if instance.ok and not instance.held]
        spare = max(0, census.ok - idle + len(well) - min_healthy(wanted, spec.upgrade_strategy))
        for instance in [i for i in moving if not i.ok or i.held] + well[:spare]:
            self._core.killer.kill(instance, "its agent goes into maintenance")

    def _on(self, agent_id: str) -> list[Instance]:
        return [i for i in self._core.ledger.instances.values() if i.agent.id == agent_id and not i.parked]

    def _can_move(self, instance: Instance) -> bool:
        spec = self._core.ledger.spec_of(instance)
        return spec is None or not spec.is_resident
