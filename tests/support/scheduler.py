"""A scheduler that tests drive by hand: the v1 scheduler API in JSON over plain HTTP, every event as it came."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import orjson

Json = dict[str, Any]
TIMEOUT = 60.0


class CallError(Exception):
    """A call that was not answered 200 or 202."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text


def framework_info(**fields: Any) -> Json:
    """A FrameworkInfo of one role, `test` and unique, whose tasks end soon after it is gone."""
    return {
        "user": "root",
        "name": "contract",
        "roles": [f"test-{uuid.uuid4().hex[:8]}"],
        "capabilities": [{"type": "MULTI_ROLE"}],
        "failover_timeout": 0.0,
        **fields,
    }


def scalar(name: str, value: float, **fields: Any) -> Json:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}, **fields}


def ranges(name: str, *pairs: tuple[int, int], **fields: Any) -> Json:
    return {
        "name": name,
        "type": "RANGES",
        "ranges": {"range": [{"begin": begin, "end": end} for begin, end in pairs]},
        **fields,
    }


def amount(holder: Json, name: str) -> float | None:
    """The sum of a scalar resource in an offer, task or agent; None where the resource is absent."""
    found = [r["scalar"]["value"] for r in holder["resources"] if r["name"] == name]
    return sum(found) if found else None


def port_range(offer: Json) -> tuple[int, int]:
    """First and last of an offer's ports."""
    spans = [span for r in offer["resources"] if r["name"] == "ports" for span in r["ranges"]["range"]]
    return spans[0]["begin"], spans[-1]["end"]


class Scheduler:
    """One framework's subscription. `next` and `none_of` look only at events that were not yet taken."""

    def __init__(self, session: aiohttp.ClientSession, url: str, info: Json) -> None:
        self.session = session
        self.url = url
        self.info = info
        self.framework_id = ""
        self.stream_id = ""
        self.subscribed: Json = {}
        self.waiting: list[Json] = []
        self.seen: list[Json] = []
        self.closed = False
        self._acknowledged: set[str] = set()
        self._arrived = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._response: aiohttp.ClientResponse | None = None

    async def subscribe(self, framework_id: str | None = None, **fields: Any) -> Json:
        """Opens the stream; the SUBSCRIBED event's content. Raises CallError."""
        await self.open(framework_id, **fields)
        event = await self.next("SUBSCRIBED")
        self.subscribed = event["subscribed"]
        self.framework_id = self.subscribed["framework_id"]["value"]
        return self.subscribed

    async def open(self, framework_id: str | None = None, **fields: Any) -> None:
        """Sends SUBSCRIBE and begins to read, whatever the first event will be."""
        call: Json = {"type": "SUBSCRIBE", "subscribe": {"framework_info": dict(self.info), **fields}}
        if framework_id:
            call["framework_id"] = {"value": framework_id}
            call["subscribe"]["framework_info"]["id"] = {"value": framework_id}
        response = await self.session.post(
            f"{self.url}/api/v1/scheduler",
            data=orjson.dumps(call),
            headers={"Content-Type": "application/json", "Accept": "application/json"},
        )
        if response.status != 200:
            raise CallError(response.status, await response.text())
        self.stream_id = response.headers["Mesos-Stream-Id"]
        self.closed = False
        self._response = response
        self._reader = asyncio.create_task(self._read(response))

    async def _read(self, response: aiohttp.ClientResponse) -> None:
        with contextlib.suppress(aiohttp.ClientError, asyncio.IncompleteReadError):
            while True:
                length = await response.content.readuntil(b"\n")
                if not length:
                    break
                event = orjson.loads(await response.content.readexactly(int(length)))
                event["at"] = time.monotonic()
                self.waiting.append(event)
                self.seen.append(event)
                self._arrived.set()
        self.closed = True
        self._arrived.set()

    async def disconnect(self) -> None:
        """Drops the connection as a crashed scheduler would."""
        if self._reader:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        if self._response:
            self._response.close()
        self.closed = True

    async def post(self, call: Json, *, stream_id: str | None = None, headers: Json | None = None) -> tuple[int, str]:
        """Any call at all; status and text of the answer."""
        sent = {"Content-Type": "application/json", "Mesos-Stream-Id": stream_id or self.stream_id, **(headers or {})}
        async with self.session.post(f"{self.url}/api/v1/scheduler", data=orjson.dumps(call), headers=sent) as response:
            return response.status, await response.text()

    async def call(self, type: str, **fields: Any) -> None:
        """`call("KILL", kill={…})`; raises CallError unless it is accepted."""
        status, text = await self.post({"type": type, "framework_id": {"value": self.framework_id}, **fields})
        if status != 202:
            raise CallError(status, text)

    async def next(
        self, type: str, where: Callable[[Json], bool] = lambda event: True, timeout: float = TIMEOUT
    ) -> Json:
        """The oldest event not yet taken of this type for which `where` is true; waits for it until the deadline."""
        deadline = time.monotonic() + timeout
        while True:
            for event in self.waiting:
                if event["type"] == type and where(event):
                    self.waiting.remove(event)
                    return event
            left = deadline - time.monotonic()
            if left <= 0 or self.closed:
                state = "the stream is closed" if self.closed else f"not within {timeout} s"
                raise AssertionError(f"no {type}: {state}; untaken: {[_brief(e) for e in self.waiting]}")
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)

    async def none_of(self, type: str, seconds: float, where: Callable[[Json], bool] = lambda event: True) -> None:
        """Holds for `seconds` that no such event arrives."""
        try:
            event = await self.next(type, where, timeout=seconds)
        except AssertionError:
            return
        raise AssertionError(f"an unwanted {type} arrived: {_brief(event)}")

    async def until_closed(self, timeout: float = TIMEOUT) -> None:
        deadline = time.monotonic() + timeout
        while not self.closed:
            self._arrived.clear()
            left = deadline - time.monotonic()
            assert left > 0, f"the stream is still open after {timeout} s"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left)

    async def offers(self, count: int = 1, timeout: float = TIMEOUT) -> list[Json]:
        """At least `count` offers, of as many events as it takes."""
        found: list[Json] = []
        deadline = time.monotonic() + timeout
        while len(found) < count:
            event = await self.next("OFFERS", timeout=deadline - time.monotonic())
            found += event["offers"]["offers"]
        return found

    async def offer(self, timeout: float = TIMEOUT) -> Json:
        """One offer; others that came with it are declined for good."""
        first, *others = await self.offers(timeout=timeout)
        if others:
            await self.decline(others, refuse_seconds=3600.0)
        return first

    async def decline(self, offers: list[Json], refuse_seconds: float | None = None) -> None:
        fields: Json = {"offer_ids": [offer["id"] for offer in offers]}
        if refuse_seconds is not None:
            fields["filters"] = {"refuse_seconds": refuse_seconds}
        await self.call("DECLINE", decline=fields)

    async def accept(self, offers: list[Json], operations: list[Json], refuse_seconds: float | None = None) -> None:
        fields: Json = {"offer_ids": [offer["id"] for offer in offers], "operations": operations}
        if refuse_seconds is not None:
            fields["filters"] = {"refuse_seconds": refuse_seconds}
        await self.call("ACCEPT", accept=fields)

    async def launch(self, offer: Json, *tasks: Json, refuse_seconds: float | None = None) -> None:
        """ACCEPT with one LAUNCH."""
        await self.accept([offer], [{"type": "LAUNCH", "launch": {"task_infos": list(tasks)}}], refuse_seconds)

    async def kill(self, task_id: str, **fields: Any) -> None:
        await self.call("KILL", kill={"task_id": {"value": task_id}, **fields})

    async def reconcile(self, *tasks: Json) -> None:
        await self.call("RECONCILE", reconcile={"tasks": list(tasks)})

    async def acknowledge(self, status: Json) -> None:
        self._acknowledged.add(status["uuid"])
        acknowledge = {name: status[name] for name in ("task_id", "agent_id", "uuid")}
        await self.call("ACKNOWLEDGE", acknowledge=acknowledge)

    async def update(
        self, task_id: str, state: str | None = None, *, acknowledge: bool = True, timeout: float = TIMEOUT
    ) -> Json:
        """The next status of the task; given a `state`, those before it are acknowledged and passed over.

        One that was sent again, the acknowledgement being late or lost, is passed over too.
        """
        deadline = time.monotonic() + timeout
        while True:
            event = await self.next(
                "UPDATE",
                lambda event: event["update"]["status"]["task_id"]["value"] == task_id,
                timeout=deadline - time.monotonic(),
            )
            status: Json = event["update"]["status"]
            again = status.get("uuid") in self._acknowledged
            if "uuid" in status and (acknowledge or again):
                await self.acknowledge(status)
            if again:
                continue
            if state in (None, status["state"]):
                return status

    async def running(self, *, command: str = "sleep 3600", **fields: Any) -> tuple[Json, Json]:
        """Launches one task on the next offer and waits until it runs: (TaskInfo, the RUNNING status)."""
        offer = await self.offer()
        info = task(offer, command=command, **fields)
        await self.launch(offer, info)
        return info, await self.update(info["task_id"]["value"], "TASK_RUNNING")

    async def teardown(self) -> None:
        await self.call("TEARDOWN")

    async def removed(self) -> None:
        """As an operator does it, for a framework whose stream is closed; nothing happens where it is gone already."""
        call = {"type": "TEARDOWN", "teardown": {"framework_id": {"value": self.framework_id}}}
        async with self.session.post(f"{self.url}/api/v1", json=call) as response:
            await response.read()


