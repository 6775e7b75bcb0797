"""What the parts of the state share: the ledger, the clock of the current event, the actions that are to leave, who is to be looked at.

The parts (`deploying`, `evacuating`, `killing`, `launching`, `observing`, `probing`, `reconciling`, `residents`, `rollouts`, `secrets`)
reach each other through the Core; none of them knows of I/O, clocks or randomness.
"""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from framework.engine.actions import Action, Announce, Warn
from framework.engine.errors import InvalidTransition
from framework.engine.ledger import Ledger
from framework.engine.settings import EngineSettings
from framework.engine.timers import Timers
from framework.model import path_id
from framework.model.instance import Condition, Instance

if TYPE_CHECKING:
    from framework.engine.deploying import Deployer
    from framework.engine.evacuating import Evacuator
    from framework.engine.killing import Killer
    from framework.engine.launching import Launcher
    from framework.engine.probing import Prober
    from framework.engine.reconciling import Reconciler
    from framework.engine.residents import Residents
    from framework.engine.rollouts import Rollouts
    from framework.engine.secrets import Secrets


class Core:
    """`ids` gives unique texts (UUIDs)."""

    deployer: "Deployer"
    evacuator: "Evacuator"
    launcher: "Launcher"
    killer: "Killer"
    prober: "Prober"
    reconciler: "Reconciler"
    residents: "Residents"
    rollouts: "Rollouts"
    secrets: "Secrets"

    def __init__(self, settings: EngineSettings, ledger: Ledger, ids: Iterator[str]) -> None:
        self.settings, self.ledger, self.ids = settings, ledger, ids
        self.timers = Timers()
        self.now = 0.0
        self.connected = False
        self.leading = False
        self.home_region = settings.home_region
        self.actions: list[Action] = []
        self.stirred: dict[str, None] = {}  # ids of specs to compare with what is wanted, in order
        self._stories: dict[str, deque[tuple[float, str]]] = {}

    def act(self, action: Action) -> None:
        self.actions.append(action)

    def announce(self, type: str, **fields: object) -> None:
        self.actions.append(Announce(type, fields))

    def warn(self, what: str, **details: object) -> None:
        self.actions.append(Warn(what, details))

    def stir(self, spec_id: str) -> None:
        self.stirred[spec_id] = None

    def tell(self, subject: str, what: str) -> None:
        """Adds to the story of a subject, which an InvalidTransition carries."""
        story = self._stories.get(subject)
        if story is None:
            story = self._stories[subject] = deque(maxlen=self.settings.stories_kept)
        story.append((self.now, what))

    def forget(self, subject: str) -> None:
        self._stories.pop(subject, None)

    def invalid(self, subject: str, what: str) -> InvalidTransition:
        story = [f"{at:.3f} {told}" for at, told in self._stories.get(subject, ())]
        return InvalidTransition(subject, what, story)

    def put(self, instance: Instance, what: str) -> None:
        """Replaces an instance; announces a change of its condition."""
        before = self.ledger.instances.get(instance.id)
        self.tell(instance.id, what)
        self.ledger.put_instance(instance)
        self.stir(instance.spec_id)
        if before is None or before.condition is not instance.condition:
            self.announce_condition(instance, instance.condition)

    def send_away(self, instance: Instance, why: str) -> None:
        """Removes an instance for good. Its task has ended, or nobody waits for it any more."""
        known = self.ledger.instances[instance.id]
        if instance.terminal and not known.parked:
            self.announce_condition(instance, instance.condition)
        self.residents.gone(known)
        self.tell(instance.id, f"removed: {why}")
        self.ledger.remove_instance(known)
        self.forget(instance.id)
        self.killer.gone(instance.id)
        self.prober.stop(instance)
        self.stir(instance.spec_id)

    def announce_condition(self, instance: Instance, condition: Condition) -> None:
        self.announce(
            "instance_changed_event",
            instanceId=instance.id,
            condition=condition.value,
            runSpecId=instance.spec_id,
            agentId=instance.agent.id,
            host=instance.agent.host,
            runSpecVersion=instance.spec_version,
        )


def instance_id_of(spec_id: str, unique: str) -> str:
    """`/grp/app` -> `grp_app.instance-<unique>`"""
    return f"{'_'.join(segment for segment in spec_id.split('/') if segment)}.instance-{unique}"


def task_id_of(instance_id: str, container: str | None, incarnation: int) -> str:
    return f"{instance_id}.{container or '_app'}.{incarnation}"


def spec_id_of_task(task_id: str) -> str | None:
    """The spec that a task id names; None for ids of another make."""
    head, mark, _ = task_id.partition(".instance-")
    return path_id.ROOT + head.replace("_", "/") if mark and head else None
