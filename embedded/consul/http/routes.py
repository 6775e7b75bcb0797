"""The endpoints by path, readable top to bottom; and how a path finds its own."""

import posixpath
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from embedded.consul.http.context import Context
from embedded.consul.http.endpoints import (
    acl,
    agent,
    agent_checks,
    catalog,
    connect,
    event,
    health,
    kv,
    operator,
    session,
    status,
    txn,
)
from embedded.consul.http.message import Answer, Request

Endpoint = Callable[[Context, Request], Awaitable[Answer]]

# A path that ends with a slash stands for all below it; what follows it is `request.rest`.
ROUTES: Mapping[str, Mapping[str, Endpoint]] = {
    "/v1/acl/bootstrap": {"PUT": acl.bootstrap},
    "/v1/acl/policies": {"GET": acl.policies},
    "/v1/acl/policy": {"PUT": acl.create_policy},
    "/v1/acl/policy/": {"GET": acl.read_policy, "PUT": acl.update_policy, "DELETE": acl.delete_policy},
    "/v1/acl/token": {"PUT": acl.create_token},
    "/v1/acl/token/self": {"GET": acl.read_own_token},
    "/v1/acl/token/": {"GET": acl.read_token, "PUT": acl.update_token, "DELETE": acl.delete_token},
    "/v1/acl/tokens": {"GET": acl.tokens},
    "/v1/agent/check/register": {"PUT": agent_checks.register},
    "/v1/agent/check/deregister/": {"PUT": agent_checks.deregister},
    "/v1/agent/check/pass/": {"PUT": agent_checks.report_passing},
    "/v1/agent/check/warn/": {"PUT": agent_checks.report_warning},
    "/v1/agent/check/fail/": {"PUT": agent_checks.report_critical},
    "/v1/agent/check/update/": {"PUT": agent_checks.update},
    "/v1/agent/checks": {"GET": agent_checks.checks},
    "/v1/agent/force-leave/": {"PUT": agent.force_leave},
    "/v1/agent/health/service/id/": {"GET": agent_checks.health_by_id},
    "/v1/agent/health/service/name/": {"GET": agent_checks.health_by_name},
    "/v1/agent/host": {"GET": agent.host},
    "/v1/agent/join/": {"PUT": agent.join},
    "/v1/agent/maintenance": {"PUT": agent.maintenance},
    "/v1/agent/members": {"GET": agent.members},
    "/v1/agent/metrics": {"GET": agent.metrics},
    "/v1/agent/reload": {"PUT": agent.reload},
    "/v1/agent/self": {"GET": agent.self},
    "/v1/agent/service/": {"GET": agent.service},
    "/v1/agent/service/deregister/": {"PUT": agent.deregister},
    "/v1/agent/service/maintenance/": {"PUT": agent.service_maintenance},
    "/v1/agent/service/register": {"PUT": agent.register},
    "/v1/agent/services": {"GET": agent.services},
    "/v1/catalog/connect/": {"GET": catalog.connect},
    "/v1/catalog/datacenters": {"GET": catalog.datacenters},
    "/v1/catalog/deregister": {"PUT": catalog.deregister},
    "/v1/catalog/node/": {"GET": catalog.node},
    "/v1/catalog/node-services/": {"GET": catalog.node_services},
    "/v1/catalog/nodes": {"GET": catalog.nodes},
    "/v1/catalog/register": {"PUT": catalog.register},
    "/v1/catalog/service/": {"GET": catalog.service},
    "/v1/catalog/services": {"GET": catalog.services},
    "/v1/connect/ca/roots": {"GET": connect.roots},
    "/v1/agent/connect/ca/roots": {"GET": connect.roots},
    "/v1/connect/intentions": {"GET": connect.intentions},
    "/v1/coordinate/datacenters": {"GET": status.coordinate_datacenters},
    "/v1/coordinate/node/": {"GET": status.coordinate_node},
    "/v1/coordinate/nodes": {"GET": status.coordinate_nodes},
    "/v1/event/fire/": {"PUT": event.fire},
    "/v1/event/list": {"GET": event.events},
    "/v1/health/checks/": {"GET": health.checks},
    "/v1/health/connect/": {"GET": health.connect},
    "/v1/health/node/": {"GET": health.node},
    "/v1/health/service/": {"GET": health.service},
    "/v1/health/state/": {"GET": health.state},
    "/v1/kv/": {"GET": kv.get, "PUT": kv.put, "DELETE": kv.delete},
    "/v1/operator/autopilot/health": {"GET": operator.autopilot_health},
    "/v1/operator/raft/configuration": {"GET": operator.raft_configuration},
    "/v1/query": {"GET": connect.queries},
    "/v1/session/create": {"PUT": session.create},
    "/v1/session/destroy/": {"PUT": session.destroy},
    "/v1/session/info/": {"GET": session.info},
    "/v1/session/list": {"GET": session.sessions},
    "/v1/session/node/": {"GET": session.node},
    "/v1/session/renew/": {"PUT": session.renew},
    "/v1/status/leader": {"GET": status.leader},
    "/v1/status/peers": {"GET": status.peers},
    "/v1/txn": {"PUT": txn.run},
}

_PREFIXES = sorted((path for path in ROUTES if path.endswith("/")), key=len, reverse=True)


class Found(NamedTuple):
    methods: Mapping[str, Endpoint]
    rest: str


def find(path: str) -> Found | None:
    if path in ROUTES and not path.endswith("/"):
        return Found(ROUTES[path], "")
    for prefix in _PREFIXES:
        if path.startswith(prefix):
            return Found(ROUTES[prefix], path[len(prefix) :])
    return None


def clean(path: str) -> str:
    """The path that the real one sends clients on to: without `//`, `.` and `..`."""
    cleaned = posixpath.normpath(path or "/")
    cleaned = "/" + cleaned.lstrip("/")
    return cleaned + "/" if path.endswith("/") and cleaned != "/" else cleaned
