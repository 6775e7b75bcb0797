"""Many schedules of the simulated framework, seeds that once failed, and a crash at every single point.

DROMOS_SCHEDULES says how many schedules are run (default 2000), in blocks that go to different processes.
"""

import functools
import os
from dataclasses import replace

import pytest

from framework.decide.advance_deployment import Census, Orders
from framework.decide.match_offers import Claim, Requirement
from framework.decide.rollout import Pause
from framework.engine import deploying, observing
from framework.engine.actions import Action
from framework.engine.commands import Declare
from framework.engine.evacuating import Evacuator
from framework.engine.residents import Residents
from framework.engine.state import State
from framework.model.app import App
from framework.model.network import PortDefinition
from framework.model.run_spec import RunSpec
from tests.simulation.invariants import RESIDENT, brief
from tests.simulation.link import IN_ORDER
from tests.simulation.run import Schedule, change_of, quiet, simulate
from tests.simulation.wide import FIRST, FIRST_DOUBTED, FIRST_PACED, WideSchedule, schedule_of
from tests.simulation.world import Violation

SCHEDULES = int(os.environ.get("DROMOS_SCHEDULES", "2000"))
BLOCK = 25


def _kills_without_asking(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("framework.engine.loop._needs_right", lambda action: False)


def _questions_overtake_launches(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("tests.simulation.link.IN_ORDER", tuple(name for name in IN_ORDER if name != "reconcile"))


def _forgets_its_id(patch: pytest.MonkeyPatch) -> None:
    undo = State.undo

    def forgetful(self: State, now: float) -> list[Action]:
        self.framework_id = None
        return undo(self, now)

    patch.setattr(State, "undo", forgetful)


def _believes_that_a_finished_task_is_gone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(observing, "_ENDED", frozenset())


def _gives_the_one_instance_more_twice(patch: pytest.MonkeyPatch) -> None:
    relieved = Evacuator.relieved

    def twice(self: Evacuator, spec: RunSpec, census: Census, moving: int, restarting: object) -> Census:
        return relieved(self, spec, census, moving)

    patch.setattr(Evacuator, "relieved", twice)


def _ends_a_surplus_at_once(patch: pytest.MonkeyPatch) -> None:
    held = deploying.held

    def at_once(orders: Orders, here: Pause, census: Census, room: int) -> Orders:
        surplus = max(orders.kill_new, census.new.staying - here.new)
        return replace(held(orders, here, census, room), kill_new=surplus)

    patch.setattr(deploying, "held", at_once)


def _acts_when_deposed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("framework.engine.loop._harmless", lambda actions: actions)


def _waits_for_the_oldest_volume_alone(patch: pytest.MonkeyPatch) -> None:
    claim = Residents.claim

    def stubborn(self: Residents, spec: RunSpec, requirement: Requirement, count: int) -> Claim:
        known = claim(self, spec, requirement, count)
        return replace(known, instances=known.instances[: known.count])

    patch.setattr(Residents, "claim", stubborn)


# Seeds that found something, with what takes its mend back: that they fail with it shows that they still mean what they meant.
ONCE_FAILED = {
    # A deposed leader subscribed again, took the tasks that the next one had launched for strangers, and killed them.
    107: _kills_without_asking,
    # A commit was slow, a question about a task overtook its launch, and "gone" was believed.
    33: _questions_overtake_launches,
    # The store failed just as the master gave the framework its id, which was then never kept.
    462: _forgets_its_id,
    # The master, asked for a pod's finished container, called it gone, and the whole pod was forgotten.
    1_000_001: _believes_that_a_finished_task_is_gone,
    # A restart and maintenance each took one instance more than is allowed.
    1_000_023: _gives_the_one_instance_more_twice,
    # A canary was scaled down; those that its share then had too many of went before there were enough others.
    1_001_531: _ends_a_surplus_at_once,
    # The store was full, so that a deposed leader did not learn from it who leads; the batch in which it heard of it killed a task.
    7_001_097: _acts_when_deposed,
    # The agent with the oldest of two parked volumes was full for good, and the other one, where there was room, was not looked at.
    1_795_278_776_089: _waits_for_the_oldest_volume_alone,
}


@pytest.mark.parametrize("first", range(0, SCHEDULES, BLOCK))
def test_the_invariants_hold_in_every_schedule(first: int) -> None:
    for seed in range(FIRST_DOUBTED + first, FIRST_DOUBTED + min(first + BLOCK, SCHEDULES)):
        simulate(seed, schedule_of)


@pytest.mark.parametrize("seed", ONCE_FAILED)
def test_a_schedule_that_once_failed_holds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate(seed, schedule_of)
    ONCE_FAILED[seed](monkeypatch)
    with pytest.raises(Violation):
        simulate(seed, schedule_of)


@pytest.mark.parametrize("spare", [False, True])
def test_the_only_volume_on_an_agent_that_stays_full_is_given_up_by_its_user_and_no_other(spare: bool) -> None:
    """A parked instance that can come back elsewhere leaves the framework no excuse."""
    with quiet():
        schedule = ShutOut(spare)
        schedule.run()
    wiped = [line for line in schedule.world.log if "user: wipe" in line]
    assert len(wiped) == (0 if spare else 1), wiped


class ShutOut(WideSchedule):
    """One app with volumes; the ports of the agent of an instance that ends are all gone. `spare`: another one is parked elsewhere."""

    minutes = 1

    def __init__(self, spare: bool) -> None:
        super().__init__(seed=0)
        self.spare = spare
        self.app = self._resident(App(RESIDENT, cmd="run", port_definitions=(PortDefinition(0),)))

    def run(self) -> None:
        for at, instances in ((5.0, 1), (15.0, 1 + self.spare), (30.0, 1)):  # the older one is what stays
            self.world.after(at, functools.partial(self.declare, instances))
        self.world.after(45.0, self.shut_out)
        super().run()

    def declare(self, instances: int) -> None:
        [node] = self.cluster.believers()
        spec = replace(self.app, instances=instances)
        self.tickets += 1
        self.node = node
        self._expect("scale", RESIDENT, brief(spec))
        node.command(self.tickets, Declare(lambda declared: change_of(RESIDENT, spec)))

    def shut_out(self) -> None:
        [task] = self.cluster.master.live_tasks()
        self.cluster.master.agents[task.agent_id].ports = (0, -1)
        self.cluster.master.end(task, "TASK_FAILED", None)

    def fault(self) -> None:
        pass

    def ask(self) -> None:
        pass


@pytest.mark.parametrize("seed", [4711, FIRST + 4711, FIRST_PACED + 4709, FIRST_DOUBTED + 4703])
def test_a_seed_replays_to_the_letter(seed: int) -> None:
    first, second = simulate(seed, schedule_of), simulate(seed, schedule_of)
    assert first.world.log == second.world.log
    assert len(first.world.log) > 100


# --- a crash at every point


class OneByOne(Schedule):
    """Nothing random breaks: create, update, scale and delete, one after the other, and one crash at a chosen point."""

    minutes = 1

    def __init__(self, crash: str = "", point: int = 0) -> None:
        super().__init__(seed=0)
        self.crash, self.point = crash, point
        self.todo = [
            lambda: self._create("/a"),
            lambda: self._update("/a"),
            lambda: self._scale("/a"),
            lambda: self._restart("/a"),
            lambda: self._delete("/a"),
        ]

    def run(self) -> None:
        self.world.after(0.0, self.break_down)
        super().run()

    def break_down(self) -> None:
        node = self.cluster.nodes[0]
        if self.crash == "between actions":
            node.actions_left = self.point
        elif self.crash:
            node.store.doom, node.store.commits_left = self.crash.split()[0], self.point

    def fault(self) -> None:
        pass

    def ask(self) -> None:
        node = self.cluster.leader
        if node is None or node.engine is None or not self.todo:
            return
        self.node, self.ledger = node, node.engine.state.ledger
        self.tickets += 1
        command = self.todo.pop(0)()
        if command is not None:
            node.command(self.tickets, command)


def points(crash: str) -> int:
    """How many there are, when nothing crashes."""
    with quiet():
        schedule = OneByOne()
        schedule.run()
    assert not schedule.todo
    assert not any(isinstance(app, App) for app in schedule.ledger.declared.apps.values())
    node = schedule.cluster.nodes[0]
    return node.acted_in_all if crash == "between actions" else node.store.commits


@pytest.mark.parametrize("crash", ["before a commit", "after a commit", "between actions"])
def test_a_crash_at_any_point_loses_nothing(crash: str) -> None:
    crashes = 0
    for point in range(points(crash)):
        with quiet():
            schedule = OneByOne(crash, point)
            schedule.run()
        crashes += any("crashes" in line for line in schedule.world.log)
    assert crashes > 15
