"""A Marathon API as a source: Dromos' framework or any Marathon. Its event stream is only a hint to look again.

Which tasks are to get no traffic it tells where it is Dromos' (`apps.rotation`): those that wait for a go, and those that drain.
Three things are taken from events themselves, because they cannot wait for the next look: that a task has ended, that it is being
killed, and that it drains.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from daemonkit.backoff import Backoff
from daemonkit.lifecycle import sleep_or_stop
from daemonkit.logs import get_logger
from registrator.errors import SourceError
from registrator.model import Instance, Look
from registrator.sources.addresses import Addresses
from registrator.sources.base import Hint, Remembered
from registrator.sources.marathon import Json, is_of_this_version, readable_instance
from registrator.sources.mesos_state import FINAL
from registrator.sources.pods import hosts_of, instances_of

log = get_logger(__name__)

EVENTS = (
    "status_update_event",
    "instance_changed_event",
    "instance_health_changed_event",
    "health_status_changed_event",
    "instance_draining_event",
    "unknown_instance_terminated_event",
    "app_terminated_event",
    "deployment_success",
    "deployment_step_success",
    "rollout_continued_event",
    "api_post_event",
)
_LONGEST_DRAIN = 3600.0  # where the event does not say how long the drain lasts
_DRAIN_MARGIN = 30.0
_MOST_EVENT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Read:
    """A task as it was read, and what came of it."""

    app: Json
    task: Json
    address: str
    held: bool | None
    draining: bool | None
    instance: Instance | None


@dataclass(frozen=True, slots=True)
class _Drain:
    at: float  # when the event came
    until: float


class FrameworkSource:
    """`urls` are base URLs of the API, tried in turn. `silence` (seconds) without any byte ends the event stream.

    `most_ended` bounds the tasks remembered from events, `most_versions` the app definitions of earlier versions.
    """

    name = "framework"

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout: float,
        silence: float,
        most_ended: int,
        most_versions: int,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._urls = [url.rstrip("/") for url in urls]
        self._timeout = timeout
        self._silence = silence
        self._max_bytes = max_bytes
        self._most_versions = most_versions
        self._headers = dict(headers or {})
        self._http: aiohttp.ClientSession | None = None
        self._ended = Remembered(most_ended)
        self._killing = Remembered(most_ended)
        self._draining: dict[str, _Drain] = {}  # task id -> what an event said
        self._addresses = Addresses()
        self._apps: dict[str, Json] = {}  # app id -> the app without its tasks, as last read
        self._read: dict[str, _Read] = {}  # task id ->
        self._versions: OrderedDict[tuple[str, str], Json] = OrderedDict()
        self._framework_id = ""

    async def look(self, *, fresh: bool) -> Look:
        started = asyncio.get_running_loop().time()
        try:
            apps = await self._list("/v2/apps?embed=apps.tasks&embed=apps.rotation", "apps")
            pods = await self._pods()
            if fresh or not self._framework_id:
                info = await self._object("/v2/info", may_be_missing=True) or {}
                if (framework_id := str(info.get("frameworkId") or "")) != self._framework_id:
                    self._framework_id = framework_id
                    self._read.clear()
            hosts = {str(task.get("host", "")) for app in apps for task in app.get("tasks", ())}
            hosts |= {host for status in pods for host in hosts_of(status)}
            addresses = await self._addresses.find(hosts, fresh=fresh)
            instances = await self._instances(apps, addresses)
            for status in pods:
                for found in instances_of(status, addresses):
                    if found.key not in self._ended:
                        instances[found.key] = replace(found, framework=self._framework_id)
            self._draining = {
                task: drain for task, drain in self._draining.items() if self._still_drains(task, drain, started)
            }
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SourceError(f"the framework's answer is not a list of apps with tasks: {error!r}") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._framework_id = ""
            raise SourceError(f"the framework does not answer: {error or repr(error)}") from None
        frameworks = frozenset({self._framework_id} - {""})
        draining = self._killing.frozen() | self._draining.keys()
        return Look(instances, self._ended.frozen(), frozenset(draining), frameworks=frameworks)

    async def watch(self, hint: Hint, stop: asyncio.Event) -> None:
        waits = Backoff(first=0.2, most=2.0)  # what happens in between is seen late, a drain too late
        while not stop.is_set():
            try:
                await self._follow(hint, waits)
            except (SourceError, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                log.info("the framework's event stream ended", error=str(error) or repr(error))
            hint("the framework's stream ended")
            await sleep_or_stop(waits.next(), stop)

    async def close(self) -> None:
        if self._http:
            await self._http.close()

    async def _follow(self, hint: Hint, waits: Backoff) -> None:
        path = "/v2/events?" + "&".join(f"event_type={name}" for name in EVENTS)
        async with contextlib.AsyncExitStack() as stack:
            answer = await self._call(
                path, stack, aiohttp.ClientTimeout(sock_connect=self._timeout, sock_read=self._silence)
            )
            waits.reset()
            self._framework_id = ""  # whoever answers now may have another
            hint("subscribed to the framework's events")
            async for kind, data in _events(answer.content):
                self._learn(kind, data)
                if kind in EVENTS:
                    hint(f"framework {kind}")

    def _learn(self, kind: str, data: bytes) -> None:
        if kind not in ("status_update_event", "instance_draining_event"):
            return
        event = orjson.loads(data)
        if not isinstance(event, dict):
            return
        tasks = [str(task) for task in (event.get("taskIds") or [event.get("taskId")]) if task]
        for task in tasks:
            if kind == "instance_draining_event":
                now, seconds = asyncio.get_running_loop().time(), event.get("drainSeconds")
                lasts = seconds if isinstance(seconds, int | float) else _LONGEST_DRAIN
                self._draining[task] = _Drain(now, now + lasts + _DRAIN_MARGIN)
            elif event.get("taskStatus") in FINAL:
                self._ended.add(task)
                self._killing.discard(task)
                self._draining.pop(task, None)
            elif event.get("taskStatus") == "TASK_KILLING":
                self._killing.add(task)

    def _still_drains(self, task: str, drain: "_Drain", look_began: float) -> bool:
        """An event holds until a later answer denies it, or the time is over in which the task should have been killed."""
        known = self._read.get(task)
        denied = known is not None and (known.draining is False or known.task.get("draining") is False)
        return asyncio.get_running_loop().time() < drain.until and not (denied and drain.at < look_began)

    async def _instances(self, apps: list[Json], addresses: Mapping[str, str]) -> dict[str, Instance]:
        """What has not changed since the last look is not worked out anew: most of a large answer is as it was."""
        instances: dict[str, Instance] = {}
        read: dict[str, _Read] = {}
        kept: dict[str, Json] = {}
        for answered in apps:
            tasks = answered.pop("tasks", ())
            rotation = answered.pop("rotation", None)
            before = self._apps.get(str(answered["id"]))
            app = kept[str(answered["id"])] = before if before == answered else answered
            for task in tasks:
                id = str(task["id"])
                address = addresses.get(str(task.get("host", "")), "")
                known = self._read.get(id)
                held, draining = _out_of_rotation(id, rotation)
                same = known is not None and known.app is app and known.task == task and known.address == address
                if known is None or not same or (known.held, known.draining) != (held, draining):
                    found = readable_instance(await self._definition(app, task), task, address)
                    if found is not None:
                        drains = found.draining or draining is True
                        found = replace(found, framework=self._framework_id, held=held, draining=drains)
                    known = _Read(app, task, address, held, draining, found)
                read[id] = known
                if known.instance and id not in self._ended:
                    instances[id] = known.instance
        self._apps, self._read = kept, read
        return instances

    async def _definition(self, app: Json, task: Json) -> Json:
        """The app as the task was started with. Definitions never change, so each is asked for once."""
        if is_of_this_version(app, task):
            return app
        key = (str(app["id"]), str(task["version"]))
        if key not in self._versions:
            path = f"/v2/apps/{quote(key[0].strip('/'))}/versions/{quote(key[1])}"
            # Where a version is no longer kept, today's definition is the best there is.
            self._versions[key] = await self._object(path, may_be_missing=True) or app
            while len(self._versions) > self._most_versions:
                self._versions.popitem(last=False)
        self._versions.move_to_end(key)
        return self._versions[key]

    async def _list(self, path: str, member: str) -> list[Json]:
        found = (await self._object(path) or {}).get(member)
        if not isinstance(found, list):
            raise SourceError(f"the framework's answer to {path} has no list `{member}`")
        return found

    async def _pods(self) -> list[Json]:
        """A Marathon before 1.4 has none."""
        found = await self._get("/v2/pods::status", may_be_missing=True)
        if found is not None and not isinstance(found, list):
            raise SourceError("the framework's answer to /v2/pods::status is not a list")
        return found or []

    async def _object(self, path: str, *, may_be_missing: bool = False) -> Json | None:
        found = await self._get(path, may_be_missing=may_be_missing)
        if found is not None and not isinstance(found, dict):
            raise SourceError(f"the framework's answer to {path} is not a JSON object")
        return found

    async def _get(self, path: str, *, may_be_missing: bool = False) -> Any:
        """JSON; None for a 404, where that is allowed."""
        async with contextlib.AsyncExitStack() as stack:
            answer = await self._call(path, stack, aiohttp.ClientTimeout(total=self._timeout), may_be_missing)
            if answer.status == 404:
                return None
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > self._max_bytes:
                    raise SourceError(f"the framework's answer to {path} is longer than {self._max_bytes} bytes")
            try:
                return orjson.loads(bytes(body))
            except orjson.JSONDecodeError as error:
                raise SourceError(f"the framework's answer to {path} is not JSON: {error}") from None

    async def _call(
        self,
        path: str,
        stack: contextlib.AsyncExitStack,
        timeout: aiohttp.ClientTimeout,
        may_be_missing: bool = False,
    ) -> aiohttp.ClientResponse:
        self._http = self._http or aiohttp.ClientSession(headers=self._headers, trust_env=False)
        accept = "text/event-stream" if path.startswith("/v2/events") else "application/json"
        last: Exception = SourceError("no API of a framework is configured")
        for url in list(self._urls):
            try:
                request = self._http.get(url + path, headers={"Accept": accept}, timeout=timeout)
                answer = await stack.enter_async_context(request)
                if answer.status == 200 or (may_be_missing and answer.status == 404):
                    self._urls.sort(key=lambda other: other != url)
                    return answer
                last = SourceError(f"{url}{path.partition('?')[0]} answers {answer.status} {answer.reason}")
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                last = error
        raise last


def _out_of_rotation(task_id: str, rotation: Json | None) -> tuple[bool | None, bool | None]:
    """Whether a task is held, and whether it drains; None where the answer says nothing about that, as Marathon's."""
    if rotation is None:
        return None, None
    return task_id in rotation["held"], task_id in rotation["draining"]


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[tuple[str, bytes]]:
    """Server-sent events: (type, data)."""
    kind, data, pending = "message", bytearray(), bytearray()
    async for chunk in content.iter_any():
        pending += chunk
        if len(pending) + len(data) > _MOST_EVENT_BYTES:
            raise SourceError("an event of the framework is too long")
        *lines, rest = bytes(pending).replace(b"\r\n", b"\n").split(b"\n")
        pending = bytearray(rest)
        for line in lines:
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if not line:
                if data:
                    yield kind, bytes(data)
                kind, data = "message", bytearray()
            elif name == b"event":
                kind = value.decode(errors="replace")
            elif name == b"data":
                data += (b"\n" if data else b"") + value
