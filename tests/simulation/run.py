"""One schedule: a seed decides what users ask for and what breaks, for ten minutes; then all is calm, and everything must come right.

python -m tests.simulation.run SEED          replay one
python -m tests.simulation.run --runs 10000  many, with progress
"""

import argparse
import contextlib
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import structlog

from framework.decide.advance_deployment import max_capacity, min_healthy
from framework.engine.commands import CancelDeployment, Declare, Killed, KillInstances
from framework.engine.ledger import Ledger, Tally
from framework.engine.settings import EngineSettings
from framework.model.app import App
from framework.model.change import Change
from framework.model.constraint import Constraint
from framework.model.deployment import Deployment
from framework.model.group import Declared
from framework.model.health import HealthCheck
from framework.model.instance import Condition, Instance
from framework.model.network import PortDefinition
from framework.model.strategy import UnreachableStrategy, UpgradeStrategy
from tests.simulation.node import Node
from tests.simulation.world import Violation, World

MINUTES = 10
CALM = 450.0
APPS = ("/a", "/b", "/group/c", "/group/d")
FAULTS = (
    *("crash", "doom", "doom", "mid-action", "disconnect", "fail over", "partition", "lose", "task", "task"),
    *("sick", "cut probes", "store", "clock"),
)
SETTINGS = EngineSettings(
    drain_seconds=1.0,
    kill_retry=15.0,
    health_kill_share=0.5,
    # Shorter than by default, so that ten minutes see many of them.
    confirm_interval=15.0,
    launch_confirm_timeout=60.0,
    launch_timeout=60.0,
    reconcile_interval=150.0,
    scale_check_interval=100.0,
)


@dataclass
class Ask:
    """A user's command that is under way: what it would make of the count and the command line of an app (None: removed)."""

    app_id: str
    kind: str
    expects: tuple[int, str] | None


