"""What every endpoint works with, and the few steps that they share: reading a request, changing what is declared, answering."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from framework.api.answers.apps import Apps
from framework.api.answers.cache import dumps
from framework.api.answers.deployments import result_json
from framework.api.answers.events import Events
from framework.api.answers.tasks import Tasks
from framework.api.changes import DraftEdit, complete
from framework.api.deployment_policy import deadline_in, on_failure_in, policy_of, rollout_in
from framework.api.errors import BadRequestError, ForbiddenError, TooLargeError, UnprocessableError
from framework.api.forms.app_form import Defaults
from framework.api.forms.service_ports import ServicePorts
from framework.api.security.accounts import EVERYBODY, Identity, Verb
from framework.api.settings import ApiSettings
from framework.engine.bus import Bus
from framework.engine.commands import Accepted, Answer, Command, Declare
from framework.engine.view import View
from framework.model import path_id, timestamp
from framework.model.change import Change
from framework.model.deployment import Deployment
from framework.model.group import Declared

V = TypeVar("V")
W = TypeVar("W")

DEEPEST_JSON = 100  # what was read has to be written again, and writers have a limit
_LARGE = 65536  # bytes of a body that is read, and its definitions checked, beside the event loop
MANY = 100  # apps and pods that are gone through beside it
DEPLOYMENT_HEADER = "Marathon-Deployment-Id"


class Engine(Protocol):
    """What the API needs of the engine."""

    @property
    def view(self) -> View: ...

    @property
    def bus(self) -> Bus: ...

    async def execute(self, command: Command) -> Answer: ...


class Api:
    def __init__(self, engine: Engine, settings: ApiSettings, clock: Callable[[], float] = time.time) -> None:
        self.engine, self.settings, self.clock = engine, settings, clock
        self.view, self.bus = engine.view, engine.bus
        self.tasks = Tasks(self.view)
        self.apps = Apps(self.view, self.tasks, clock)
        self.events = Events()
        self._ports = ServicePorts(settings.service_ports)
        # Of its own: what is large here keeps nobody else's short work waiting.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="api")

    async def aside(self, work: Callable[[V], W], given: V, *, large: bool) -> W:
        """`work(given)`; in a thread where it is large, so that others have their turns meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, given) if large else work(given)

    async def declare(
        self, request: Request, draft: DraftEdit, *, force: bool | None = None, wide: bool = False, **more: Any
    ) -> Accepted:
        """Carries the edit out. How it is deployed is read from the query, and from the labels of what it changes. `wide`: it may change
        everything that is declared."""
        large = getattr(request.state, "large", False)
        edit = complete(permitted(draft, identity_of(request)), self.settings.defaults, self._ports)
        # Tried on what is declared now: a request that is refused never gets to the writer.
        preview = await self.aside(edit, self.view.declared, large=large or (wide and self._is_large()))
        deadline, on_failure = policy_of(preview)
        command = Declare(
            edit,
            force=flag(request, "force") if force is None else force,
            deadline=deadline_in(request.query_params) or deadline,
            on_failure=on_failure_in(request.query_params) or on_failure,
            rollout=rollout_in(request.query_params, preview),
            size=len(preview.apps) + len(preview.pods),
            **more,
        )
        answer = await self.engine.execute(command)
        assert isinstance(answer, Accepted)
        return answer

    def _is_large(self) -> bool:
        declared = self.view.declared
        return len(declared.apps) + len(declared.pods) > MANY

    def announce(self, kind: str, request: Request, **fields: object) -> None:
        """An event that says who asked for what."""
        client = request.client.host if request.client else ""
        self.bus.publish(kind, self.clock(), {"clientIp": client, "uri": request.url.path, **fields})


def api_of(request: Request) -> Api:
    api: Api = request.app.state.api
    return api


# --- permissions

REFUSED = "Not Authorized to perform this action!"


def identity_of(request: Request) -> Identity:
    found: Identity = getattr(request.state, "identity", EVERYBODY)
    return found


