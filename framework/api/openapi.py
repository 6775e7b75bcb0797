"""`/v2/openapi.json`: the API described by its own table of routes and the shapes that it checks bodies against."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from framework.api.answers.info import own_version
from framework.api.context import json_response
from framework.api.endpoints import (
    agents,
    apps,
    deployments,
    events,
    groups,
    platform,
    pods,
    sandbox,
    system,
    tasks,
    volumes,
)
from framework.api.forms import shapes
from framework.decide.rollout import STRATEGIES

Document = dict[str, Any]
Endpoint = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """What the table of routes does not tell. `body` is a shape, or a list of one; `answers` are the codes of success."""

    summary: str
    parameters: tuple[str, ...] = ()
    body: type[shapes.Shape] | None = None
    many: bool = False
    answers: tuple[int, ...] = (200,)
    media_type: str = "application/json"


_CHANGE = ("force", "deadline", "onFailure", "strategy", "share", "healthySeconds", "maxFailures")
_KILL = ("scale", "wipe", "force")

OPERATIONS: dict[Endpoint, Operation] = {
    apps.list_apps: Operation("All apps, or those that the filters leave", ("cmd", "id?", "label", "embed")),
    apps.create_app: Operation("Create an app", _CHANGE, shapes.App, answers=(201,)),
    apps.put_apps: Operation("Change or create several apps", (*_CHANGE, "partialUpdate"), shapes.App, many=True),
    apps.patch_apps: Operation("Change several apps", _CHANGE, shapes.App, many=True),
    apps.restart_app: Operation("Replace all instances of an app", _CHANGE),
    apps.list_versions: Operation("The kept versions of an app, newest first"),
    apps.show_version: Operation("An app as it was"),
    apps.show_app: Operation("An app with its state; `group/*` gives all apps of a group", ("embed",)),
    apps.put_app: Operation(
        "Change or create an app; a version alone rolls back",
        (*_CHANGE, "partialUpdate"),
        shapes.App,
        answers=(200, 201),
    ),
    apps.patch_app: Operation("Change an app", _CHANGE, shapes.App),
    apps.delete_app: Operation("Delete an app", _CHANGE),
    tasks.list_app_tasks: Operation("The tasks of an app"),
    tasks.show_app_task: Operation("One task of an app"),
    tasks.delete_app_tasks: Operation("Kill tasks of an app", ("host", *_KILL)),
    tasks.delete_app_task: Operation("Kill one task", _KILL),
    tasks.list_tasks: Operation("All tasks of apps", ("status", "status[]")),
    tasks.delete_tasks: Operation("Kill tasks by id", _KILL, shapes.TaskIds),
    groups.show_group: Operation("A group and what is in it", ("embed",)),
    groups.create_group: Operation(
        "Create a group with all that is nested in it", _CHANGE, shapes.Group, answers=(201,)
    ),
    groups.put_group: Operation("Change, create, scale or roll back a group", (*_CHANGE, "dryRun"), shapes.Group),
    groups.patch_group: Operation("Enforce a top-level group's role, or not", _CHANGE, shapes.Group),
    groups.delete_group: Operation("Delete a group with all in it", _CHANGE),
    groups.list_group_apps: Operation("All apps in a group, at any depth"),
    groups.list_group_versions: Operation("The kept versions of a group"),
    groups.show_group_version: Operation("A group as it was"),
    pods.list_pods: Operation("All pods"),
    pods.create_pod: Operation("Create a pod", _CHANGE, shapes.Pod, answers=(201,)),
    pods.list_statuses: Operation("The status of all pods"),
    pods.show_status: Operation("The status of a pod and its instances"),
    pods.list_versions: Operation("The kept versions of a pod"),
    pods.show_version: Operation("A pod as it was"),
    pods.delete_instances: Operation("Kill instances of a pod; the body lists their ids", ("wipe",)),
    pods.delete_instance: Operation("Kill one instance of a pod", ("wipe",)),
    pods.show_pod: Operation("A pod"),
    pods.put_pod: Operation("Replace a pod", _CHANGE, shapes.Pod),
    pods.delete_pod: Operation("Delete a pod", _CHANGE, answers=(202,)),
    deployments.list_deployments: Operation("Running deployments"),
    deployments.show_deployment: Operation("A running deployment"),
    deployments.cancel_deployment: Operation(
        "Roll a deployment back; with force, stop it", ("force",), answers=(200, 202)
    ),
    deployments.proceed: Operation(
        "The go that a canary or blue/green deployment waits for; with force, before it has its share", ("force",)
    ),
    deployments.show_queue: Operation("What waits for offers, and why", ("embed",)),
    deployments.reset_delay: Operation("Let a delayed app or pod start now", answers=(204,)),
    events.stream_events: Operation("The event stream", ("event_type", "plan-format"), media_type="text/event-stream"),
    system.show_leader: Operation("Who leads"),
    system.abdicate: Operation("Give up leadership"),
    system.info: Operation("About this framework"),
    platform.show_me: Operation("Who asks, and what they may do"),
    platform.list_daemons: Operation("The daemons of the platform and their health"),
    platform.list_services: Operation("Services as Consul and the edge have them, with the edge's counters"),
    platform.show_service: Operation("The instances of a service as Consul has them"),
    platform.show_journal: Operation("What the autoscaler decided, and why", ("app", "most")),
    agents.list_agents: Operation("The agents, with their resources"),
    agents.drain_agent: Operation("Take an agent out of service; its tasks are killed"),
    agents.undrain_agent: Operation("Put an agent back into service"),
    sandbox.list_files: Operation("A directory of a task's sandbox", ("path", "agent")),
    sandbox.read_file: Operation("A piece of a file of a task's sandbox", ("path", "agent", "offset", "length")),
    sandbox.download_file: Operation(
        "A file of a task's sandbox", ("path", "agent"), media_type="application/octet-stream"
    ),
    volumes.list_volumes: Operation("Persistent volumes, in use or waiting for their instance", ("app",)),
    system.plugins: Operation("Plugins, of which there are none"),
    system.ping: Operation("Whether it is up", media_type="text/plain"),
    system.health: Operation("Why it is or is not healthy", answers=(200, 503)),
    system.metrics: Operation("Metrics, as Prometheus' text or Marathon's JSON", media_type="text/plain"),
    system.prometheus: Operation("Metrics as Prometheus' text", media_type="text/plain"),
    system.config: Operation("Settings"),
    system.show_logging: Operation("Log levels"),
    system.set_logging: Operation("Set a log level", body=shapes.LogLevel),
    system.help_page: Operation("Where to read on", media_type="text/html"),
}

_PARAMETERS: dict[str, Document] = {
    "force": {"schema": {"type": "boolean"}, "description": "override deployments that hold what this changes"},
    "deadline": {
        "schema": {"type": "number", "exclusiveMinimum": 0},
        "description": "seconds that the deployment may take",
    },
    "onFailure": {"schema": {"enum": ["stop", "rollback"]}, "description": "what happens at the deadline"},
    "strategy": {"schema": {"enum": list(STRATEGIES)}, "description": "how a new version is tried first"},
    "share": {"schema": {"type": "string"}, "description": "of a canary: `10%`, or rising shares, `5%,25%`"},
    "healthySeconds": {
        "schema": {"type": "number", "minimum": 0},
        "description": "go on after so long without a fault, instead of waiting for a go",
    },
    "maxFailures": {
        "schema": {"type": "integer", "minimum": 0},
        "description": "instances of the new version that may fail before it goes back",
    },
    "partialUpdate": {"schema": {"type": "boolean"}, "description": "false replaces the whole definition"},
    "dryRun": {"schema": {"type": "boolean"}, "description": "only tell the steps"},
    "scale": {
        "schema": {"type": "boolean"},
        "description": "want fewer instances, instead of replacing the killed ones",
    },
    "wipe": {"schema": {"type": "boolean"}, "description": "give up their persistent volumes"},
    "host": {"schema": {"type": "string"}, "description": "only tasks on this agent"},
    "cmd": {"schema": {"type": "string"}, "description": "part of the command"},
    "id?": {"name": "id", "schema": {"type": "string"}, "description": "part of the id"},
    "label": {"schema": {"type": "string"}, "description": "`a, b==c, d!=e, f in (x,y), g notin (z)`"},
    "embed": {"schema": {"type": "array", "items": {"type": "string"}}, "description": "parts of the state to add"},
    "status": {"schema": {"type": "string"}, "description": "running or staging"},
    "status[]": {"schema": {"type": "array", "items": {"type": "string"}}, "description": "running, staging"},
    "path": {"schema": {"type": "string"}, "description": "relative to the sandbox; none for all of it"},
    "agent": {"schema": {"type": "string"}, "description": "the agent of a task that has ended"},
    "offset": {"schema": {"type": "integer"}, "description": "where to begin, in bytes; -1 asks for the size"},
    "length": {"schema": {"type": "integer"}, "description": "how many bytes, at most 65536"},
    "app": {"schema": {"type": "string"}, "description": "only this app"},
    "most": {"schema": {"type": "integer"}, "description": "how many entries"},
    "event_type": {"schema": {"type": "array", "items": {"type": "string"}}, "description": "only these"},
    "plan-format": {"schema": {"enum": ["light"]}, "description": "leave groups out of plans"},
}
_ERRORS = {
    400: "The request cannot be understood",
    401: "Who asks is not known",
    403: "Not permitted, or a limit is reached",
    404: "There is no such thing",
    409: "Locked by a deployment, or it exists already",
    413: "The body is too large",
    422: "Wrong types or broken rules, with paths in `details`",
    429: "Too many requests",
    503: "Not now: no leader, too busy, or the store cannot write",
}


def document_of(routes: Iterable[Route]) -> Document:
    _, schemas = models_json_schema(
        [(shape, "validation") for shape in (shapes.App, shapes.Pod, shapes.Group, shapes.TaskIds, shapes.LogLevel)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, Document] = {}
    for route in routes:
        for method in sorted((route.methods or set()) - {"HEAD"}):
            path = re.sub(r"\{(\w+):path\}", r"{\1}", route.path)
            paths.setdefault(path, {})[method.lower()] = _operation(route.endpoint, path)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Dromos",
            "version": own_version(),
            "description": "Marathon's REST API, with extensions: see docs/api.md.",
        },
        "paths": paths,
        "components": {
            "schemas": {
                **schemas.get("$defs", {}),
                "Error": {
                    "type": "object",
                    "required": ["message"],
                    "properties": {
                        "message": {"type": "string"},
                        "details": {},
                        "deployments": {"type": "array", "items": {"type": "object"}},
                    },
                },
            },
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def openapi_endpoint(routes: Iterable[Route]) -> Endpoint:
    document = document_of(routes)

    async def openapi(_request: Request) -> Response:
        return json_response(document)

    return openapi


def _operation(endpoint: Endpoint, path: str) -> Document:
    known = OPERATIONS[endpoint]
    described: Document = {
        "summary": known.summary,
        "operationId": re.sub(r"\W+", "_", f"{endpoint.__name__}{path}").strip("_"),
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                for name in re.findall(r"\{(\w+)\}", path)
            ),
            *({"name": name, "in": "query", **_PARAMETERS[name]} for name in known.parameters),
        ],
        "responses": {
            **{str(code): _answer(known, code) for code in known.answers},
            **{
                str(code): {
                    "description": text,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
                for code, text in _ERRORS.items()
                if code not in known.answers
            },
        },
    }
    if known.body is not None:
        one = {"$ref": f"#/components/schemas/{known.body.__name__}"}
        schema = {"type": "array", "items": one} if known.many else one
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _answer(known: Operation, code: int) -> Document:
    if code in (202, 204):
        return {"description": "Done" if code == 204 else "Accepted"}
    return {"description": "Done", "content": {known.media_type: {}}}
