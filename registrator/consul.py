"""Consul over HTTP: the services and checks of one agent, and what the catalog keeps of agents that are gone."""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from registrator.errors import ConsulAwayError, RefusedError
from registrator.model import Registered, Service

Json = dict[str, Any]

_MAINTENANCE = "_service_maintenance:"
_FOR_GOOD = "876000h"  # nobody updates it, and when it runs out it is critical as before
_AWAY = (429, 502, 503, 504)


class Consul:
    """One agent at `url`. `concurrency` bounds the requests under way, `timeout` (seconds) each of them.

    All calls raise ConsulAwayError where no agent answers or it is overloaded, and RefusedError where it refuses this request.
    """

    def __init__(self, url: str, *, token: str | None, timeout: float, concurrency: int) -> None:
        self.url = url.rstrip("/")
        self._headers = {"X-Consul-Token": token} if token else {}
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._concurrency = asyncio.Semaphore(concurrency)
        self._http: aiohttp.ClientSession | None = None

    async def services(self) -> dict[str, Registered]:
        """All services of the agent, whoever registered them, with their checks."""
        services, checks = await asyncio.gather(self._get("agent/services"), self._get("agent/checks"))
        try:
            by_service: dict[str, list[Json]] = defaultdict(list)
            for check in checks.values():
                by_service[check.get("ServiceID", "")].append(check)
            return {id: _registered(found, by_service[id]) for id, found in services.items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise ConsulAwayError(f"{self.url} answers with something else than its services: {error!r}") from None

    async def statuses(self, names: Collection[str]) -> dict[str, dict[str, str]]:
        """Service id -> check id -> status, of the services of these names; maintenance modes are not among them."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for name in names:
            checks = await self._get("agent/checks", {"filter": f'ServiceName == "{name}"'})
            try:
                for check in checks.values():
                    if check.get("ServiceName") == name and not check["CheckID"].startswith(_MAINTENANCE):
                        found[check["ServiceID"]][check["CheckID"]] = check["Status"]
            except (AttributeError, KeyError, TypeError) as error:
                raise ConsulAwayError(f"{self.url} answers with something else than checks: {error!r}") from None
        return found

    async def leader(self) -> str:
        """Its address; "" while there is none. Needs no token."""
        return str(await self._get("status/leader") or "")

    async def advertised_address(self) -> str:
        """The IP address by which other agents reach this one; "" if it does not say."""
        member = (await self._get("agent/self") or {}).get("Member") or {}
        return str(member.get("Addr") or "")

    async def register(self, service: Service, maintenance: str | None = None) -> None:
        """Checks that exist keep their status. A check that is no longer wanted stays: see `drop_check`.

        Consul could drop them itself (replace-existing-checks), but then it drops a maintenance mode with them.
        `maintenance`: the reason to be in maintenance mode from the first moment. The mode is a check of a known id, so it can come
        with the service: in two requests, there would be a moment between them in which the service is in rotation.
        """
        mode = {
            "CheckID": _MAINTENANCE + service.id,
            "Name": "Service Maintenance Mode",
            "Notes": maintenance,
            "Status": "critical",
            "TTL": _FOR_GOOD,
        }
        body = {
            "ID": service.id,
            "Name": service.name,
            "Address": service.address,
            "Port": service.port,
            "Tags": list(service.tags),
            "Meta": dict(service.meta),
            "Checks": [
                {"CheckID": check.id, "Name": check.name, "Status": check.status, **check.definition}
                for check in service.checks
            ]
            + ([mode] if maintenance else []),
        }
        await self._put("agent/service/register", body)

    async def deregister(self, service_id: str) -> None:
        """Also where the agent does not have it."""
        await self._put(f"agent/service/deregister/{quote(service_id, safe='')}", may_be_missing=True)

    async def set_maintenance(self, service_id: str, on: bool, reason: str) -> None:
        parameters = {"enable": "true", "reason": reason} if on else {"enable": "false"}
        await self._put(f"agent/service/maintenance/{quote(service_id, safe='')}", None, parameters)

    async def drop_check(self, check_id: str) -> None:
        await self._put(f"agent/check/deregister/{quote(check_id, safe='')}", may_be_missing=True)

    async def heartbeat(self, check_id: str, status: str, output: str) -> None:
        await self._put(f"agent/check/update/{quote(check_id, safe='')}", {"Status": status, "Output": output})

    async def dead_nodes(self) -> list[str]:
        """The nodes whose agent the cluster has found dead, or that have left it by failing."""
        critical = await self._get("health/state/critical", {"filter": 'CheckID == "serfHealth"'})
        try:
            return sorted(check["Node"] for check in critical if check["CheckID"] == "serfHealth")
        except (KeyError, TypeError) as error:
            raise ConsulAwayError(f"{self.url} answers with something else than checks: {error!r}") from None

    async def services_of_node(self, node: str) -> dict[str, Mapping[str, str]]:
        """Service id -> meta, of the catalog."""
        found = await self._get(f"catalog/node/{quote(node, safe='')}") or {}
        try:
            return {id: service.get("Meta") or {} for id, service in (found.get("Services") or {}).items()}
        except AttributeError as error:
            raise ConsulAwayError(f"{self.url} answers with something else than a node: {error!r}") from None

    async def remove_from_catalog(self, node: str, service_id: str) -> None:
        await self._put("catalog/deregister", {"Node": node, "ServiceID": service_id})

    async def close(self) -> None:
        if self._http:
            await self._http.close()

    async def _get(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        try:
            return orjson.loads(await self._send("GET", path, None, parameters or {}) or b"null")
        except orjson.JSONDecodeError as error:
            raise ConsulAwayError(f"{self.url} answers with something else than JSON: {error}") from None

    async def _put(
        self,
        path: str,
        body: Json | None = None,
        parameters: Mapping[str, str] | None = None,
        *,
        may_be_missing: bool = False,
    ) -> None:
        await self._send("PUT", path, body, parameters or {}, may_be_missing=may_be_missing)

    async def _send(
        self, method: str, path: str, body: Json | None, parameters: Mapping[str, str], *, may_be_missing: bool = False
    ) -> bytes:
        self._http = self._http or aiohttp.ClientSession(headers=self._headers, timeout=self._timeout, trust_env=False)
        query = "&".join(f"{name}={quote(value)}" for name, value in parameters.items())
        url = URL(f"{self.url}/v1/{path}" + (f"?{query}" if query else ""), encoded=True)
        data = orjson.dumps(body) if body is not None else None
        try:
            async with self._concurrency, self._http.request(method, url, data=data) as answer:
                content = await answer.read()
                if answer.status == 200 or (may_be_missing and answer.status == 404):
                    return content
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ConsulAwayError(f"Consul at {self.url} does not answer: {error or repr(error)}") from None
        said = f"{answer.status} {content[:300].decode(errors='replace').strip()}"
        if answer.status in _AWAY or (method == "GET"):
            raise ConsulAwayError(f"Consul at {self.url} answers {said}")
        raise RefusedError(f"Consul answers {said}")


def _registered(found: Json, checks: list[Json]) -> Registered:
    maintenance = next((check.get("Notes", "") for check in checks if check["CheckID"].startswith(_MAINTENANCE)), None)
    own = [check for check in checks if not check["CheckID"].startswith(_MAINTENANCE)]
    return Registered(
        id=found["ID"],
        name=found["Service"],
        address=found.get("Address", ""),
        port=found.get("Port", 0),
        tags=tuple(found.get("Tags") or ()),
        meta=found.get("Meta") or {},
        check_ids=frozenset(check["CheckID"] for check in own),
        maintenance=maintenance,
        statuses={check["CheckID"]: check.get("Status", "") for check in own},
    )
