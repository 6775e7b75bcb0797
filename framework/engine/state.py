"""The one place where state changes: `handle(event, now)` takes what happened and gives what is to be done.

Pure: no I/O, no clock, no randomness. The parts that know how are in the modules beside; this one is the switchboard.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from framework.engine import killing, launching, observing, reconciling
from framework.engine.actions import Action, Decline, Refuse, Reply, Resign, Subscribe, Unsubscribe
from framework.engine.commands import (
    Abdicate,
    Answer,
    CancelDeployment,
    Command,
    Declare,
    KillInstances,
    Proceed,
    ResetDelay,
)
from framework.engine.core import Core
from framework.engine.deploying import AGAIN, DEADLINE, SETTLE, Deployer
from framework.engine.errors import NotLeader, TooManyDeployments
from framework.engine.evacuating import EVACUATE, Evacuator
from framework.engine.events import (
    AgentLost,
    BatchEnded,
    CommandReceived,
    Deposed,
    Disconnected,
    Elected,
    Event,
    InverseOfferRescinded,
    InverseOffersReceived,
    LaunchUncertain,
    MessageReceived,
    OfferRescinded,
    OffersReceived,
    Probed,
    ReadinessProbed,
    SecretsResolved,
    StatusReceived,
    Subscribed,
    TimePassed,
    WentIdle,
)
from framework.engine.killing import Killer
from framework.engine.launching import Launcher
from framework.engine.ledger import Ledger
from framework.engine.observing import Observer
from framework.engine.planning import Plan
from framework.engine.probing import Prober
from framework.engine.reconciling import Reconciler
from framework.engine.residents import Residents
from framework.engine.rollouts import GIVE_UP, WELL, Rollouts
from framework.engine.secrets import SECRETS, Secrets
from framework.engine.settings import EngineSettings
from framework.model.instance import Condition
from framework.model.timestamp import to_text

SCALE_CHECK = "scale check"


class State:
    def __init__(self, settings: EngineSettings, ledger: Ledger, ids: Iterator[str]) -> None:
        self.core = core = Core(settings, ledger, ids)
        self.launcher = core.launcher = Launcher(core)
        self.killer = core.killer = Killer(core)
        self.prober = core.prober = Prober(core)
        self.reconciler = core.reconciler = Reconciler(core)
        self.deployer = core.deployer = Deployer(core)
        core.evacuator = Evacuator(core)
        core.residents = Residents(core)
        core.rollouts = Rollouts(core)
        core.secrets = Secrets(core)
        self.observer = Observer(core)
        self.leader: str | None = None
        self.leading_since: float | None = None
        self.dismissed = 0  # changes that were refused because too many deployments ran
        self.master: str | None = None
        self.framework_id: str | None = None  # as the master gave it to this leader
        self.master_info: dict[str, object] = {}
        self._timers: dict[str, Callable[[str], None]] = {
            launching.RIPE: self.launcher.ripe,
            launching.REVIVE: lambda _: None,  # the end of the batch revives
            launching.MATCH: lambda _: None,  # … and matches
            launching.CONFIRM: self.launcher.unconfirmed,
            killing.DRAINED: self.killer.drained,
            killing.RETRY: self.killer.again,
            killing.MORE: lambda _: None,  # the end of the batch sends them
            observing.INACTIVE: self.observer.inactive,
            observing.EXPUNGE: self.observer.expunge,
            observing.LAUNCH: self.observer.launch_overdue,
            reconciling.REPEAT: lambda _: self.reconciler.repeat(),
            reconciling.PERIOD: lambda _: self.reconciler.period(),
            observing.UNCERTAIN: self.reconciler.ask_about,
            AGAIN: core.stir,
            SETTLE: lambda _: None,  # the end of the batch does
            DEADLINE: self.deployer.deadline,
            WELL: core.rollouts.well,
            GIVE_UP: core.rollouts.give_up,
            EVACUATE: core.evacuator.due,
            SECRETS: core.secrets.again,
            SCALE_CHECK: lambda _: self._check_all(),
        }

    @property
    def ledger(self) -> Ledger:
        return self.core.ledger

    @property
    def now(self) -> float:
        """Of the last event."""
        return self.core.now

    def next_deadline(self) -> float | None:
        return self.core.timers.next()

    def handle(self, event: Event, now: float) -> list[Action]:
        core = self.core
        # A clock that is set back must not turn time back for what is measured here.
        if now > core.now:
            core.now = now
        self._dispatch(event)
        actions, core.actions = core.actions, []
        return actions

    def undo(self, now: float) -> list[Action]:
        """What the batch changed could not be made durable: it has not happened. Everything is worked out anew from what is."""
        self.core.now = max(self.core.now, now)
        self.core.actions = []
        self.ledger.undo()
        if not self.core.leading:
            return []
        if self.framework_id is not None and self.framework_id != self.ledger.framework_id:
            self.ledger.set_framework_id(self.framework_id)  # the master has given it, whatever the store did
        self._adopt_all()
        # What the master said itself in this batch it will not say again, unless it is asked.
        self.core.timers.set(reconciling.PERIOD, "", self.core.now + self.core.settings.reconcile_first)
        actions, self.core.actions = self.core.actions, []
        return actions

    def _dispatch(self, event: Event) -> None:
        if not self.core.leading and not isinstance(event, Elected | Deposed | CommandReceived | BatchEnded):
            return  # what a master said to a leader that is none any more is said again to the next
        match event:
            case StatusReceived(status):
                self.observer.status(status)
            case OffersReceived(offers):
                self._offered(event, offers)
            case BatchEnded():
                self._settle()
            case TimePassed():
                for what, whom in self.core.timers.due(self.core.now):
                    self._timers[what](whom)
            case Probed():
                self.prober.probed(event)
            case CommandReceived():
                self._command(event)
            case OfferRescinded(offer_id):
                self.launcher.rescinded(offer_id)
            case WentIdle(instance_id):
                self.killer.drained(instance_id)
            case ReadinessProbed():
                self.prober.ready(event)
            case InverseOffersReceived(offers):
                self.core.evacuator.received(offers)
            case InverseOfferRescinded(offer_id):
                self.core.evacuator.rescinded(offer_id)
            case SecretsResolved(problems):
                self.core.secrets.resolved(problems)
            case Subscribed():
                self._subscribed(event)
            case Disconnected(why):
                self._disconnected(why)
            case AgentLost(agent_id):
                self.launcher.agent_lost(agent_id)
            case LaunchUncertain(instance_ids, why):
                self._uncertain(instance_ids, why)
            case MessageReceived(agent_id, executor_id, data):
                self.core.announce("framework_message_event", slaveId=agent_id, executorId=executor_id, message=data)
            case Elected(address):
                self._elected(address)
            case Deposed(leader):
                self._deposed(leader)

    # --- leadership and the master

    def _elected(self, address: str) -> None:
        core = self.core
        self.leader = address
        core.leading = True
        self.leading_since = core.now
        self._adopt_all()
        core.timers.set(SCALE_CHECK, "", core.now + core.settings.scale_check_interval)
        self.launcher.adopt_roles()
        core.act(Subscribe(core.ledger.framework_id, self.launcher.roles))

    def _deposed(self, leader: str | None) -> None:
        core = self.core
        self.leader = leader
        core.leading = core.connected = False
        self.master = self.leading_since = None
        core.timers.clear()
        for instance in core.ledger.instances.values():
            self.prober.stop(instance)
        core.act(Unsubscribe())

    def _adopt_all(self) -> None:
        """Takes up what the ledger says: after a start, and after a batch that could not be kept."""
        core = self.core
        self.killer.clear()
        self.deployer.clear()
        self.launcher.clear()
        for instance in list(core.ledger.instances.values()):
            if instance.parked:
                continue
            if instance.leaving:
                self.killer.adopt(instance)
            elif instance.condition is Condition.RUNNING:
                self.prober.start(instance)
            elif instance.condition is Condition.PROVISIONED:
                core.timers.set(launching.CONFIRM, instance.id, core.now + core.settings.reconcile_first)
            else:
                self.observer.adopt(instance)
        for deployment in list(core.ledger.deployments.values()):
            self.deployer.adopt(deployment)
        self._check_all()

    def _check_all(self) -> None:
        ledger = self.ledger
        for spec_id in [*ledger.declared.apps, *ledger.declared.pods, *ledger.specs_with_instances()]:
            self.core.stir(spec_id)
        self.core.timers.set(SCALE_CHECK, "", self.core.now + self.core.settings.scale_check_interval)

    def _subscribed(self, event: Subscribed) -> None:
        core = self.core
        if not core.leading:
            return
        if core.ledger.framework_id != event.framework_id:
            core.ledger.set_framework_id(event.framework_id)
        core.connected = True
        self.framework_id = event.framework_id
        self.master, self.master_info = event.master, dict(event.master_info)
        core.home_region = core.settings.home_region or _region_of(event.master_info)
        self.launcher.subscribed()
        self.killer.subscribed()
        self.reconciler.subscribed()
        host = event.master.partition(":")[0]
        if event.again:
            core.announce("scheduler_reregistered_event", master=host)
        else:
            core.announce("scheduler_registered_event", frameworkId=event.framework_id, master=host)

    def _disconnected(self, why: str) -> None:
        if self.core.connected:
            self.core.announce("scheduler_disconnected_event")
            self.core.warn("disconnected from the master", why=why)
        self.core.connected = False
        self.master = None
        self.launcher.disconnected()
        self.reconciler.disconnected()

    def _offered(self, event: OffersReceived, offers: tuple[object, ...]) -> None:
        if self.core.connected:
            self.launcher.offered(event.offers)
        elif offers:
            self.core.act(Decline(tuple(offer.id for offer in event.offers), 1.0))

    def _uncertain(self, instance_ids: tuple[str, ...], why: str) -> None:
        core = self.core
        for instance_id in instance_ids:
            core.tell(instance_id, f"launch uncertain: {why}")
            core.timers.set(observing.UNCERTAIN, instance_id, core.now + core.settings.reconcile_first)

    # --- the end of a batch

    def _settle(self) -> None:
        if not self.core.leading:
            self.core.stirred.clear()
            return
        self.deployer.begin_batch()
        self.deployer.settle()
        self.launcher.match()
        self.deployer.settle()
        self.launcher.revive_or_suppress()
        self.killer.settle()

    # --- commands

    def plan(self, command: Declare | CancelDeployment, now: float) -> Plan | Exception | None:
        """What `command` would do now, or why it is refused: for CommandReceived, if nothing else happens in between. Changes nothing."""
        self.core.now = max(self.core.now, now)
        try:
            return self.deployer.plan(command)
        except Exception as error:  # the caller gets it, whatever its edit raised
            return error

    def _command(self, event: CommandReceived) -> None:
        ticket, command = event.ticket, event.command
        try:
            if not self.core.leading:
                raise NotLeader("this node does not lead")
            self.core.act(Reply(ticket, self._carry_out(command, event.plan)))
        except Exception as error:  # the caller gets it, whatever its edit raised
            if isinstance(command, Declare) and not command.dry_run:
                version = to_text(self.core.now)
                self.core.announce("group_change_failed", groupId=command.group, version=version, reason=str(error))
            self.dismissed += isinstance(error, TooManyDeployments)
            self.core.act(Refuse(ticket, error))

    def _carry_out(self, command: Command, plan: Plan | Exception | None) -> Answer:
        if isinstance(plan, Exception):
            raise plan
        match command:
            case Declare():
                return self.deployer.declare(command, plan)
            case KillInstances():
                return self.deployer.kill(command)
            case CancelDeployment():
                return self.deployer.cancel(command, plan)
            case Proceed():
                return self.core.rollouts.proceed(command)
            case ResetDelay(spec_id):
                self.launcher.reset_delay(spec_id)
                return None
            case Abdicate():
                self.core.act(Resign())
                return None


def _region_of(master_info: Mapping[str, Any]) -> str | None:
    """Where the master is, if its operator says so (--domain): the home region, as in Marathon."""
    name = master_info.get("domain", {}).get("fault_domain", {}).get("region", {}).get("name")
    return str(name) if name else None
