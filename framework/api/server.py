"""The API: the table of its routes, and the application that serves them.

    app = make_app(engine, settings, health)

The table is read top to bottom: of two routes that fit a path the upper one is taken, so the endings of an id come before the id.
"""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from daemonkit.health import Health
from framework.api.context import Api, Engine
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
from framework.api.leader_proxy import LeaderProxy
from framework.api.metrics import Metrics
from framework.api.middleware import ERROR_HANDLERS, Headers, Limit, Paths
from framework.api.openapi import openapi_endpoint
from framework.api.security.guard import Guard
from framework.api.settings import ApiSettings
from framework.ui.assets import ui_routes


def _get(path: str, endpoint: object) -> Route:
    return Route(path, endpoint, methods=["GET"])  # type: ignore[arg-type]


def _post(path: str, endpoint: object) -> Route:
    return Route(path, endpoint, methods=["POST"])  # type: ignore[arg-type]


def _put(path: str, endpoint: object) -> Route:
    return Route(path, endpoint, methods=["PUT"])  # type: ignore[arg-type]


def _patch(path: str, endpoint: object) -> Route:
    return Route(path, endpoint, methods=["PATCH"])  # type: ignore[arg-type]


def _delete(path: str, endpoint: object) -> Route:
    return Route(path, endpoint, methods=["DELETE"])  # type: ignore[arg-type]


ROUTES = [
    _get("/v2/apps", apps.list_apps),
    _post("/v2/apps", apps.create_app),
    _put("/v2/apps", apps.put_apps),
    _patch("/v2/apps", apps.patch_apps),
    _post("/v2/apps/{id:path}/restart", apps.restart_app),
    _get("/v2/apps/{id:path}/tasks", tasks.list_app_tasks),
    _delete("/v2/apps/{id:path}/tasks", tasks.delete_app_tasks),
    _get("/v2/apps/{id:path}/tasks/{task_id}", tasks.show_app_task),
    _delete("/v2/apps/{id:path}/tasks/{task_id}", tasks.delete_app_task),
    _get("/v2/apps/{id:path}/versions", apps.list_versions),
    _get("/v2/apps/{id:path}/versions/{version}", apps.show_version),
    _get("/v2/apps/{id:path}", apps.show_app),
    _put("/v2/apps/{id:path}", apps.put_app),
    _patch("/v2/apps/{id:path}", apps.patch_app),
    _delete("/v2/apps/{id:path}", apps.delete_app),
    #
    _get("/v2/groups", groups.show_group),
    _post("/v2/groups", groups.create_group),
    _put("/v2/groups", groups.put_group),
    _delete("/v2/groups", groups.delete_group),
    _get("/v2/groups/apps", groups.list_group_apps),
    _get("/v2/groups/versions", groups.list_group_versions),
    _get("/v2/groups/versions/{version}", groups.show_group_version),
    _get("/v2/groups/{id:path}/apps", groups.list_group_apps),
    _get("/v2/groups/{id:path}/versions", groups.list_group_versions),
    _get("/v2/groups/{id:path}/versions/{version}", groups.show_group_version),
    _get("/v2/groups/{id:path}", groups.show_group),
    _post("/v2/groups/{id:path}", groups.create_group),
    _put("/v2/groups/{id:path}", groups.put_group),
    _patch("/v2/groups/{id:path}", groups.patch_group),
    _delete("/v2/groups/{id:path}", groups.delete_group),
    #
    _get("/v2/pods", pods.list_pods),
    _post("/v2/pods", pods.create_pod),
    _get("/v2/pods/::status", pods.list_statuses),
    _get("/v2/pods::status", pods.list_statuses),
    _get("/v2/pods/{id:path}::status", pods.show_status),
    _get("/v2/pods/{id:path}::versions", pods.list_versions),
    _get("/v2/pods/{id:path}::versions/{version}", pods.show_version),
    _delete("/v2/pods/{id:path}::instances", pods.delete_instances),
    _delete("/v2/pods/{id:path}::instances/{instance_id}", pods.delete_instance),
    _get("/v2/pods/{id:path}", pods.show_pod),
    _put("/v2/pods/{id:path}", pods.put_pod),
    _delete("/v2/pods/{id:path}", pods.delete_pod),
    #
    _get("/v2/tasks", tasks.list_tasks),
    _post("/v2/tasks/delete", tasks.delete_tasks),
    _get("/v2/tasks/{task_id}/files", sandbox.list_files),
    _get("/v2/tasks/{task_id}/files/read", sandbox.read_file),
    _get("/v2/tasks/{task_id}/files/download", sandbox.download_file),
    _get("/v2/volumes", volumes.list_volumes),
    #
    _get("/v2/deployments", deployments.list_deployments),
    _get("/v2/deployments/{id}", deployments.show_deployment),
    _delete("/v2/deployments/{id}", deployments.cancel_deployment),
    _post("/v2/deployments/{id}/go", deployments.proceed),
    _get("/v2/queue", deployments.show_queue),
    _delete("/v2/queue/{id:path}/delay", deployments.reset_delay),
    #
    _get("/v2/events", events.stream_events),
    _get("/v2/leader", system.show_leader),
    _delete("/v2/leader", system.abdicate),
    _get("/v2/info", system.info),
    _get("/v2/plugins", system.plugins),
    #
    _get("/v2/me", platform.show_me),
    _get("/v2/daemons", platform.list_daemons),
    _get("/v2/services", platform.list_services),
    _get("/v2/services/{name:path}", platform.show_service),
    _get("/v2/autoscale/journal", platform.show_journal),
    _get("/v2/agents", agents.list_agents),
    _post("/v2/agents/{id}/drain", agents.drain_agent),
    _delete("/v2/agents/{id}/drain", agents.undrain_agent),
    #
    _get("/ping", system.ping),
    _get("/health", system.health),
    _get("/metrics", system.metrics),
    _get("/metrics/prometheus", system.prometheus),
    _get("/config", system.config),
    _get("/logging", system.show_logging),
    _post("/logging", system.set_logging),
    _get("/help", system.help_page),
]


def make_app(engine: Engine, settings: ApiSettings, health: Health, *, address: str = "") -> Starlette:
    """The ASGI application of the API and the web UI. `address` is this node's host:port as it stands for election."""
    metrics = Metrics(engine.view, engine.bus)
    middleware = [
        Middleware(Paths),
        Middleware(Headers, view=engine.view, metrics=metrics),
        Middleware(Limit, most=settings.max_concurrent_requests),
    ]
    if settings.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware, allow_origins=list(settings.cors_origins), allow_methods=["*"], allow_headers=["*"]
            )
        )
    middleware.append(Middleware(LeaderProxy, view=engine.view, settings=settings, address=address))
    middleware.append(Middleware(Guard, settings=settings))
    described = Route("/v2/openapi.json", openapi_endpoint(ROUTES))
    app = Starlette(routes=[*ROUTES, described, *ui_routes()], middleware=middleware, exception_handlers=ERROR_HANDLERS)
    app.state.api = Api(engine, settings)
    app.state.metrics = metrics
    app.state.health = health
    return app
