"""One schedule: a seed decides what users ask for and what breaks, for ten minutes; then all is calm, and everything must come right.

`make simulate` runs them: see `__main__`.
"""

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator, Mapping
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
from framework.model.pod import Pod
from framework.model.run_spec import RunSpec
from framework.model.strategy import UnreachableStrategy, UpgradeStrategy
from framework.model.values import FrozenMap, replace
from tests.simulation.faults import FAULTS, Fault, mend_everything
from tests.simulation.invariants import COMMAND, Ask, Brief, Invariants, brief, spec_in
from tests.simulation.node import Cluster
from tests.simulation.world import World

MINUTES = 10
CALM = 450.0  # at most so long until everything has come right
LOOK = 10.0  # so often it is looked whether it has
PATIENCE = 120.0  # so long users wait for a port to become free, before they do something about it
APPS = ("/a", "/b", "/group/c", "/group/d")
# What users ask for, and how often.
ASKED = {"create": 4, "scale": 4, "update": 4, "delete": 1, "restart": 1, "kill": 1, "cancel": 2, "kill_and_scale": 1}
KINDS, WEIGHTS = tuple(ASKED), tuple(accumulate(ASKED.values()))
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
    app_ids = APPS
    kinds, weights = KINDS, WEIGHTS
    breaks: tuple[Fault, ...] = FAULTS
    pace = 1.0  # how much longer than in the busiest schedules users take from one change to the next

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.random = self.world.random
        nodes, agents = self.random.choice([1, 2, 2, 3]), self.random.randint(2, 5)
        self.cluster = self.cluster_class(self.world, nodes=nodes, agents=agents, settings=SETTINGS)
        self.invariants = Invariants(self.cluster, self.app_ids)
        self.tickets = 0
        self.ledger = Ledger()  # what the user at work sees, …
        self.node = self.cluster.nodes[0]  # … and of whom he asks
        self.faults = self.random.choice([0.3, 1.0, 2.0])

    # --- the run

    def run(self) -> None:
        self.cluster.start()
        self._again_and_again(self.ask, 8 * self.pace)
        self._again_and_again(self.fault, 20)
        self.world.run(self.minutes * 60, self.invariants.check)
        self.world.note("--- calm")
        self.world.calm = True
        mend_everything(self.cluster)
        end, well = self.world.now + CALM, 0
        # It is to stay well, too.
        while self.world.now < end and well < 3:
            self.tidy()
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
            self.random.choice(self.breaks)(self.cluster, self.random)

    def tidy(self) -> None:
        """What users do when all is calm, for what waits for them: give full agents more ports where a constraint names no others."""
        leader, master = self.cluster.leader, self.cluster.master
        if not self.out_of_patience or leader is None or leader.engine is None:
            return
        stuck = {"InsufficientPorts", "UnfulfilledConstraint"}
        if any(stuck <= {*item.last_rejects} for item in leader.engine.state.launcher.queue()):
            for agent in filter(master.is_full, master.agents.values()):
                self.world.note(f"user: more ports for {agent.id}")
                agent.ports = (agent.ports[0], agent.ports[1] + 2)

    @property
    def out_of_patience(self) -> bool:
        return self.world.elapsed >= self.minutes * 60 + PATIENCE

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
        app_id = self.random.choice(self.app_ids)
        kind = self.random.choices(self.kinds, cum_weights=self.weights)[0]
        self.tickets += 1
        command: Command | None = getattr(self, "_" + kind)(app_id)
        if command is not None:
            node.command(self.tickets, command)

    def _expect(self, kind: str, app_id: str, expects: Brief) -> None:
        self.invariants.asks[self.tickets] = Ask(app_id, kind, expects, self.node, self.node.life)
        self.world.note(f"user: {kind} {app_id} -> {expects}")

    def _create(self, app_id: str) -> Declare | None:
        if self.ledger.declared_spec(app_id) is not None:
            return None
        spec = self._new(app_id)
        self._expect("create", app_id, brief(spec))

        def edit(declared: Declared) -> Change:
            if spec_in(declared, app_id) is not None:
                raise KeyError(app_id)
            return change_of(app_id, spec)

        return Declare(edit, force=self.random.random() < 0.5)

    def _new(self, app_id: str) -> RunSpec:
        rnd = self.random
        checks = (HealthCheck("TCP", port_index=0, grace_period_seconds=5, interval_seconds=rnd.choice([5, 10])),)
        return App(
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

    def _edit(self, app_id: str, kind: str, **fields: object) -> Declare | None:
        known = self.ledger.declared_spec(app_id)
        if known is None:
            return None
        force = self.random.random() < 0.5
        changed = changed_to(known, fields)
        self._expect(kind, app_id, brief(changed))

        def edit(declared: Declared) -> Change:
            if spec_in(declared, app_id) is not known:
                raise KeyError(app_id)
            return change_of(app_id, changed, restart=kind == "restart")

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
        if self.ledger.declared_spec(app_id) is None:
            return None
        self._expect("delete", app_id, None)
        return Declare(lambda declared: change_of(app_id, None), force=True)

    def _victims(self, app_id: str) -> tuple[str, ...]:
        ids = [i.id for i in self.ledger.instances_of(app_id) if not (i.leaving or i.parked)]
        return tuple(self.random.sample(ids, min(len(ids), self.random.randint(1, 2))))

    def _kill(self, app_id: str) -> KillInstances:
        victims = self._victims(app_id)
        self.invariants.user_kills.update(victims)
        self.world.note(f"user: kill {victims}")
        return KillInstances(victims)

    def _kill_and_scale(self, app_id: str) -> KillInstances | None:
        victims = self._victims(app_id)
        known = brief(self.ledger.declared_spec(app_id))
        if not victims or known is None:
            return None
        self.invariants.user_kills.update(victims)
        self._expect("kill and scale", app_id, (max(0, known[0] - len(victims)), known[1]))
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


def change_of(spec_id: str, spec: RunSpec | None, *, restart: bool = False) -> Change:
    again = frozenset({spec_id} if restart else ())
    if is_pod(spec_id):
        return Change(pods={spec_id: spec}, restart=again)  # type: ignore[dict-item]
    return Change(apps={spec_id: spec}, restart=again)  # type: ignore[dict-item]


def is_pod(spec_id: str) -> bool:
    return spec_id.startswith("/pod")


def changed_to(spec: RunSpec, fields: Mapping[str, object]) -> RunSpec:
    """A pod's command is its label."""
    if isinstance(spec, Pod) and "cmd" in fields:
        fields = {**fields, "labels": FrozenMap({**spec.labels, COMMAND: fields["cmd"]})}
        del fields["cmd"]
    return replace(spec, **fields)  # type: ignore[arg-type]


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
