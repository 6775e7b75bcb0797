"""One schedule: a seed decides what users ask for and what breaks, for ten minutes; then all is calm, and everything must come right.

`make simulate` runs them: see `__main__`.
"""

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate

import structlog

from framework.engine.commands import CancelDeployment, Command, Declare, KillInstances
from framework.engine.ledger import Ledger
from framework.engine.settings import EngineSettings
from framework.model.app import App
from framework.model.change import Change
from framework.model.constraint import Constraint
from framework.model.group import Declared
from framework.model.health import HealthCheck
from framework.model.network import PortDefinition
from framework.model.strategy import UnreachableStrategy, UpgradeStrategy
from tests.simulation.faults import FAULTS, mend_everything
from tests.simulation.invariants import Ask, Brief, Invariants, brief
from tests.simulation.node import Cluster
from tests.simulation.world import World

MINUTES = 10
CALM = 450.0  # at most so long until everything has come right
LOOK = 10.0  # so often it is looked whether it has
APPS = ("/a", "/b", "/group/c", "/group/d")
# What users ask for, and how often.
_ASKED = {"create": 4, "scale": 4, "update": 4, "delete": 1, "restart": 1, "kill": 1, "cancel": 2, "kill_and_scale": 1}
KINDS, WEIGHTS = tuple(_ASKED), tuple(accumulate(_ASKED.values()))
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


