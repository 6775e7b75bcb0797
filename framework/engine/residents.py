"""Instances that keep persistent volumes: when their task ends they are parked, and are launched again where their volumes are.

What is reserved names its instance by labels. So what belongs to nobody any more is recognized in any offer, and given back, whatever
happened in between.
"""

from framework.decide.disks import persistent_volumes
from framework.decide.match_offers import Claim, Requirement
from framework.engine.core import Core
from framework.model.instance import Condition, Goal, Instance
from framework.model.offer import UNRESERVED, Offer, Pool
from framework.model.run_spec import RunSpec
from framework.model.values import replace


class Residents:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._releasing: dict[
            str, tuple[str, float]
        ] = {}  # instance id -> its role, until when its resources are waited for

    # --- the life of an instance

    def stays(self, instance: Instance, state: str = "") -> bool:
        """Whether it is parked when its task has ended (as `state` of Mesos says), rather than forgotten."""
        spec = self._core.ledger.spec_of(instance)
        if spec is None or not persistent_volumes(spec) or self._core.ledger.declared_spec(instance.spec_id) is None:
            return False
        if instance.wipe or instance.goal is Goal.DECOMMISSIONED or state == "TASK_GONE_BY_OPERATOR":
            return False
        # Before the first task was heard of on its agent, nothing may have been reserved at all.
        launched = instance.active_since is not None or instance.incarnation > 1
        return launched or instance.condition in (Condition.FAILED, Condition.FINISHED, Condition.KILLED)

    def park(self, instance: Instance, why: str) -> None:
        core = self._core
        core.killer.gone(instance.id)
        core.prober.stop(instance)
        core.put(
            replace(
                instance,
                goal=Goal.STOPPED,
                healthy=None,
                unreachable_since=None,
                draining_since=None,
                since=core.now,
            ),
            f"parked: {why}",
        )

    def forget(self, spec_id: str) -> None:
        """The spec is gone: so are its volumes."""
        for instance in [i for i in self._core.ledger.instances_of(spec_id) if i.parked]:
            self._core.send_away(instance, "its app was removed")

    def gone(self, instance: Instance) -> None:
        """An instance was forgotten: what is reserved for it is to be given back, for which its offer must come."""
        spec = self._core.ledger.spec_of(instance)
        if spec is not None and persistent_volumes(spec):
            self._releasing[instance.id] = (instance.role, self._core.now + self._core.settings.release_patience)
            self._core.launcher.hungry()

    # --- offers

    def claim(self, spec: RunSpec, requirement: Requirement, count: int) -> Claim:
        """Any of the parked instances may be launched again, `count` at most: of those that have room the oldest first."""
        ledger = self._core.ledger
        parked = tuple(i for i in ledger.instances_of(spec.id) if i.parked)
        most = min(count, len(parked))
        return Claim(spec, requirement, parked, most, ledger.framework_id or "", alone=most == count)

    def releases(self, offer: Offer) -> tuple[Pool, ...]:
        """What of an offer was reserved by this framework for an instance that is no more."""
        ledger, found = self._core.ledger, []
        for pool in offer.pools:
            if pool.owner is None or pool.owner[0] != ledger.framework_id or not _is_instance(pool.owner[1]):
                continue
            instance = ledger.instances.get(pool.owner[1])
            if instance is None or instance.agent.id != offer.agent.id:
                self._core.warn("volumes of an instance that is no more are given back", instance=pool.owner[1])
                if pool.volumes:  # a pod's come last, when its executor has ended
                    self._releasing.pop(pool.owner[1], None)
                found.append(pool)
        return tuple(found)

    def waiting_roles(self) -> set[str]:
        """Roles whose offers are waited for, to give back what is in them."""
        if not self._releasing:
            return set()
        now = self._core.now
        self._releasing = {i: waiting for i, waiting in self._releasing.items() if waiting[1] > now}
        return {role for role, _ in self._releasing.values()}

    # --- why not

    def impossible(self, spec: RunSpec) -> str | None:
        """Why an instance of the spec can be launched nowhere."""
        if persistent_volumes(spec) and spec.role == UNRESERVED:
            return "persistent volumes need a role, as Mesos reserves for roles: set --mesos-role, or the app's role"
        return None

    def problem(self, spec: RunSpec) -> str | None:
        """What the spec waits for besides room, one line."""
        impossible = self.impossible(spec)
        if impossible is not None:
            return impossible
        hosts = sorted({i.agent.host for i in self._core.ledger.instances_of(spec.id) if i.parked})
        return f"an offer of {', '.join(hosts[:5])}, where its volumes are" if hosts else None


def _is_instance(text: str) -> bool:
    """Whether a reservation's label names an instance, rather than something of another make."""
    return ".instance-" in text
