"""The engine's state on a desk: events go in by hand, actions come out as values; no loop, no clock, no Mesos."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from framework.decide.instance_state import TaskStatus
from framework.engine.actions import Accept, Action, Announce, Kill, Launch, Refuse, Reply
from framework.engine.commands import Accepted, Command, Declare
from framework.engine.events import (
    BatchEnded,
    CommandReceived,
    Elected,
    Event,
    OffersReceived,
    StatusReceived,
    Subscribed,
    TimePassed,
)
from framework.engine.ledger import Ledger
from framework.engine.settings import EngineSettings
from framework.engine.state import State
from framework.model.app import App
from framework.model.change import Change
from framework.model.instance import Agent, Instance
from framework.model.offer import Offer, Pool

A = TypeVar("A")
START = 1_000_000.0


def numbers() -> Iterator[str]:
    return (f"{number:04d}" for number in itertools.count(1))


class Desk:
    """`actions` are those of the last `tell`; `all_actions` of all so far. Offers of three roomy agents come by themselves
    with `settle`."""

    def __init__(self, settings: EngineSettings | None = None, *, subscribed: bool = True) -> None:
        self.now = START
        self.settings = settings or EngineSettings(drain_seconds=0.0)
        self.ledger = Ledger()
        self.state = State(self.settings, self.ledger, numbers())
        self.actions: list[Action] = []
        self.all_actions: list[Action] = []
        self._offers = itertools.count(1)
        self.tell(Elected("me:8080"))
        if subscribed:
            self.tell(Subscribed("framework-1", "master:5050"))

    # --- events

    def tell(self, *events: Event, commit: bool = True) -> list[Action]:
        """One batch."""
        self.actions = []
        for event in (*events, BatchEnded()):
            self.actions += self.state.handle(event, self.now)
        self.all_actions += self.actions
        if commit:
            list(self.ledger.pending())
            self.ledger.committed()
        return self.actions

    def wait(self, seconds: float) -> list[Action]:
        """Time passes, deadline by deadline."""
        end, found = self.now + seconds, []
        while (deadline := self.state.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            found += self.tell(TimePassed())
        self.now = end
        self.actions = found
        return found

    def command(self, command: Command) -> Any:
        """The answer; raises what the engine refuses with."""
        for action in self.tell(CommandReceived(1, command)):
            if isinstance(action, Reply):
                return action.answer
            if isinstance(action, Refuse):
                raise action.error
        raise AssertionError("no answer")

    def declare(self, *apps: App, force: bool = False, **more: Any) -> Accepted:
        answer = self.command(Declare(lambda declared: Change(apps={a.id: a for a in apps}), force=force, **more))
        assert isinstance(answer, Accepted)
        return answer

    def update(self, app_id: str, *, force: bool = False, **fields: Any) -> Accepted:
        return self.declare(replace(self.ledger.declared.apps[app_id], **fields), force=force)

    def remove(self, app_id: str) -> Accepted:
        answer = self.command(Declare(lambda declared: Change(apps={app_id: None}), force=True))
        assert isinstance(answer, Accepted)
        return answer

    def offer(self, number: int = 1, **pool: Any) -> Offer:
        room = {"cpus": 64_000, "mem": 64_000_000, "disk": 64_000_000, "ports": ((31000, 31999),), **pool}
        return Offer(f"offer-{next(self._offers)}", Agent(f"agent-{number}", f"host-{number}"), "*", (Pool(**room),))

    def offers(self, *offers: Offer) -> list[Launch]:
        """What is launched on them; by default on three roomy agents."""
        self.tell(OffersReceived(offers or tuple(self.offer(number) for number in (1, 2, 3))))
        return [launch for accept in self.found(Accept) for launch in accept.launches]

    def status(self, instance: Instance | str, state: str, **more: Any) -> list[Action]:
        found = self.ledger.instances[instance] if isinstance(instance, str) else instance
        statuses = [
            StatusReceived(
                TaskStatus(task.id, state, found.agent.id, uuid=f"uuid-{task.id}-{state}", timestamp=self.now, **more)
            )
            for task in found.tasks
        ]
        return self.tell(*statuses)

    def settle(self, rounds: int = 20) -> None:
        """Offers come, launched tasks run, killed tasks end, until nothing happens any more."""
        for _ in range(rounds):
            launches = self.offers()
            for launch in launches:
                if launch.instance.id in self.ledger.instances:
                    self.status(launch.instance.id, "TASK_RUNNING")
            leaving = [i for i in self.ledger.instances.values() if i.condition.value == "Killing"]
            for instance in leaving:
                self.status(instance, "TASK_KILLED")
            if not launches and not leaving:
                return
        raise AssertionError("it does not come to rest")

    # --- what came of it

    def found(self, kind: type[A], actions: list[Action] | None = None) -> list[A]:
        return [action for action in (self.actions if actions is None else actions) if isinstance(action, kind)]

    def announced(self, type: str, actions: list[Action] | None = None) -> list[dict[str, Any]]:
        return [dict(a.fields) for a in self.found(Announce, actions) if a.type == type]

    def killed(self, actions: list[Action] | None = None) -> set[str]:
        """Ids of the instances whose kill was sent."""
        return {kill.task_id.rsplit(".", 2)[0] for kill in self.found(Kill, actions)}

    def instances(self, app_id: str, where: Callable[[Instance], bool] = lambda i: True) -> list[Instance]:
        return [instance for instance in self.ledger.instances_of(app_id) if where(instance)]

    def running(self, app_id: str) -> list[Instance]:
        return self.instances(app_id, lambda i: i.running)


def app(app_id: str = "/app", **fields: Any) -> App:
    return App(app_id, **{"cmd": "run", "cpus": 0.1, "mem": 32.0, **fields})