def _brief(event: Json) -> str:
    status = event.get("update", {}).get("status")
    return f"{event['type']} {status['task_id']['value']} {status['state']}" if status else str(event["type"])


def task(
    offer: Json,
    task_id: str | None = None,
    *,
    cpus: float = 0.1,
    mem: float = 32,
    command: str = "sleep 3600",
    **fields: Any,
) -> Json:
    """A command task that fits the offer's role and agent; None in `fields` removes the field."""
    role = offer["allocation_info"]["role"]
    info: Json = {
        "name": "task",
        "task_id": {"value": task_id or uuid.uuid4().hex},
        "agent_id": offer["agent_id"],
        "resources": [
            {**scalar("cpus", cpus), "allocation_info": {"role": role}},
            {**scalar("mem", mem), "allocation_info": {"role": role}},
        ],
        "command": {"shell": True, "value": command},
        **fields,
    }
    return {name: value for name, value in info.items() if value is not None}


@contextlib.asynccontextmanager
async def scheduling(url: str, *, subscribe: bool = True, **info: Any) -> AsyncIterator[Scheduler]:
    """A subscribed scheduler that is torn down at the end of the block, with all its tasks."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT)
    # No connection is used twice: a master that was killed leaves some behind that look alive.
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=1 << 20) as session:
        scheduler = Scheduler(session, url, framework_info(**info))
        if subscribe:
            await scheduler.subscribe()
        try:
            yield scheduler
        finally:
            with contextlib.suppress(CallError, aiohttp.ClientError):  # its master may be gone
                if scheduler.framework_id and not scheduler.closed:
                    await scheduler.teardown()
                elif scheduler.framework_id and scheduler.info["failover_timeout"] > 0:
                    await scheduler.removed()
            await scheduler.disconnect()