class Schedule:
    node_class = Node

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.random = self.world.random
        self.node = self.node_class(self.world, agents=self.random.randint(2, 5), settings=SETTINGS)
        self.asks: dict[int, Ask] = {}
        self.tickets = 0
        # What users were told is accepted, and what may have been accepted without their being told.
        self.accepted: dict[str, tuple[int, str] | None] = {}
        self.possible: dict[str, set[tuple[int, str] | None]] = {}
        self.user_kills: set[str] = set()
        self._checked = (0, 0)
        self._before: dict[str, Instance] = {}
        self._present: dict[str, int] = {}
        self.faults = self.random.choice([0.3, 1.0, 2.0])

    # --- the run

    def run(self) -> None:
        self.node.start()
        self._later(self._user, 8)
        self._later(self._fault, 20)
        self.world.run(MINUTES * 60, self.check)
        self._calm_down()
        self.world.run(CALM, self.check)
        self.check_converged()

    def _later(self, do, mean: float) -> None:
        def again() -> None:
            if not self.world.calm:
                do()
                self._later(do, mean)

        self.world.after(self.random.expovariate(1 / mean), again)

    def _calm_down(self) -> None:
        world, node = self.world, self.node
        world.note("--- calm")
        world.calm = True
        node.probe_cut = False
        node.store.failure = None
        node.actions_left = None
        for agent in list(node.master.agents.values()):
            node.master.heal(agent)
            for task in agent.tasks.values():
                task.healthy = True

    # --- users

    def _user(self) -> None:
        if self.node.engine is None:
            return
        app_id = self.random.choice(APPS)
        kind = self.random.choices(
            ["create", "scale", "update", "delete", "restart", "kill", "cancel", "kill+scale"],
            [4, 4, 4, 1, 1, 1, 2, 1],
        )[0]
        self.tickets += 1
        command = getattr(self, "_" + kind.replace("+", "_and_"))(app_id)
        if command is not None:
            self.node.command(self.tickets, command)

    def _ask(self, kind: str, app_id: str, expects: tuple[int, str] | None) -> None:
        self.asks[self.tickets] = Ask(app_id, kind, expects)
        self.world.note(f"user: {kind} {app_id} -> {expects}")

    def _create(self, app_id: str) -> Declare | None:
        if app_id in self._declared.apps:
            return None
        rnd = self.random
        app = App(
            app_id,
            cmd=f"run {self.tickets}",
            cpus=0.2,
            mem=64,
            instances=rnd.randint(0, 5),
            port_definitions=(PortDefinition(0),) if rnd.random() < 0.6 else (),
            constraints=(Constraint("rack", "GROUP_BY"),) if rnd.random() < 0.2 else (),
            health_checks=(HealthCheck("TCP", port_index=0, grace_period_seconds=5, interval_seconds=5),)
            if rnd.random() < 0.4
            else (),
            upgrade_strategy=UpgradeStrategy(rnd.choice([0, 0.5, 1.0]), rnd.choice([0, 0.3, 1.0])),
            unreachable_strategy=rnd.choice([UnreachableStrategy(), UnreachableStrategy(30, 120)]),
            max_launch_delay_seconds=20,
        )
        self._ask("create", app_id, (app.instances, app.cmd or ""))
        return Declare(lambda declared: Change(apps={app_id: app}), force=rnd.random() < 0.5)

    def _edit(self, app_id: str, kind: str, force: bool, **fields: object) -> Declare | None:
        known = self._declared.apps.get(app_id)
        if known is None:
            return None
        changed = replace(known, **fields)  # type: ignore[arg-type]
        self._ask(kind, app_id, (changed.instances, changed.cmd or ""))

        def edit(declared: Declared) -> Change:
            if declared.apps.get(app_id) is not known:
                raise KeyError(app_id)
            return Change(apps={app_id: changed}, restart=frozenset({app_id} if kind == "restart" else ()))

        return Declare(edit, force=force)

    def _scale(self, app_id: str) -> Declare | None:
        return self._edit(app_id, "scale", self.random.random() < 0.5, instances=self.random.randint(0, 6))

    def _update(self, app_id: str) -> Declare | None:
        fields: dict[str, object] = {"cmd": f"run {self.tickets}"}
        if self.random.random() < 0.3:
            fields["instances"] = self.random.randint(1, 6)
        return self._edit(app_id, "update", self.random.random() < 0.5, **fields)

    def _restart(self, app_id: str) -> Declare | None:
        return self._edit(app_id, "restart", self.random.random() < 0.5)

    def _delete(self, app_id: str) -> Declare | None:
        if app_id not in self._declared.apps:
            return None
        self._ask("delete", app_id, None)
        return Declare(lambda declared: Change(apps={app_id: None}), force=True)

    def _victims(self, app_id: str) -> tuple[str, ...]:
        assert self.node.engine is not None
        ids = [i.id for i in self.node.engine.state.ledger.instances_of(app_id) if not i.leaving]
        return tuple(self.random.sample(ids, min(len(ids), self.random.randint(1, 2))))

    def _kill(self, app_id: str) -> KillInstances:
        victims = self._victims(app_id)
        self.user_kills.update(victims)
        self.world.note(f"user: kill {victims}")
        return KillInstances(victims)

    def _kill_and_scale(self, app_id: str) -> KillInstances | None:
        victims = self._victims(app_id)
        known = self._declared.apps.get(app_id)
        if not victims or known is None:
            return None
        self.user_kills.update(victims)
        self._ask("kill and scale", app_id, (max(0, known.instances - len(victims)), known.cmd or ""))
        return KillInstances(victims, scale=True, force=True)

    def _cancel(self, app_id: str) -> CancelDeployment | None:
        locks = self.node.engine.state.ledger.locks(app_id) if self.node.engine else ()
        if not locks:
            return None
        force = self.random.random() < 0.4
        if not force:
            deployment = self.node.engine.state.ledger.deployments[locks[0]] if self.node.engine else None
            assert deployment is not None
            before = deployment.changes[app_id].before
            self._ask("roll back", app_id, (before.instances, before.cmd or "") if isinstance(before, App) else None)
        self.world.note(f"user: cancel {locks[0]} force={force}")
        return CancelDeployment(locks[0], force=force)

    @property
    def _declared(self) -> Declared:
        assert self.node.engine is not None
        return self.node.engine.state.ledger.declared

    # --- faults

    def _fault(self) -> None:
        if self.random.random() > self.faults / 2:
            return
        node, rnd, master = self.node, self.random, self.node.master
        agents = [agent for agent in master.agents.values() if agent.up]
        kind = rnd.choice(FAULTS)
        match kind:
            case "crash":
                node.crash("killed")
            case "doom":
                node.store.doom = rnd.choice(["before", "after"])
            case "mid-action":
                node.actions_left = rnd.randint(0, 6)
            case "disconnect":
                self.world.note("the connection breaks")
                node.disconnect("cut")
            case "fail over":
                master.fail_over()
                node.disconnect("master failover")
            case "partition" if agents:
                agent = rnd.choice(agents)
                if agent.connected:
                    master.partition(agent)
                    self.world.after(rnd.choice([5, 40, 100, 250]), lambda: master.heal(agent))
            case "lose" if len(agents) > 1 and rnd.random() < 0.3:
                master.lose(rnd.choice(agents))
            case "task":
                live = master.live_tasks()
                if live:
                    task = rnd.choice(live)
                    self.world.note(f"{task.id} dies")
                    master.end(task, rnd.choice(["TASK_FAILED", "TASK_FINISHED"]), None)
            case "sick":
                live = master.live_tasks()
                if live:
                    rnd.choice(live).healthy = False
            case "cut probes":
                node.probe_cut = True
                self.world.note("all probes fail")

                def mend() -> None:
                    node.probe_cut = False

                self.world.after(rnd.uniform(5, 60), mend)
            case "store":
                node.break_store(rnd.uniform(1, 30))
            case "clock":
                self.world.note("the clock jumps")
                self.world.now += rnd.uniform(0, 30)

    # --- invariants

    def check(self) -> None:
        """After everything that happens; what only the engine can change, after each of its batches."""
        engine = self.node.engine
        batches = (self.node.life, engine.figures.batches if engine else 0)
        if batches == self._checked or engine is None:
            return
        self._checked = batches
        self._take_answers()
        ledger = engine.state.ledger
        self._check_accepted(ledger.declared)
        self._check_instances(ledger)

    def _take_answers(self) -> None:
        for ticket, answer in list(self.node.answered.items()):
            del self.node.answered[ticket]
            ask = self.asks.pop(ticket, None)
            if ask is None:
                continue
            if isinstance(answer, Exception):
                continue
            self.world.note(f"accepted: {ask.kind} {ask.app_id}")
            expected = ask.expects
            if isinstance(answer, Killed) and answer.deployment is not None and ask.app_id in answer.deployment.changes:
                # Worked out on what was declared when its turn came.
                after = answer.deployment.changes[ask.app_id].after
                expected = (after.instances, after.cmd or "") if isinstance(after, App) else None
            self.accepted[ask.app_id] = expected
            self.possible.pop(ask.app_id, None)

    def _check_accepted(self, declared: Declared) -> None:
        """Every change that was accepted is there; one that nobody was told about may be."""
        for ask in self.asks.values():
            self.possible.setdefault(ask.app_id, set()).add(ask.expects)
        for app_id in APPS:
            app = declared.apps.get(app_id)
            found = (app.instances, app.cmd or "") if app else None
            known = self.accepted.get(app_id)
            if found != known and found not in self.possible.get(app_id, ()):
                raise self.world.violated(f"{app_id} is declared as {found}, accepted was {known}")

    def _check_instances(self, ledger: Ledger) -> None:
        before = self._before
        if ledger.instances == before and not ledger.deployments:
            return
        self._before = dict(ledger.instances)
        for instance_id, instance in before.items():
            if instance_id not in ledger.instances:
                self._check_removal(instance)
        for app_id in APPS:
            instances = list(ledger.instances_of(app_id))
            specs = self._specs(ledger, app_id)
            self._check_capacity(app_id, instances, specs)
            self._check_health(app_id, instances, specs, before)

    def _check_removal(self, instance: Instance) -> None:
        """Only what has ended, or what its agent was given up with, is forgotten."""
        task = self.node.master.task(instance.tasks[0].id)
        if task is None or not task.alive:
            return
        given_up = self.node.master.agents[task.agent_id].given_up_at
        if given_up is None or self.world.now - given_up > 300:
            raise self.world.violated(f"{instance.id} runs and was forgotten")

    def _check_capacity(self, app_id: str, instances: list[Instance], specs: list[App]) -> None:
        present = [i for i in instances if i.condition is not Condition.UNREACHABLE_INACTIVE]
        bounds = [
            (min_healthy(s.instances, s.upgrade_strategy), max_capacity(s.instances, s.upgrade_strategy)) for s in specs
        ]
        most = max((most for _, most in bounds), default=0) + any(least == most for least, most in bounds)
        if len(present) > max(most, self._present.get(app_id, 0)):
            raise self.world.violated(f"{app_id} has {len(present)} instances, {most} are allowed")
        self._present[app_id] = len(instances)

    def _check_health(
        self, app_id: str, instances: list[Instance], specs: list[App], before: dict[str, Instance]
    ) -> None:
        """By our own doing there are never fewer healthy ones than the least of what is, was and shall be declared."""
        ok = sum(i.ok for i in instances)
        ended = [i for i in instances if i.leaving and i.id in before and before[i.id].ok and not self._excused(i)]
        if not ended or app_id not in self._declared.apps:
            return
        least = min(min_healthy(s.instances, s.upgrade_strategy) for s in specs)
        if ok < least:
            raise self.world.violated(
                f"{app_id}: {[(i.id, i.kill_reason) for i in ended]} were ended, {ok} are left, {least} are to stay"
            )

    def _excused(self, instance: Instance) -> bool:
        """A user asked for it, or its health check has just failed."""
        return instance.id in self.user_kills or (instance.checked and instance.healthy is False)

    def _specs(self, ledger: Ledger, app_id: str) -> list[App]:
        """What is declared of an app, and what its deployment comes from and goes to."""
        found = [ledger.declared.apps.get(app_id)]
        for deployment_id in ledger.locks(app_id):
            change = ledger.deployments[deployment_id].changes[app_id]
            found += [change.before, change.after]  # type: ignore[list-item]
        return [spec for spec in found if spec is not None]

    def check_converged(self) -> None:
        engine, master, world = self.node.engine, self.node.master, self.world
        if engine is None:
            raise world.violated("the framework is not up")
        ledger = engine.state.ledger
        if ledger.deployments:
            raise world.violated(f"deployments do not end: {[_brief(d, ledger) for d in ledger.deployments.values()]}")
        for app_id in APPS:
            app = ledger.declared.apps.get(app_id)
            wanted = app.instances if app else 0
            running = [i for i in ledger.instances_of(app_id) if i.ok]
            if len(running) != wanted or len(list(ledger.instances_of(app_id))) != wanted:
                found = [(i.id, i.condition.value, i.healthy) for i in ledger.instances_of(app_id)]
                raise world.violated(f"{app_id} wants {wanted} and has {found}; queue {engine.state.launcher.queue()}")
        alive = {task.id for task in master.live_tasks()}
        known = {task.id for i in ledger.instances.values() for task in i.tasks}
        if alive != known:
            raise world.violated(f"orphans {alive - known}, ghosts {known - alive}")
        self._check_indexes(ledger)

    def _check_indexes(self, ledger) -> None:
        fresh: dict[str, dict[str, Tally]] = {}
        for instance in ledger.instances.values():
            fresh.setdefault(instance.spec_id, {}).setdefault(instance.config_version, Tally()).count(instance, 1)

        def plain(tallies):
            return {
                spec: {config: [getattr(t, name) for name in Tally.__slots__] for config, t in by.items()}
                for spec, by in tallies.items()
            }

        if plain(fresh) != plain(ledger._tallies):
            raise self.world.violated("the tallies do not add up")
        tasks = {task.id: i.id for i in ledger.instances.values() for task in i.tasks}
        if tasks != ledger._by_task:
            raise self.world.violated("the index by task is wrong")