class Schedule:
    cluster_class = Cluster
    minutes = MINUTES

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.random = self.world.random
        nodes, agents = self.random.choice([1, 2, 2, 3]), self.random.randint(2, 5)
        self.cluster = self.cluster_class(self.world, nodes=nodes, agents=agents, settings=SETTINGS)
        self.invariants = Invariants(self.cluster, APPS)
        self.tickets = 0
        self.ledger = Ledger()  # what the user at work sees, …
        self.node = self.cluster.nodes[0]  # … and of whom he asks
        self.faults = self.random.choice([0.3, 1.0, 2.0])

    # --- the run

    def run(self) -> None:
        self.cluster.start()
        self._again_and_again(self.ask, 8)
        self._again_and_again(self.fault, 20)
        self.world.run(self.minutes * 60, self.invariants.check)
        self.world.note("--- calm")
        self.world.calm = True
        mend_everything(self.cluster)
        end, well = self.world.now + CALM, 0
        # It is to stay well, too.
        while self.world.now < end and well < 3:
            self.world.run(LOOK, self.invariants.check)
            well = 0 if self.invariants.open_question() else well + 1
        self.invariants.check_end()

    def _again_and_again(self, do: Callable[[], None], mean: float) -> None:
        def again() -> None:
            if not self.world.calm:
                do()
                self._again_and_again(do, mean)

        self.world.after(self.random.expovariate(1 / mean), again)

    def fault(self) -> None:
        if self.random.random() <= self.faults / 2:
            self.random.choice(FAULTS)(self.cluster, self.random)

    # --- users

    def ask(self) -> None:
        """Of a node that believes that it leads; sometimes of one that does not."""
        believing = self.random.random() < 0.95
        nodes = self.cluster.believers() if believing else [n for n in self.cluster.nodes if n.engine is not None]
        if not nodes:
            return
        self.node = node = self.random.choice(nodes)
        assert node.engine is not None
        self.ledger = node.engine.state.ledger
        app_id = self.random.choice(APPS)
        kind = self.random.choices(KINDS, cum_weights=WEIGHTS)[0]
        self.tickets += 1
        command: Command | None = getattr(self, "_" + kind)(app_id)
        if command is not None:
            node.command(self.tickets, command)

    def _expect(self, kind: str, app_id: str, expects: Brief) -> None:
        self.invariants.asks[self.tickets] = Ask(app_id, kind, expects, self.node, self.node.life)
        self.world.note(f"user: {kind} {app_id} -> {expects}")

    def _create(self, app_id: str) -> Declare | None:
        if app_id in self.ledger.declared.apps:
            return None
        rnd = self.random
        checks = (HealthCheck("TCP", port_index=0, grace_period_seconds=5, interval_seconds=rnd.choice([5, 10])),)
        app = App(
            app_id,
            cmd=f"run {self.tickets}",
            cpus=0.2,
            mem=64,
            instances=rnd.randint(0, 5),
            port_definitions=(PortDefinition(0),) if rnd.random() < 0.6 else (),
            constraints=(Constraint("rack", "GROUP_BY"),) if rnd.random() < 0.2 else (),
            health_checks=checks if rnd.random() < 0.4 else (),
            upgrade_strategy=UpgradeStrategy(rnd.choice([0, 0.5, 1.0]), rnd.choice([0, 0.3, 1.0])),
            unreachable_strategy=rnd.choice([UnreachableStrategy(), UnreachableStrategy(30, 120)]),
            max_launch_delay_seconds=20,
        )
        self._expect("create", app_id, brief(app))

        def edit(declared: Declared) -> Change:
            if app_id in declared.apps:
                raise KeyError(app_id)
            return Change(apps={app_id: app})

        return Declare(edit, force=rnd.random() < 0.5)

    def _edit(self, app_id: str, kind: str, **fields: object) -> Declare | None:
        known = self.ledger.declared.apps.get(app_id)
        if known is None:
            return None
        force = self.random.random() < 0.5
        changed = replace(known, **fields)  # type: ignore[arg-type]
        self._expect(kind, app_id, brief(changed))

        def edit(declared: Declared) -> Change:
            if declared.apps.get(app_id) is not known:
                raise KeyError(app_id)
            return Change(apps={app_id: changed}, restart=frozenset({app_id} if kind == "restart" else ()))

        return Declare(edit, force=force)

    def _scale(self, app_id: str) -> Declare | None:
        return self._edit(app_id, "scale", instances=self.random.randint(0, 6))

    def _update(self, app_id: str) -> Declare | None:
        fields: dict[str, object] = {"cmd": f"run {self.tickets}"}
        if self.random.random() < 0.3:
            fields["instances"] = self.random.randint(1, 6)
        return self._edit(app_id, "update", **fields)

    def _restart(self, app_id: str) -> Declare | None:
        return self._edit(app_id, "restart")

    def _delete(self, app_id: str) -> Declare | None:
        if app_id not in self.ledger.declared.apps:
            return None
        self._expect("delete", app_id, None)
        return Declare(lambda declared: Change(apps={app_id: None}), force=True)

    def _victims(self, app_id: str) -> tuple[str, ...]:
        ids = [i.id for i in self.ledger.instances_of(app_id) if not i.leaving]
        return tuple(self.random.sample(ids, min(len(ids), self.random.randint(1, 2))))

    def _kill(self, app_id: str) -> KillInstances:
        victims = self._victims(app_id)
        self.invariants.user_kills.update(victims)
        self.world.note(f"user: kill {victims}")
        return KillInstances(victims)

    def _kill_and_scale(self, app_id: str) -> KillInstances | None:
        victims = self._victims(app_id)
        known = self.ledger.declared.apps.get(app_id)
        if not victims or known is None:
            return None
        self.invariants.user_kills.update(victims)
        self._expect("kill and scale", app_id, (max(0, known.instances - len(victims)), known.cmd or ""))
        return KillInstances(victims, scale=True, force=True)

    def _cancel(self, app_id: str) -> CancelDeployment | None:
        locks = self.ledger.locks(app_id)
        if not locks:
            return None
        force = self.random.random() < 0.4
        if not force:
            self._expect("roll back", app_id, brief(self.ledger.deployments[locks[0]].changes[app_id].before))
        self.world.note(f"user: cancel {locks[0]} force={force}")
        return CancelDeployment(locks[0], force=force)


def simulate(seed: int, schedule: Callable[[int], Schedule] = Schedule) -> Schedule:
    """Raises Violation."""
    with quiet():
        one = schedule(seed)
        one.run()
        return one


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The daemon's log would only cost time, the story is in the world's; and so would looking for cycles all the while."""
    before, collects = structlog.get_config(), gc.isenabled()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.disable()
    try:
        yield
    finally:
        structlog.configure(**before)
        if collects:
            gc.enable()
