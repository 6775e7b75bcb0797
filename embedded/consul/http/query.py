"""Reads, and how they wait: `index` and `wait`, the headers that tell where the answer stands, `stale`, `consistent`, `dc`.

A query waits until its index is higher than the one given, or its time is over. It is then computed anew; a change elsewhere does
not wake it.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from embedded.consul.errors import BadRequestError, FailedError
from embedded.consul.golang import NANOSECONDS, parse_duration, parse_uint
from embedded.consul.http.message import Answer, DisconnectedError, Request, header, json_answer
from embedded.consul.state.ledger import Ledger
from embedded.consul.watch import Topic

DEFAULT_WAIT, LONGEST_WAIT = 300.0, 600.0
JITTER_FRACTION = 16
NO_PATH = "No path to datacenter"


@dataclass(frozen=True, slots=True)
class Result:
    """What a query found: its index, the topics whose change can raise that, and how to make the answer of it.

    The answer is made only when it is to be sent: a query that waits on is cheap.
    """

    index: int
    topics: Iterable[Topic]
    value: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Options:
    index: int
    wait: float
    consistency: str


def options(request: Request) -> Options:
    """Raises BadRequestError."""
    if request.has("stale") and request.has("consistent"):
        raise BadRequestError("Cannot specify ?stale with ?consistent, conflicting semantics.")
    consistency = "stale" if request.has("stale") else "consistent" if request.has("consistent") else "leader"
    return Options(_index(request), wait_time(request), consistency)


def wait_time(request: Request) -> float:
    """Seconds, with the default and the most that may be. Raises BadRequestError."""
    text = request.get("wait")
    try:
        wait = parse_duration(text) / NANOSECONDS if text else 0.0
    except ValueError:
        raise BadRequestError("Invalid wait time") from None
    wait = min(wait, LONGEST_WAIT) if wait > 0 else DEFAULT_WAIT
    return wait + random.random() * wait / JITTER_FRACTION


def refuse_other_datacenter(request: Request, datacenter: str) -> None:
    """There is one datacenter here."""
    if request.get("dc") not in ("", datacenter):
        raise FailedError(NO_PATH)


async def run(request: Request, ledger: Ledger, find: Callable[[], Result], wanted: Options) -> Result:
    """Waits as the request says, and finds. Raises DisconnectedError if the client goes meanwhile."""
    found = find()
    if not wanted.index or found.index > wanted.index:
        return found
    deadline = asyncio.get_running_loop().time() + wanted.wait
    async with request.presence() as gone:
        while found.index <= wanted.index and not ledger.watches.closed:
            with ledger.watches.waiter(found.topics) as changed:
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0 or not await first_of(changed, gone, left):
                    break
            found = find()
    return found


async def first_of(changed: asyncio.Future[None], gone: asyncio.Task[None], seconds: float) -> bool:
    """True at the change, False when the time is over. Raises DisconnectedError when the client has gone."""
    await asyncio.wait({changed, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    if gone.done():
        raise DisconnectedError
    return changed.done()


def answer(request: Request, found: Result, wanted: Options, *, catalog: bool, cached: bool = False) -> Answer:
    """The answer with the headers of a query; `catalog` ones tell their consistency too."""
    made = json_answer(found.value(), request)
    made.headers += headers(found.index, wanted.consistency if catalog else None)
    if cached and request.has("cached"):
        made.headers.append((b"X-Cache", b"MISS"))
    return made


def headers(index: int, consistency: str | None = None) -> list[tuple[bytes, bytes]]:
    told = [
        header("X-Consul-Index", max(index, 1)),
        (b"X-Consul-Knownleader", b"true"),
        (b"X-Consul-Lastcontact", b"0"),
    ]
    return [header("X-Consul-Effective-Consistency", consistency), *told] if consistency else told


def _index(request: Request) -> int:
    try:
        return parse_uint(request.get("index") or "0")
    except ValueError:
        raise BadRequestError("Invalid index") from None
