"""/v1/health: the checks of nodes and services, and the instances of a service with all that decides whether they are healthy."""

from collections.abc import Callable, Iterable
from typing import Any

from embedded.consul import filter, wire
from embedded.consul.errors import BadRequestError
from embedded.consul.http.context import Context
from embedded.consul.http.endpoints.catalog import has_tags, meta_fits, meta_wanted, selected
from embedded.consul.http.message import Answer, Request
from embedded.consul.http.query import Result
from embedded.consul.model import PASSING, Check
from embedded.consul.state.catalog import Instance
from embedded.consul.state.ledger import CHECKS
from embedded.consul.state.rules import READ, Authorizer


async def service(context: Context, request: Request) -> Answer:
    name = _name(request, "Missing service name")
    may = context.authorize(request)
    passing = request.flag("passing")
    wanted, test = meta_wanted(request), selected(request, filter.INSTANCE)
    tags = [tag.lower() for tag in request.query.get("tag", []) if tag]
    plain = may.allows_all and not (wanted or tags or request.get("filter"))
    catalog, datacenter = context.state.catalog, context.identity.datacenter

    def instances() -> list[wire.Json]:
        if not may.allow("service", READ, name):
            return []
        shown = []
        for it in catalog.health(name):
            if (
                (passing and not is_passing(it))
                or not has_tags(it.service, tags)
                or not meta_fits(it.node.meta, wanted)
            ):
                continue
            if may.allow("node", READ, it.node.name) and test(shape := instance_shape(it, datacenter)):
                shown.append(shape)
        return shown

    def find() -> Result:
        index = catalog.service_index(name, checks=True)
        topics = catalog.service_topics(name, checks=True)
        key = ("health", name.lower(), passing)
        return Result(index, topics, lambda: context.answers.get(key, index, instances) if plain else instances())

    return await context.query(request, find, catalog=True, cached=True)


async def connect(context: Context, request: Request) -> Answer:
    """No service here is a proxy or speaks Connect itself."""
    name = _name(request, "Missing service name")
    catalog = context.state.catalog

    def find() -> Result:
        return Result(catalog.service_index(name, checks=True), catalog.service_topics(name, checks=True), list)

    return await context.query(request, find, catalog=True)


async def checks(context: Context, request: Request) -> Answer:
    name = _name(request, "Missing service name")
    return await _checks(context, request, lambda: context.state.catalog.checks_of_service(name))


async def node(context: Context, request: Request) -> Answer:
    name = _name(request, "Missing node name")
    return await _checks(context, request, lambda: context.state.catalog.checks_on(name))


async def state(context: Context, request: Request) -> Answer:
    wanted = _name(request, "Missing check state")
    all_checks = context.state.catalog.all_checks
    return await _checks(context, request, lambda: (it for it in all_checks() if wanted in ("any", it.status)))


def is_passing(it: Instance) -> bool:
    return all(check.status == PASSING for check in it.checks)


def instance_shape(it: Instance, datacenter: str) -> wire.Json:
    return {
        "Node": wire.node(it.node, datacenter),
        "Service": wire.node_service(it.service),
        "Checks": wire.checks(it.checks),
    }


async def _checks(context: Context, request: Request, found: Callable[[], Iterable[Check]]) -> Answer:
    may = context.authorize(request)
    wanted, test = meta_wanted(request), selected(request, filter.CHECK)
    ledger, catalog = context.state.ledger, context.state.catalog

    def value() -> list[Any]:
        shown = []
        for it in found():
            on = catalog.node(it.node)
            if on and meta_fits(on.meta, wanted) and may_read_check(may, it) and test(shape := wire.check(it)):
                shown.append(shape)
        return shown

    return await context.query(request, lambda: Result(ledger.index_of(CHECKS), [CHECKS], value), catalog=True)


def may_read_check(may: Authorizer, check: Check) -> bool:
    if check.service_name:
        return may.allow("service", READ, check.service_name)
    return may.allow("node", READ, check.node)


def _name(request: Request, missing: str) -> str:
    if not request.rest:
        raise BadRequestError(missing)
    return request.rest
