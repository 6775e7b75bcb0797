"""The calls that the autoscaler makes to a Marathon API."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson
import requests

from autoscale.errors import ApiError, BusyError, ChangedError
from autoscale.metrics.fetching import reason_of
from daemonkit.addresses import without_credentials


@dataclass(frozen=True)
class App:
    """`version` changes with every change of the app. `in_rotation`: instances that serve, None where the API does not say."""

    id: str
    instances: int
    deploying: bool
    labels: dict[str, str]
    version: str = ""
    in_rotation: int | None = None


class Api:
    def __init__(self, url: str, *, timeout: float, credentials: str = "") -> None:
        """`credentials`: `user:password`, sent as HTTP basic authentication."""
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._session = requests.Session()
        self._session.trust_env = False
        user, colon, password = credentials.partition(":")
        if colon:
            self._session.auth = (user, password)

    def apps(self) -> list[App]:
        """All apps. Raises ApiError."""
        body = self._call("GET", "/v2/apps?embed=apps.deployments&embed=apps.counts")
        try:
            return [_app(app) for app in body["apps"]]
        except (KeyError, TypeError, AttributeError):
            raise ApiError(f"GET {without_credentials(self._url)}/v2/apps answers with no list of apps") from None

    def tasks(self) -> dict[str, list[str]]:
        """Ids of running tasks, by app. Raises ApiError."""
        found: dict[str, list[str]] = {}
        try:
            for task in self._call("GET", "/v2/tasks?status=running")["tasks"]:
                found.setdefault(task["appId"], []).append(task["id"])
        except (KeyError, TypeError, AttributeError):
            raise ApiError(f"GET {without_credentials(self._url)}/v2/tasks answers with no list of tasks") from None
        return found

    def is_replaceable(self, app_id: str) -> bool:
        """Whether what is under way for the app is about it alone and no canary or blue/green roll-out: a forced change of the count
        carries such a deployment on, and would cut the others short. Raises ApiError."""
        try:
            running = [one for one in self._call("GET", "/v2/deployments") if app_id in one["affectedApps"]]
            return all(
                set(one["affectedApps"]) == {app_id}
                and not one.get("affectedPods")
                and not any("rollout" in action for action in one["currentActions"])
                for one in running
            )
        except (KeyError, TypeError, AttributeError):
            raise ApiError(
                f"GET {without_credentials(self._url)}/v2/deployments answers with no list of deployments"
            ) from None

    def scale(self, app: App, instances: int, *, force: bool = False) -> None:
        """Asks for `instances` of the app as it was read: If-Match names the version that was decided on.

        `force` takes the place of a running deployment. Raises BusyError, ChangedError or another ApiError.
        """
        path = f"/v2/apps/{quote(app.id.lstrip('/'))}{'?force=true' if force else ''}"
        headers = {"If-Match": f'"{app.version}"'} if app.version else {}
        self._call("PUT", path, {"instances": instances}, headers)

    def _call(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        try:
            response = self._session.request(
                method, self._url + path, json=body, headers=headers, timeout=self._timeout, allow_redirects=False
            )
        except requests.RequestException as error:
            raise ApiError(f"{method} {without_credentials(self._url)}{path}: {reason_of(error)}") from None
        if response.status_code not in (200, 201):
            kind = {409: BusyError, 412: ChangedError}.get(response.status_code, ApiError)
            raise kind(f"{method} {path}: {response.status_code} {response.text[:300]}")
        try:
            return orjson.loads(response.content)
        except ValueError:
            raise ApiError(f"{method} {without_credentials(self._url)}{path} does not answer with JSON") from None


def _app(document: dict[str, Any]) -> App:
    counts = "tasksHealthy" if document.get("healthChecks") else "tasksRunning"
    return App(
        document["id"],
        document["instances"],
        bool(document.get("deployments")),
        document.get("labels") or {},
        document.get("version") or "",
        document.get(counts),
    )
