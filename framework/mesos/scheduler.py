"""The engine's hand to Mesos: what it asks becomes calls of the driver, what the master says becomes events in the engine's loop.

The driver's threads never touch the engine: messages gather in a bounded buffer, and one wake-up of the loop takes all that are there. When
the buffer is full the stream's thread waits, and with it the master's socket.
"""

import asyncio
import base64
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from daemonkit.logs import get_logger
from framework.decide.instance_state import TaskStatus
from framework.engine.actions import Launch
from framework.engine.events import (
    AgentLost,
    Disconnected,
    Event,
    InverseOfferRescinded,
    InverseOffersReceived,
    LaunchUncertain,
    MessageReceived,
    OfferRescinded,
    OffersReceived,
    SecretsResolved,
    StatusReceived,
    Subscribed,
)
from framework.mesos.calls import Call
from framework.mesos.driver import Driver
from framework.mesos.offers import parse_inverse_offer, parse_offer, parse_status
from framework.mesos.reservations import release, reserve
from framework.mesos.task_group import launch_group
from framework.mesos.task_info import SecretUnavailableError, no_secrets, task_info
from framework.model.offer import Offer, Pool
from framework.model.pod import Pod

log = get_logger(__name__)

Json = dict[str, Any]
CAPABILITIES = ("MULTI_ROLE", "PARTITION_AWARE", "TASK_KILLING_STATE", "RESERVATION_REFINEMENT", "REGION_AWARE")
REMOVED = ("Framework has been removed", "Completed framework")
INVERSE_REFUSE_SECONDS = 60.0  # so long the master does not ask again
FAILED_OVER = "Framework failed over"


class Secrets(Protocol):
    """Values that were fetched a short while ago."""

    def fetch(self, sources: Iterable[str]) -> None:
        """SecretsResolved tells how it went."""

    def value(self, source: str) -> bytes:
        """Raises an exception whose text says why there is none."""


