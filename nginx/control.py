"""How the daemon speaks to the running Nginx: JSON over the unix socket of lua/dromos/control.lua."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from consul_template_py.errors import SourceUnavailableError
from consul_template_py.http import Client, Endpoint
from nginx.errors import ControlError
from nginx.layout import Layout
from nginx.table import Change

TIMEOUT = 10.0  # seconds
BUSY_RETRIES = 5


@dataclass(frozen=True)
class State:
    """What the running Nginx has: the number of its configuration, of its table of endpoints, of its certificates."""

    generation: int
    counter: int
    certificates: int = 0


class Control:
    """A connection a request: a kept one would stay with a worker of an old configuration."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._client = Client(Endpoint("nginx", 80, unix_socket=str(layout.control)), max_idle=0)

    async def state(self) -> State:
        answer = await self._call("GET", "/state")
        return State(int(answer["generation"]), int(answer["counter"]), int(answer.get("certificates", 0)))

    async def change(self, counter: int, change: Change, *, full: bool = False) -> None:
        """Puts a change into the table. Raises ControlError, also when the table is at `counter` or past it already."""
        body = {"counter": counter, "services": change.services, "remove": list(change.remove), "full": full}
        await self._call("POST", "/endpoints", body)

    async def certificates(self, counter: int, pems: Mapping[str, str]) -> None:
        """Replaces all certificates. Raises ControlError."""
        await self._call("POST", "/certificates", {"counter": counter, "certificates": dict(pems)})

    async def closing(self, generation: int) -> None:
        """Has workers of that configuration end each connection with its next answer."""
        await self._call("POST", "/closing", {"generation": generation})

    async def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        for attempt in range(BUSY_RETRIES + 1):
            status, answer = await self._once(method, path, body)
            if status == 200:
                return answer
            if status != 503 or attempt == BUSY_RETRIES:
                why = answer.get("error", status)
                raise ControlError(f"nginx refused {method} {path}: {why} (its counter is {answer.get('counter')})")
            await asyncio.sleep(0.05 * (attempt + 1))
        raise AssertionError("unreachable")

    async def _once(self, method: str, path: str, body: object) -> tuple[int, dict[str, Any]]:
        try:
            headers = {"Authorization": f"Bearer {self._layout.token.read_text().strip()}"}
            text = None if body is None else orjson.dumps(body)
            response = await self._client.request(method, path, body=text, headers=headers, timeout=TIMEOUT)
            return response.status, orjson.loads(response.body)
        except (OSError, ValueError, SourceUnavailableError) as error:
            raise ControlError(f"nginx does not answer on {self._layout.control}: {error or 'timeout'}") from None
