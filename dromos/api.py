"""A client of Marathon's REST API, for the commands of this package; any Marathon answers it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from daemonkit.addresses import without_credentials
from dromos.errors import CommandError, NotReachableError

Json = dict[str, Any]
VARIABLE = "DROMOS_API_URL"
TOKEN_VARIABLE = "DROMOS_API_TOKEN"
DEFAULT_URL = "http://127.0.0.1:8080"
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 60.0


@dataclass(frozen=True)
class Event:
    """One event of the stream: its id (None from a Marathon), its type and its data."""

    id: str | None
    type: str
    data: str


def app_path(app_id: str) -> str:
    """`/shop/web` or `shop/web` -> `/v2/apps/shop/web`, each segment quoted."""
    return "/v2/apps/" + quote(app_id.strip("/"), safe="/")


def pod_path(pod_id: str) -> str:
    """`/shop/pair` -> `/v2/pods/shop/pair`."""
    return "/v2/pods/" + quote(pod_id.strip("/"), safe="/")


def group_path(group_id: str) -> str:
    """`/shop` -> `/v2/groups/shop`; the root group is `/v2/groups`."""
    return ("/v2/groups/" + quote(group_id.strip("/"), safe="/")).rstrip("/")


class _Bearer(requests.auth.AuthBase):
    """Also where a .netrc names the host, which would be taken else."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Api:
    """Calls with JSON in and out. Raises NotReachableError where nothing answers, CommandError with the server's own words else."""

    def __init__(self, url: str, *, timeout: float = READ_TIMEOUT) -> None:
        self.url, self._timeout = (url if "://" in url else f"http://{url}").rstrip("/"), timeout
        self._session = requests.Session()

    @classmethod
    def of_environment(cls, url: str, *, timeout: float = READ_TIMEOUT) -> "Api":
        """The platform's own, with the token of DROMOS_API_TOKEN where there is one and the address names no user. Raises CommandError."""
        api, token = cls(url, timeout=timeout), os.environ.get(TOKEN_VARIABLE, "").strip()
        if not (token.isascii() and token.isprintable()):
            raise CommandError(f"{TOKEN_VARIABLE} holds more than one line, or characters that no token has")
        if token and "@" not in api.url.partition("://")[2].partition("/")[0]:
            api._session.auth = _Bearer(token)
        return api

    def login(self, user: str, password: str) -> None:
        """From now on as this user (HTTP Basic)."""
        self._session.auth = (user, password)

    def get(self, path: str, **params: object) -> Any:
        return self._call("GET", path, params)

    def put(self, path: str, body: object, **params: object) -> Any:
        return self._call("PUT", path, params, body)

    def post(self, path: str, body: object = None, **params: object) -> Any:
        return self._call("POST", path, params, body)

    def delete(self, path: str, **params: object) -> Any:
        return self._call("DELETE", path, params)

    def deploy(self, method: str, path: str, body: object = None, **params: object) -> tuple[Any, str | None]:
        """A change: its answer, and the id of the deployment that carries it out (None where there is none)."""
        response = self._send(method, path, params, body)
        answer = self._json(response)
        deployment = response.headers.get("Marathon-Deployment-Id")
        if deployment is None and isinstance(answer, dict):
            deployment = answer.get("deploymentId") or next(
                (item["id"] for item in answer.get("deployments") or []), None
            )
        return answer, deployment

    def get_or_none(self, path: str, **params: object) -> Any:
        """As `get`; None where the server says 404."""
        response = self._send("GET", path, params)
        return None if response.status_code == 404 else self._json(response)

    def events(self, types: tuple[str, ...] = (), last_id: str | None = None) -> Iterator[Event]:
        """The event stream, until the server ends it."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        response = self._send("GET", "/v2/events", {"event_type": list(types)}, headers=headers, stream=True)
        if response.status_code != 200:
            self._json(response)
        response.encoding = "utf-8"  # what an event stream is, whatever its header says
        fields: dict[str, str] = {}
        try:
            for line in response.iter_lines(chunk_size=1, decode_unicode=True):
                if line:
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                elif "data" in fields:
                    yield Event(fields.get("id"), fields.get("event", "message"), fields["data"])
                    fields = {}
        except requests.RequestException:
            return

    def _call(self, method: str, path: str, params: dict[str, object], body: object = None) -> Any:
        return self._json(self._send(method, path, params, body))

    def _send(
        self,
        method: str,
        path: str,
        params: dict[str, object],
        body: object = None,
        headers: dict[str, str] | None = None,
        stream: bool = False,
    ) -> requests.Response:
        try:
            return self._session.request(
                method,
                self.url + path,
                params={key: _query(value) for key, value in params.items() if value is not None},
                json=body,
                headers=headers,
                stream=stream,
                timeout=(min(CONNECT_TIMEOUT, self._timeout), None if stream else self._timeout),
            )
        except (requests.ConnectionError, requests.Timeout):
            raise NotReachableError(
                f"no API answers at {without_credentials(self.url)}; is the platform up (`dromos status`)?"
                f" Another one: --api-url or {VARIABLE}"
            ) from None
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
            raise NotReachableError(
                f"{without_credentials(self.url)} is not an address like {DEFAULT_URL}; give one with --api-url or {VARIABLE}"
            ) from None
        except requests.RequestException as error:
            raise NotReachableError(f"{without_credentials(self.url)}: {type(error).__name__}") from None

    def _json(self, response: requests.Response) -> Any:
        if not response.ok:
            raise CommandError(_explain(response))
        try:
            return response.json() if response.content else None
        except ValueError:
            raise NotReachableError(
                f"what answers at {without_credentials(self.url)} is not Marathon's API; another address: --api-url or {VARIABLE}"
            ) from None


def _query(value: object) -> str | list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _explain(response: requests.Response) -> str:
    """The server's message with its details, in one line."""
    try:
        body = response.json()
    except ValueError:
        text = " ".join(response.text.split())
        said = f": {text[:500]}" if text and not text.startswith("<") else ""
        return f"{without_credentials(response.url)} answers {response.status_code} {response.reason}{said}"
    if not isinstance(body, dict):
        return f"{response.status_code} {response.reason}"
    text = str(body.get("message", response.reason))
    details = body.get("details")
    if isinstance(details, list):
        text += ": " + "; ".join(
            f"{item.get('path', '')} {', '.join(map(str, item.get('errors', [])))}".strip()
            for item in details
            if isinstance(item, dict)
        )
    elif details:
        text += f": {details}"
    if response.status_code == 409 and "force=true" in text:
        text = text.partition(" Override with")[0] + " --force takes their place."
    if isinstance(body.get("deployments"), list):
        text += " (" + ", ".join(str(item.get("id")) for item in body["deployments"]) + ")"
    return text