class MesosScheduler:
    """Implements `engine.perform.Mesos`. `info` is the FrameworkInfo without id and roles. `post` is the engine's.

    `on_removed(message)`: the master has removed this framework for good, tasks and all. `on_failed_over()`: another scheduler has
    subscribed with this framework's id, and this one has left: to come back by itself would be a quarrel, should the other one lead.
    """

    def __init__(
        self,
        info: Json,
        master: str,
        post: Callable[[Event], None],
        *,
        credentials: tuple[str, str] | None = None,
        secrets: Secrets | None = None,
        on_removed: Callable[[str], None] = lambda message: None,
        on_failed_over: Callable[[], None] = lambda: None,
        bound: int = 20_000,
        gpus: bool = True,
        tls: ssl.SSLContext | None = None,
        new_driver: Callable[..., Driver] = Driver,
    ) -> None:
        capabilities = [{"type": name} for name in (*CAPABILITIES, *(["GPU_RESOURCES"] if gpus else []))]
        self._info = {**info, "capabilities": capabilities}
        self._post, self._secrets = post, secrets
        self._on_removed, self._on_failed_over = on_removed, on_failed_over
        self._principal = info.get("principal")
        self._master, self._credentials, self._tls, self._new_driver = master, credentials, tls, new_driver
        self._driver: Driver | None = None
        self._known = False  # subscribed before with this id
        self._loop: asyncio.AbstractEventLoop | None = None
        self._life = 0  # counts drivers, so that a message of one that was left is told from those of its successor
        self._leaving: list[threading.Thread] = []
        self._messages: deque[tuple[int, str, Json]] = deque()
        self._room = threading.Semaphore(bound)
        self._scheduled = False
        self._lock = threading.Lock()

    # --- engine.perform.Mesos

    def subscribe(self, framework_id: str | None, roles: Sequence[str]) -> None:
        self.unsubscribe()
        self._loop = asyncio.get_running_loop()
        framework: Json = {**self._info, "roles": list(roles)}
        if framework_id:
            framework["id"] = {"value": framework_id}
        self._known = framework_id is not None
        life = self._life
        self._driver = self._new_driver(
            framework,
            self._master,
            lambda kind, content: self._told(life, kind, content),
            lambda call, status, text: self._failed_call(life, call, status, text),
            credentials=self._credentials,
            tls=self._tls,
        )
        self._driver.start()

    def update_roles(self, roles: Sequence[str]) -> None:
        if self._driver is None:
            return
        framework: Json = {**self._info, "roles": list(roles)}
        self._driver.update_framework(framework)
        # A master that refuses this call (older than 1.9) makes the driver subscribe anew, which has the same effect.
        framework["id"] = {"value": self._framework_id}
        self._call({"type": "UPDATE_FRAMEWORK", "update_framework": {"framework_info": framework}}, "offers")

    def unsubscribe(self) -> None:
        """At once: what the driver still says is not heard any more, and it ends by itself."""
        self._life += 1
        if self._driver is not None:
            driver, self._driver = self._driver, None
            self._leaving = [thread for thread in self._leaving if thread.is_alive()]
            self._leaving.append(threading.Thread(target=driver.stop, name="mesos-leaving", daemon=True))
            self._leaving[-1].start()

    async def close(self) -> None:
        self.unsubscribe()
        for thread in self._leaving:
            await asyncio.to_thread(thread.join)

    def accept(
        self, offer: Offer, launches: Sequence[Launch], refuse_seconds: float, releases: Sequence[Pool] = ()
    ) -> None:
        infos: list[Json] = []
        groups: list[Json] = []
        makings = [operation for pool in releases for operation in release(pool, offer.role)]
        about: list[str] = []
        for launch in launches:
            try:
                made = reserve(launch, self._framework_id, self._principal) if launch.reserve else None
                ready = replace(launch, takes=made.takes) if made else launch
                if isinstance(launch.spec, Pod):
                    groups.append(launch_group(ready, self._framework_id, self._resolve))
                else:
                    infos.append(task_info(ready, self._resolve))
                makings += made.operations if made else ()
                about.append(launch.instance.id)
            except SecretUnavailableError as error:
                self._refuse_launch(launch, str(error))
        operations = [{"type": "LAUNCH", "launch": {"task_infos": infos}}] if infos else []
        operations = [*makings, *operations, *groups]
        body = {
            "type": "ACCEPT",
            "accept": {
                "offer_ids": [{"value": offer.id}],
                "operations": operations,
                "filters": {"refuse_seconds": refuse_seconds},
            },
        }
        if not self._call(body, "offers", tuple(about)) and about:
            self._post(LaunchUncertain(tuple(about), "not connected"))

    def _refuse_launch(self, launch: Launch, why: str) -> None:
        """It never leaves: to the engine that is a task that failed before it began."""
        for task in launch.instance.tasks:
            status = TaskStatus(task.id, "TASK_ERROR", launch.instance.agent.id, "REASON_TASK_INVALID", message=why)
            self._post(StatusReceived(status))

    def fetch_secrets(self, sources: Sequence[str]) -> None:
        if self._secrets is not None:
            self._secrets.fetch(sources)
        else:
            self._post(SecretsResolved(dict.fromkeys(sources, "no store of secrets is configured")))

    def _resolve(self, source: str) -> bytes:
        if self._secrets is None:
            return no_secrets(source)
        try:
            return self._secrets.value(source)
        except Exception as error:
            raise SecretUnavailableError(str(error)) from None

    def decline(self, offer_ids: Sequence[str], refuse_seconds: float) -> None:
        decline = {"offer_ids": [{"value": i} for i in offer_ids], "filters": {"refuse_seconds": refuse_seconds}}
        self._call({"type": "DECLINE", "decline": decline}, "offers")

    def answer_inverse_offers(self, accepted: Sequence[str], declined: Sequence[str]) -> None:
        for kind, offer_ids in (("ACCEPT_INVERSE_OFFERS", accepted), ("DECLINE_INVERSE_OFFERS", declined)):
            if offer_ids:
                answer = {
                    "inverse_offer_ids": [{"value": i} for i in offer_ids],
                    "filters": {"refuse_seconds": INVERSE_REFUSE_SECONDS},
                }
                self._call({"type": kind, kind.lower(): answer}, "offers")

    def revive(self, roles: Sequence[str]) -> None:
        self._call({"type": "REVIVE", "revive": {"roles": list(roles)}}, "offers")

    def suppress(self, roles: Sequence[str]) -> None:
        self._call({"type": "SUPPRESS", "suppress": {"roles": list(roles)}}, "offers")

    def acknowledge(self, task_id: str, agent_id: str, uuid: str) -> None:
        acknowledge = {"task_id": {"value": task_id}, "agent_id": {"value": agent_id}, "uuid": uuid}
        self._call({"type": "ACKNOWLEDGE", "acknowledge": acknowledge}, task_id)

    def kill(self, task_id: str, agent_id: str | None, grace_seconds: float | None) -> None:
        kill: Json = {"task_id": {"value": task_id}}
        if agent_id:
            kill["agent_id"] = {"value": agent_id}
        if grace_seconds is not None:
            kill["kill_policy"] = {"grace_period": {"nanoseconds": int(grace_seconds * 1_000_000_000)}}
        # In the lane of the launches: a kill that overtook its launch would find no task, and the launch would find no kill.
        self._call({"type": "KILL", "kill": kill}, "offers")

    def reconcile(self, tasks: Sequence[tuple[str, str | None]]) -> None:
        asked = [
            {"task_id": {"value": task_id}, **({"agent_id": {"value": agent_id}} if agent_id else {})}
            for task_id, agent_id in tasks
        ]
        # In the lane of the launches too: of a task that it asks about before its launch has arrived the master says that it is gone.
        self._call({"type": "RECONCILE", "reconcile": {"tasks": asked}}, "offers")

    def _call(self, body: Json, key: str, about: tuple[str, ...] = ()) -> bool:
        return self._driver is not None and self._driver.call(body, key, about)

    @property
    def _framework_id(self) -> str:
        return str(self._driver.framework_id) if self._driver else ""

    @property
    def waiting_calls(self) -> int:
        return self._driver.waiting_calls if self._driver else 0

    # --- in the driver's threads

    def _told(self, life: int, kind: str, content: Json) -> None:
        while not self._room.acquire(timeout=1.0):
            if self._loop is None or self._loop.is_closed() or life != self._life:
                return
        with self._lock:
            self._messages.append((life, kind, content))
            wake = not self._scheduled
            self._scheduled = True
        if wake and self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._drain)
            except RuntimeError:
                log.debug("the loop has ended; an event of the master is dropped", kind=kind)

    def _failed_call(self, life: int, call: Call, status: int, text: str) -> None:
        if call.type == "ACCEPT" and call.about:
            self._told(life, "LAUNCH_UNCERTAIN", {"instance_ids": call.about, "why": f"{status} {text}"})
        driver = self._driver
        if call.type in ("ACCEPT", "DECLINE") and status == 0 and driver is not None:
            # The master may go on holding these offers for us; only a new subscription frees them for certain.
            driver.reconnect_from(call.stream_id)

    # --- in the loop

    def _drain(self) -> None:
        with self._lock:
            messages, self._messages = self._messages, deque()
            self._scheduled = False
        for life, kind, content in messages:
            self._room.release()
            if life != self._life:
                continue
            try:
                event = self._event(kind, content)
            except (KeyError, TypeError, ValueError) as error:
                log.error("an event of the master cannot be read", kind=kind, error=repr(error))
                continue
            if event is not None:
                self._post(event)

    def _event(self, kind: str, content: Json) -> Event | None:
        match kind:
            case "UPDATE":
                return StatusReceived(parse_status(content["status"]))
            case "OFFERS":
                return OffersReceived(tuple(parse_offer(offer) for offer in content.get("offers", ())))
            case "INVERSE_OFFERS":
                return InverseOffersReceived(tuple(parse_inverse_offer(o) for o in content.get("inverse_offers", ())))
            case "RESCIND_INVERSE_OFFER":
                return InverseOfferRescinded(content["inverse_offer_id"]["value"])
            case "RESCIND":
                return OfferRescinded(content["offer_id"]["value"])
            case "CONNECTED":
                again, self._known = self._known, True
                return Subscribed(
                    content["framework_id"]["value"], content["master"], content.get("master_info", {}), again
                )
            case "DISCONNECTED":
                return Disconnected(content["why"])
            case "FAILURE":
                return AgentLost(content["agent_id"]["value"]) if "executor_id" not in content else None
            case "MESSAGE":
                data = base64.b64decode(content.get("data", ""))
                return MessageReceived(content["agent_id"]["value"], content["executor_id"]["value"], data)
            case "LAUNCH_UNCERTAIN":
                return LaunchUncertain(tuple(content["instance_ids"]), content["why"])
            case "ERROR":
                self._error(str(content.get("message", "")))
        return None

    def _error(self, message: str) -> None:
        if FAILED_OVER in message:
            self.unsubscribe()
            self._post(Disconnected(message))
            self._on_failed_over()
        elif any(text in message for text in REMOVED):
            # The tasks are gone with it, but what is declared is not: it takes a new registration to run it again.
            self.unsubscribe()
            self._on_removed(message)
