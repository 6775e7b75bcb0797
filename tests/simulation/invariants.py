"""What must hold after every step, and what must have come right in the end."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from framework.decide.advance_deployment import max_capacity, min_healthy
from framework.decide.rollout import pause
from framework.engine import records
from framework.engine.commands import Accepted, Killed
from framework.engine.errors import NotLeader
from framework.engine.ledger import Ledger, Tally, load_ledger
from framework.engine.loop import Engine
from framework.model.app import App
from framework.model.deployment import Deployment
from framework.model.group import Declared
from framework.model.instance import Condition, Instance
from framework.model.pod import Pod
from framework.model.run_spec import RunSpec
from tests.simulation.ensemble import NodeStore
from tests.simulation.node import Cluster, Node
from tests.simulation.world import run_now

Brief = tuple[int, str] | None  # count and command line of an app; None: not declared


ANY: Brief = (-1, "anything")
RESIDENT = "/db"  # ids of apps with persistent volumes begin so


@dataclass
class Ask:
    """A user's command that is under way: what it would make of an app. `node` and its `life` are whom it was asked of."""

    app_id: str
    kind: str
    expects: Brief
    node: Node
    life: int

    @property
    def is_relative(self) -> bool:
        """What comes of it depends on what is declared when its turn comes."""
        return self.kind == "kill and scale"


COMMAND = "cmd"  # label of a pod that stands for its command line


def brief(spec: object) -> Brief:
    if isinstance(spec, Pod):
        return (spec.instances, spec.labels[COMMAND])
    return (spec.instances, spec.cmd or "") if isinstance(spec, App) else None


def spec_in(declared: Declared, spec_id: str) -> RunSpec | None:
    return declared.apps.get(spec_id) or declared.pods.get(spec_id)


