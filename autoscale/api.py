"""The calls that the autoscaler makes to a Marathon API."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from autoscale.errors import ApiError


@dataclass(frozen=True)
class App:
    id: str
    instances: int
    deploying: bool
    labels: dict[str, str]


class Api:
    def __init__(self, url: str, *, timeout: float) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._session = requests.Session()

    def apps(self) -> list[App]:
        """All apps. Raises ApiError."""
        body = self._call("GET", "/v2/apps?embed=apps.deployments")
        return [
            App(app["id"], app["instances"], bool(app.get("deployments")), app.get("labels") or {})
            for app in body["apps"]
        ]

    def scale(self, app_id: str, instances: int) -> None:
        """Raises ApiError; a deployment in the way (409) is one, too: it is tried again in the next round."""
        self._call("PUT", f"/v2/apps/{quote(app_id.lstrip('/'))}", {"instances": instances})

    def _call(self, method: str, path: str, body: object = None) -> Any:
        try:
            response = self._session.request(method, self._url + path, json=body, timeout=self._timeout)
        except requests.RequestException as error:
            raise ApiError(f"{method} {self._url}{path}: {error}") from None
        if not response.ok:
            raise ApiError(f"{method} {path}: {response.status_code} {response.text[:300]}")
        return response.json()
