"""The simulation can see: known bugs, planted through a mutated decision, performer or store, are each caught within 2,000 schedules."""

import contextlib
from dataclasses import replace

import pytest

from framework.decide.advance_deployment import Census
from framework.engine import planning
from framework.engine.actions import Action, Reply
from framework.engine.evacuating import Evacuator
from framework.engine.events import Elected
from framework.engine.ledger import load_ledger
from framework.engine.reconciling import Reconciler
from framework.engine.residents import Residents
from framework.engine.rollouts import Rollouts, Target
from framework.engine.state import State
from framework.model.offer import Offer, Pool
from framework.model.run_spec import RunSpec
from framework.store.base import StoreError, StoreFenced
from tests.simulation.ensemble import Ensemble
from tests.simulation.faults import DOUBTS, FAULTS
from tests.simulation.node import Cluster, SimEngine
from tests.simulation.run import Schedule, simulate
from tests.simulation.wide import WideSchedule
from tests.simulation.world import Violation


def caught(schedule: type[Schedule], first: int = 0, most: int = 2000) -> str:
    """What the first schedule that fails says."""
    for seed in range(first, first + most):
        try:
            simulate(seed, schedule)
        except Violation as violation:
            return str(violation).splitlines()[0]
    raise AssertionError(f"{most} schedules saw nothing")


def with_engine(engine: type[SimEngine]) -> type[Schedule]:
    class OwnCluster(Cluster):
        engine_class = engine

    class OwnSchedule(Schedule):
        cluster_class = OwnCluster

    return OwnSchedule


def test_persisting_after_the_launch_is_seen() -> None:
    class LaunchesFirst(SimEngine):
        async def _step(self) -> None:
            actions, _ = await self._handle_batch()
            writes = list(self.state.ledger.pending())
            await self._perform(actions)
            with contextlib.suppress(StoreError):
                await self._store.commit(writes)
            self.state.ledger.committed()

    assert "launched before it is durable" in caught(with_engine(LaunchesFirst))


def test_a_store_without_a_fence_is_seen() -> None:
    class Unfenced(Ensemble):
        fencing = False

    class OwnCluster(Cluster):
        ensemble_class = Unfenced

    class OwnSchedule(Schedule):
        cluster_class = OwnCluster

    what = caught(OwnSchedule)
    # It depends on what the two leaders write over each other.
    assert any(
        text in what
        for text in ("accepted was", "is killed though", "was forgotten", "are allowed", "the store has other")
    ), what


def test_killing_unknown_tasks_during_the_start_is_seen() -> None:
    class ActsBeforeItKnows(SimEngine):
        """Begins to lead before it has loaded its instances, and kills what it does not know."""

        async def _lead(self, address: str, new_framework_id: bool) -> None:
            await self._store.claim(address)
            ledger = await load_ledger(self._store)
            for instance in list(ledger.instances.values()):
                ledger._index_instance(instance, None)
            self.state = State(self._settings, ledger, self._ids)
            self.view.show(self.state)
            self.post(Elected(address))

    what = caught(with_engine(ActsBeforeItKnows))
    assert "killed though it is wanted" in what or "runs and was forgotten" in what


def test_taking_silence_for_an_answer_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = Reconciler._ask

    def impatient(self: Reconciler) -> None:
        if self._wait > 4:
            for task_id in sorted(self._open):
                instance = self._core.ledger.instance_of_task(task_id)
                if instance is not None:
                    self._core.send_away(instance, "no answer")
        ask(self)

    monkeypatch.setattr(Reconciler, "_ask", impatient)
    assert "was forgotten" in caught(Schedule)


def test_a_roll_back_to_nothing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    restored = planning._restored

    def to_nothing(spec: RunSpec, version: str) -> RunSpec:
        return replace(restored(spec, version), instances=0)

    monkeypatch.setattr(planning, "_restored", to_nothing)
    assert "is rolled back to (0," in caught(Schedule)


def test_forgetting_an_accepted_change_is_seen() -> None:
    class Forgetful(SimEngine):
        """Answers before it persists."""

        async def _handle_batch(self) -> tuple[list[Action], int]:
            actions, handled = await super()._handle_batch()
            await self._perform([action for action in actions if isinstance(action, Reply)])
            return [action for action in actions if not isinstance(action, Reply)], handled

    assert "accepted was" in caught(with_engine(Forgetful))


def test_a_leader_that_kills_without_asking_the_store_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framework.engine.loop._needs_right", lambda action: False)
    assert "killed though it is wanted" in caught(Schedule, first=100)


def test_taking_a_commit_in_doubt_for_one_that_was_not_kept_is_seen() -> None:
    class Believing(SimEngine):
        """Goes on with what it has in memory instead of reading anew what is kept."""

        async def _deposed_by_store(self, error: StoreFenced, actions: list[Action]) -> None:
            in_doubt = self._store.epoch == self.node.cluster.ensemble.epoch  # type: ignore[attr-defined]
            await (self._not_kept if in_doubt else super()._deposed_by_store)(error, actions)

    class Doubted(with_engine(Believing)):  # type: ignore[misc]
        breaks = (*FAULTS, *DOUBTS)

    what = caught(Doubted)
    assert "the store has other" in what or "accepted was" in what, what


# --- in schedules with all that users may run


def test_a_canary_that_goes_on_without_a_go_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    look = Rollouts.look

    def hasty(self: Rollouts, target: Target, census: Census) -> None:
        look(self, target, census)
        if target.deployment is None or target.spec is None or target.pause is None:
            return
        deployment = self._core.ledger.deployments[target.deployment.id]
        if deployment.progress[target.spec.id].well_since is not None:
            self._go(deployment, target.spec.id, "it looks well")

    monkeypatch.setattr(Rollouts, "look", hasty)
    assert "went on without a go" in caught(WideSchedule)


def test_giving_back_the_volume_of_an_instance_that_is_known_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_it(self: Residents, offer: Offer) -> tuple[Pool, ...]:
        return tuple(pool for pool in offer.pools if pool.owner is not None)

    monkeypatch.setattr(Residents, "releases", all_of_it)
    assert "is destroyed though it is known" in caught(WideSchedule)


def test_emptying_an_agent_before_there_is_a_replacement_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(self: Evacuator, spec: RunSpec, census: Census, wanted: int) -> None:
        for instance in [i for i in self._core.ledger.instances_of(spec.id) if i.evacuating and not i.leaving]:
            self._core.killer.kill(instance, "its agent goes into maintenance")

    monkeypatch.setattr(Evacuator, "end", end)
    assert "were ended" in caught(WideSchedule)