class Invariants:
    def __init__(self, cluster: Cluster, app_ids: Iterable[str]) -> None:
        self._cluster, self._world = cluster, cluster.world
        self._app_ids = tuple(app_ids)
        self.asks: dict[int, Ask] = {}
        self.user_kills: set[str] = set()
        # What users were told is accepted, and what may have been accepted without their being told.
        self.accepted: dict[str, Brief] = {}
        self.possible: dict[str, set[Brief]] = {}
        self._versions: dict[str, str] = {}  # of what was accepted last
        self._reverts: dict[str, set[Brief]] = {}  # to what a deployment is rolled back by itself
        self.goes: set[tuple[str, str]] = set()  # that users gave: app and the configuration that goes on
        self._declared: Declared | None = None  # as it was when it was last looked at
        self._author: Engine | None = None  # who wrote last
        self._before: dict[str, dict[str, Instance]] = {app_id: {} for app_id in self._app_ids}
        self._present: dict[str, int] = {}

    def check(self) -> None:
        """After whatever may have changed something: only what was written is looked at."""
        answered = self._take_answers()
        ensemble = self._cluster.ensemble
        written, ensemble.written = ensemble.written, []
        touched: set[str] = set()
        changed = False
        for author, writes in written:
            self._author = author
            for write in writes:
                if write.table == records.INSTANCES:
                    touched.add(self._app_of(write.key))
                elif write.table in (records.DECLARED, records.DEPLOYMENTS):
                    changed = True  # which alone makes no instance too many or too few, by our own doing
        if self._author is None:
            return
        ledger = self._author.state.ledger
        if answered or ledger.declared is not self._declared:
            self._declared = ledger.declared
            self._check_accepted(ledger.declared)
        if changed or answered:
            self._check_rollouts(ledger)
        for app_id in self._app_ids:
            if app_id in touched:
                self._check_app(app_id, ledger)

    def _app_of(self, instance_id: str) -> str:
        return "/" + instance_id.partition(".instance-")[0].replace("_", "/")

    # --- accepted changes

    def _take_answers(self) -> bool:
        """Whether there were any."""
        answered = self._cluster.answered
        any_at_all = bool(answered)
        for ticket, answer in list(answered.items()):
            del answered[ticket]
            ask = self.asks.pop(ticket, None)
            if ask is None:
                continue
            if isinstance(answer, NotLeader):
                self._may_be(
                    ask
                )  # its leader may have been deposed by a write of which it is not known whether it was kept
            if isinstance(answer, Exception):
                continue
            version = _version(answer)
            if version and version < self._versions.get(ask.app_id, ""):
                continue  # of a leader that was stopped between its commit and its answer; others have been accepted since
            self._versions[ask.app_id] = max(version, self._versions.get(ask.app_id, ""))
            self._world.note(f"accepted: {ask.kind} {ask.app_id}")
            expected = ask.expects
            # Some are worked out on what was declared when their turn came.
            if ask.kind == "roll back" and isinstance(answer, Accepted):
                expected = self._rolled_back(ask, brief(spec_in(answer.declared, ask.app_id)))
            if isinstance(answer, Killed):
                if answer.deployment is None or ask.app_id not in answer.deployment.changes:
                    continue  # they were gone already, or going
                expected = brief(answer.deployment.changes[ask.app_id].after)
            self.accepted[ask.app_id] = expected
            self.possible.pop(ask.app_id, None)
            self._reverts.pop(ask.app_id, None)
        return any_at_all

    def _rolled_back(self, ask: Ask, found: Brief) -> Brief:
        """To what it was before the deployment; or not at all, where something newer has changed it since."""
        known = {ask.expects, self.accepted.get(ask.app_id), *self.possible.get(ask.app_id, ())}
        if found not in known and ANY not in known:
            raise self._world.violated(f"{ask.app_id} is rolled back to {found}, was {ask.expects}")
        return found

    def _may_be(self, ask: Ask) -> None:
        self.possible.setdefault(ask.app_id, set()).add(ANY if ask.is_relative else ask.expects)

    def _check_accepted(self, declared: Declared) -> None:
        """Every change that was accepted is there; one that nobody was told about may be."""
        for ask in self.asks.values():
            self._may_be(ask)
        for app_id in self._app_ids:
            found = brief(spec_in(declared, app_id))
            known = self.accepted.get(app_id)
            possible = self.possible.get(app_id, ())
            if found != known and found in self._reverts.get(app_id, ()):
                self.accepted[app_id] = found
                continue
            if found != known and found not in possible and ANY not in possible:
                raise self._world.violated(f"{app_id} is declared as {found}, accepted was {known}")

    def _check_rollouts(self, ledger: Ledger) -> None:
        """What waits for a go waits."""
        for deployment in ledger.deployments.values():
            late = deployment.deadline is not None and deployment.on_failure == "rollback"
            for app_id in deployment.changes if late else deployment.rollouts:
                self._reverts.setdefault(app_id, set()).add(brief(deployment.changes[app_id].before))
            for app_id, rollout in deployment.rollouts.items():
                progress, after = deployment.progress.get(app_id), deployment.changes[app_id].after
                if progress is None or not progress.phase or rollout.healthy_seconds is not None:
                    continue
                if after is not None and (app_id, after.last_config_change_at) not in self.goes:
                    raise self._world.violated(f"the new version of {app_id} went on without a go")

    def _check_share(self, app_id: str, instances: dict[str, Instance], before: dict[str, Instance]) -> None:
        """Of a version that is tried there are never more instances than its share, by our own doing."""
        assert self._author is not None
        ledger = self._author.state.ledger
        for deployment_id in ledger.locks(app_id):
            deployment = ledger.deployments[deployment_id]
            rollout, progress = deployment.rollouts.get(app_id), deployment.progress.get(app_id)
            after = deployment.changes[app_id].after
            if rollout is None or progress is None or after is None:
                continue
            if not any(a.kind == "restart" and a.spec_id == app_id for a in deployment.current_actions):
                continue
            if pause(after.instances, after.upgrade_strategy, rollout, progress) is None:
                continue  # one that cannot be held back, or had its last go
            share = 1.0 if rollout.blue_green else rollout.shares[progress.phase]
            most = max(1, ceil(after.instances * share - 1e-9))
            there = [i.id for i in instances.values() if i.config_version == after.last_config_change_at and _stays(i)]
            if len(there) > most and not before.keys() >= set(there):
                raise self._world.violated(f"{app_id} has {len(there)} of a new version that is to have {most}")

    # --- instances

    def _check_app(self, app_id: str, ledger: Ledger) -> None:
        before = self._before[app_id]
        instances = dict(ledger._by_spec.get(app_id, ()))
        self._before[app_id] = instances
        for instance_id, instance in before.items():
            if instance_id not in instances:
                self._check_removal(instance)
        live = len(instances)
        if app_id.startswith(RESIDENT):
            live -= sum(i.parked for i in instances.values())
        if live > self._present.get(app_id, 0):
            self._check_capacity(app_id, instances, self._bounds(ledger, app_id))
        self._present[app_id] = live
        ended = [
            i
            for i in instances.values()
            # One that was ended before was not ok any more; one that is held serves nobody.
            if (old := before.get(i.id)) is not i and old is not None and old.ok and i.leaving and not old.held
        ]
        if ended and spec_in(ledger.declared, app_id) is not None:
            self._check_health(app_id, instances, ended, min(least for least, _ in self._bounds(ledger, app_id)))
        if ledger.locks(app_id):
            self._check_share(app_id, instances, before)

    def _bounds(self, ledger: Ledger, app_id: str) -> list[tuple[int, int]]:
        """How many are to be healthy and how many there may be, by all that is, was and shall be declared."""
        bounds = [
            (min_healthy(s.instances, s.upgrade_strategy), max_capacity(s.instances, s.upgrade_strategy))
            for s in self._specs(ledger, app_id)
        ]
        if app_id.startswith(RESIDENT):
            # Where they meet, one that cannot have another beside it ends first.
            return [(least - (least == most), most) for least, most in bounds]
        return bounds

    def _check_removal(self, instance: Instance) -> None:
        """Only what has ended, or what its agent was given up with, is forgotten."""
        master = self._cluster.master
        for task in (master.task(task.id) for task in instance.tasks):
            if task is None or not task.alive:
                continue
            agent = master.agents[task.agent_id]
            given_up = agent.given_up_at
            if agent.unreachable:
                continue
            if given_up is None or self._world.now - given_up > 300:
                raise self._world.violated(f"{instance.id} runs and was forgotten")

    def _check_capacity(self, app_id: str, instances: dict[str, Instance], bounds: list[tuple[int, int]]) -> None:
        """`instances` have become more."""
        away = Condition.UNREACHABLE_INACTIVE
        present = sum(i.condition is not away and not i.parked for i in instances.values())
        most = max((most for _, most in bounds), default=0) + any(least == most for least, most in bounds)
        if present > most and present > self._present.get(app_id, 0):
            raise self._world.violated(f"{app_id} has {present} instances, {most} are allowed")

    def _check_health(self, app_id: str, instances: dict[str, Instance], ended: list[Instance], least: int) -> None:
        """By our own doing there are never fewer healthy ones than the least of what is, was and shall be declared."""
        ended = [i for i in ended if not self._is_excused(i)]
        ok = sum(i.ok for i in instances.values())
        if ended and ok < least:
            raise self._world.violated(
                f"{app_id}: {[(i.id, i.kill_reason) for i in ended]} were ended, {ok} are left, {least} are to stay"
            )

    def _is_excused(self, instance: Instance) -> bool:
        """A user asked for it, or its health check has just failed, or its agent or one of its tasks is gone."""
        if instance.id in self.user_kills or (instance.checked and instance.healthy is False):
            return True
        master = self._cluster.master
        tasks = [master.task(task.id) for task in instance.tasks]
        return master.agents[instance.agent.id].unreachable or not all(task and task.alive for task in tasks)

    def _specs(self, ledger: Ledger, app_id: str) -> list[RunSpec]:
        """What is declared of an app, and what its deployment comes from and goes to."""
        found = [spec_in(ledger.declared, app_id)]
        for deployment_id in ledger.locks(app_id):
            change = ledger.deployments[deployment_id].changes[app_id]
            found += [change.before, change.after]
        return [spec for spec in found if spec is not None]

    # --- the end

    def open_question(self) -> str | None:
        """What has not come right yet."""
        leader = self._cluster.leader
        if leader is None or leader.engine is None:
            return "nobody leads"
        others = [node.name for node in self._cluster.believers() if node is not leader]
        if others:
            return f"{others} believe that they lead"
        state = leader.engine.state
        ledger = state.ledger
        if not state.core.connected:
            return "the leader is not subscribed"
        if ledger.deployments:
            return f"deployments do not end: {[_story(d, ledger) for d in ledger.deployments.values()]}"
        for app_id in self._app_ids:
            spec = spec_in(ledger.declared, app_id)
            wanted = spec.instances if spec else 0
            instances = [i for i in ledger.instances_of(app_id) if not i.parked]
            if len(instances) != wanted or not all(i.ok for i in instances):
                found = [(i.id, i.condition.value, i.healthy) for i in instances]
                return f"{app_id} wants {wanted} and has {found}; queue {state.launcher.queue()}"
        alive = {task.id for task in self._cluster.master.live_tasks()}
        live = (i for i in ledger.instances.values() if not i.parked)
        known = {task.id for i in live for task in i.tasks if task.mesos_state != "TASK_FINISHED"}
        if alive != known:
            return f"orphans {alive - known}, ghosts {known - alive}"
        kept = {instance_id for agent in self._cluster.master.agents.values() for instance_id in agent.reserved}
        bare = {i.id for i in ledger.instances.values() if i.spec_id.startswith(RESIDENT)} - kept
        if bare:
            return f"nothing is kept for {bare}"
        return None

    def check_end(self) -> None:
        problem = self.open_question()
        if problem is not None:
            raise self._world.violated(problem)
        leader = self._cluster.leader
        assert leader is not None and leader.engine is not None
        ledger = leader.engine.state.ledger
        self._check_indexes(ledger)
        waiting = [ask for ask in self.asks.values() if ask.node.life == ask.life]
        if waiting:
            raise self._world.violated(f"somebody waits for an answer for ever: {waiting[0].kind} {waiting[0].app_id}")
        stored = run_now(load_ledger(NodeStore(leader)))
        for what in ("framework_id", "declared", "instances", "deployments", "versions", "history", "failures"):
            if getattr(stored, what) != getattr(ledger, what):
                raise self._world.violated(f"the store has other {what} than its leader")

    def _check_indexes(self, ledger: Ledger) -> None:
        fresh: dict[str, dict[str, Tally]] = {}
        for instance in ledger.instances.values():
            fresh.setdefault(instance.spec_id, {}).setdefault(instance.config_version, Tally()).count(instance, 1)

        def plain(tallies: dict[str, dict[str, Tally]]) -> object:
            return {
                spec: {config: [getattr(t, name) for name in Tally.__slots__] for config, t in by.items()}
                for spec, by in tallies.items()
            }

        if plain(fresh) != plain(ledger._tallies):
            raise self._world.violated("the tallies do not add up")
        tasks = {task.id: i.id for i in ledger.instances.values() for task in i.tasks}
        if tasks != ledger._by_task:
            raise self._world.violated("the index by task is wrong")


def _version(answer: object) -> str:
    if isinstance(answer, Killed):
        return answer.deployment.version if answer.deployment else ""
    return answer.version if isinstance(answer, Accepted) else ""


def _stays(instance: Instance) -> bool:
    """Nobody is to replace it."""
    # A pod one of whose containers was killed is being ended by its agent.
    ends = instance.leaving or instance.condition is Condition.KILLING
    away = ends or instance.parked or instance.condition is Condition.UNREACHABLE_INACTIVE
    return not away and not instance.evacuating


def _story(deployment: Deployment, ledger: Ledger) -> str:
    specs = {i: (c.before and c.before.instances, c.after and c.after.instances) for i, c in deployment.changes.items()}
    found = [
        (i.id, i.condition.value, i.healthy, i.config_version, i.goal.value)
        for spec_id in deployment.changes
        for i in ledger.instances_of(spec_id)
    ]
    return f"{deployment.steps} at {deployment.current_step}, {specs}, {found}, {deployment.progress}"