def require(request: Request, verb: Verb, *paths: str) -> None:
    """Raises ForbiddenError unless the caller may do so to all of them."""
    identity = identity_of(request)
    if not all(identity.may(verb, path) for path in paths):
        raise ForbiddenError(REFUSED)


def visible(request: Request, found: Mapping[str, V]) -> Mapping[str, V]:
    """The apps or pods that the caller may view."""
    identity = identity_of(request)
    if identity.may("view", path_id.ROOT):
        return found
    return {path: value for path, value in found.items() if identity.may("view", path)}


def permitted(draft: DraftEdit, identity: Identity) -> DraftEdit:
    """The edit, refused if it touches anything that the caller may not create, update or delete."""

    def edit(declared: Declared, defaults: Defaults) -> Change:
        change = draft(declared, defaults)
        for verb, path in _touched(declared, change):
            if not identity.may(verb, path):
                raise ForbiddenError(REFUSED)
        return change

    return draft if identity is EVERYBODY else edit


def _touched(declared: Declared, change: Change) -> Iterator[tuple[Verb, str]]:
    parts: tuple[tuple[Mapping[str, object], Mapping[str, object]], ...] = (
        (change.apps, declared.apps),
        (change.pods, declared.pods),
        (change.groups, declared.groups),
    )
    for changed, known in parts:
        for path, value in changed.items():
            if value is None:
                yield "delete", path
            elif path not in known:
                yield "create", path
            elif value != known[path]:
                yield "update", path
    for path in change.restart:
        yield "update", path


# --- requests


async def json_body(request: Request) -> Any:
    """Raises what `checked_body` does."""
    return await checked_body(request, lambda document: document)


async def checked_body(request: Request, check: Callable[[Any], V]) -> V:
    """What `check` makes of the body. Raises what it raises, BadRequestError where the body is empty or not JSON, TooLargeError where it is
    larger than the settings allow."""
    api, body = api_of(request), bytearray()
    most = api.settings.max_body_bytes
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise TooLargeError(f"The body is larger than {most} bytes")
    except ClientDisconnect:
        raise BadRequestError("The client went away before the end of the body") from None
    request.state.large = len(body) > _LARGE
    return await api.aside(lambda text: check(_parsed(text)), bytes(body), large=request.state.large)


def _parsed(body: bytes) -> Any:
    if not body.strip():
        raise BadRequestError("Please specify data in JSON format")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError("Invalid JSON", details=str(error)) from None
    # Few brackets cannot be deep; only large bodies are looked through.
    if body.count(b"{") + body.count(b"[") > DEEPEST_JSON and _is_deeper(document, DEEPEST_JSON):
        raise BadRequestError("Invalid JSON", details=f"nested more than {DEEPEST_JSON} deep")
    return document


def _is_deeper(document: Any, most: int) -> bool:
    level = [document]
    for _ in range(most):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


def flag(request: Request, name: str, default: bool = False) -> bool:
    """A boolean parameter: `true` in any case is true, anything else false, absence the default."""
    value = request.query_params.get(name)
    return default if value is None else value.strip().lower() == "true"


def listed(request: Request, name: str) -> list[str]:
    """A parameter that may be repeated, or hold several values between commas."""
    return [part.strip() for value in request.query_params.getlist(name) for part in value.split(",") if part.strip()]


def id_in(request: Request, name: str = "id") -> str:
    return path_id.canonical(request.path_params[name])


def version_of(text: str) -> str:
    """A version as it is kept, from any ISO 8601 time."""
    try:
        return timestamp.to_text(timestamp.to_epoch(text))
    except (ValueError, OverflowError):
        raise UnprocessableError(f'Invalid format: "{text[:100]}" is not a version') from None


# --- answers


def json_response(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return raw_json(dumps(content), status, headers)


def raw_json(content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(content, status, headers, media_type="application/json")


def deployed(deployment: Deployment, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """The answer to most changes: which deployment carries it out."""
    return json_response(result_json(deployment), status, {DEPLOYMENT_HEADER: deployment.id, **(headers or {})})