def _brief(deployment: Deployment, ledger: Ledger) -> str:
    specs = {i: (c.before and c.before.instances, c.after and c.after.instances) for i, c in deployment.changes.items()}
    found = [
        (i.id, i.condition.value, i.healthy, i.config_version, i.goal.value)
        for spec_id in deployment.changes
        for i in ledger.instances_of(spec_id)
    ]
    return f"{deployment.steps} at {deployment.current_step}, {specs}, {found}, {deployment.progress}"


def simulate(seed: int, schedule: type[Schedule] = Schedule) -> None:
    """Raises Violation."""
    with quiet():
        schedule(seed).run()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The daemon's log would only cost time; the story is in the world's."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", nargs="?", type=int)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    if options.seed is not None:
        schedule = Schedule(options.seed)
        try:
            with quiet():
                schedule.run()
        except Violation as violation:
            sys.exit(str(violation))
        print("\n".join(schedule.world.log))
        return
    failed: Counter[str] = Counter()
    started = time.monotonic()
    for number, seed in enumerate(range(options.first, options.first + options.runs), 1):
        try:
            simulate(seed)
        except Violation as violation:
            failed[str(seed)] += 1
            print(f"\nseed {seed}: {str(violation).splitlines()[0]}")
        if number % 50 == 0:
            rate = number / (time.monotonic() - started)
            print(f"\r{number} schedules, {rate:.1f}/s, {len(failed)} failed", end="", flush=True)
    print()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
