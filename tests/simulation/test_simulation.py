"""Many schedules of the simulated framework, seeds that once failed, and proof that the simulation can see.

DROMOS_SCHEDULES says how many schedules are run (default 1000), in blocks that go to different processes.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace

import pytest

from framework.engine import deploying
from framework.engine.events import Elected
from framework.engine.ledger import load_ledger
from framework.engine.reconciling import Reconciler
from framework.engine.state import State
from framework.model.run_spec import RunSpec
from framework.store.base import StoreError
from tests.simulation.node import Node, SimEngine
from tests.simulation.run import Schedule, simulate
from tests.simulation.world import Violation, run_now

SCHEDULES = int(os.environ.get("DROMOS_SCHEDULES", "1000"))
BLOCK = 50

# What each of them found is mended.
ONCE_FAILED = (
    212,  # an app whose creation could not be kept stayed in the queue, and was launched
    1194,  # a lost REVIVE was never repeated
    100810,  # a lost DECLINE left its offers with us for ever
    300483,  # a deployment that was stopped half-way took the healthy instances before the starting ones
    61,  # a KILL overtook the launch of its task
    3097,  # a question about a task overtook its launch, and "unknown" was believed
)


@pytest.mark.parametrize("first", range(0, SCHEDULES, BLOCK))
def test_the_invariants_hold_in_every_schedule(first: int) -> None:
    for seed in range(1_000_000 + first, 1_000_000 + min(first + BLOCK, SCHEDULES)):
        simulate(seed)


@pytest.mark.parametrize("seed", ONCE_FAILED)
def test_a_schedule_that_once_failed_holds(seed: int) -> None:
    simulate(seed)


def test_a_seed_replays_to_the_letter() -> None:
    first, second = Schedule(4711), Schedule(4711)
    first.run()
    second.run()
    assert first.world.log == second.world.log
    assert len(first.world.log) > 100


# --- known bugs, planted; each is to be seen


def caught(schedule: type[Schedule], most: int = 2000) -> str:
    """What the first schedule that fails says."""
    for seed in range(most):
        try:
            simulate(seed, schedule)
        except Violation as violation:
            return str(violation).splitlines()[0]
    raise AssertionError(f"{most} schedules saw nothing")


class LaunchesFirst(SimEngine):
    """Persists after it has launched."""

    async def step(self) -> None:
        actions, _ = await self._handle_batch()
        writes = self.state.ledger.pending()
        await self._perform(actions)
        with contextlib.suppress(StoreError):
            await self._store.commit(writes)
        self.state.ledger.committed()
        self.figures.batches += 1


class ActsBeforeItKnows(SimEngine):
    """Begins to lead before it has loaded its instances, and kills what it does not know."""

    async def lead(self, address: str, *, new_framework_id: bool = False) -> None:
        ledger = await load_ledger(self._store)
        for instance in list(ledger.instances.values()):
            ledger._index_instance(instance, None)
        self.state = State(self._settings, ledger, self._ids)
        self.view.show(self.state)
        self.post(Elected(address))


def node_of(engine: type[SimEngine]) -> type[Schedule]:
    class OwnNode(Node):
        engine_class = engine

    class OwnSchedule(Schedule):
        node_class = OwnNode

    return OwnSchedule


def test_persisting_after_the_launch_is_seen() -> None:
    assert "launched before it is durable" in caught(node_of(LaunchesFirst))


def test_killing_unknown_tasks_during_the_start_is_seen() -> None:
    what = caught(node_of(ActsBeforeItKnows))
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
    restored = deploying._restored

    def to_nothing(spec: RunSpec, version: str) -> RunSpec:
        return replace(restored(spec, version), instances=0)

    monkeypatch.setattr(deploying, "_restored", to_nothing)
    assert "is declared as (0," in caught(Schedule)


def test_forgetting_an_accepted_change_is_seen() -> None:
    class Forgetful(SimEngine):
        """Answers before it persists."""

        async def step(self) -> None:
            actions, _ = await self._handle_batch()
            replies: Sequence[object] = [a for a in actions if type(a).__name__ in ("Reply", "Refuse")]
            for reply in replies:
                self._performer.perform(reply, self._clock())  # type: ignore[union-attr, arg-type]
            with contextlib.suppress(StoreError):
                await self._store.commit(self.state.ledger.pending())
                self.state.ledger.committed()
                self.figures.batches += 1
                await self._perform([a for a in actions if a not in replies])
                return
            await self._perform(self.state.undo(self._clock()))

    assert "accepted was" in caught(node_of(Forgetful))


def test_the_simulated_store_is_read_as_it_was_written() -> None:
    schedule = Schedule(99)
    schedule.run()
    engine = schedule.node.engine
    assert engine is not None
    again = run_now(load_ledger(schedule.node.store))
    assert again.instances == engine.state.ledger.instances
    assert again.declared == engine.state.ledger.declared
    assert again.versions == engine.state.ledger.versions
    assert again.history == engine.state.ledger.history
