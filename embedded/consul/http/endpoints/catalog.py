"""/v1/catalog: nodes, services, and registering them from outside of an agent."""

from collections.abc import Iterable, Mapping
from typing import Any

from embedded.consul import body, filter, wire
from embedded.consul.agent.definition import ADDRESSES, WEIGHTS
from embedded.consul.errors import BadRequestError, FailedError, PermissionDeniedError
from embedded.consul.golang import format_duration
from embedded.consul.http.context import Context
from embedded.consul.http.message import Answer, Request, json_answer
from embedded.consul.http.query import NO_PATH, Result
from embedded.consul.model import CRITICAL, Check, Node, Service, fold
from embedded.consul.state.ledger import NODES, SERVICES
from embedded.consul.state.rules import READ, WRITE, Authorizer

_DURATIONS = ("Interval", "Timeout", "DeregisterCriticalServiceAfter")
_DEFINITION = body.Struct(
    "HealthCheckDefinition",
    {
        **dict.fromkeys(_DURATIONS, body.duration),
        "HTTP": body.text,
        "TLSSkipVerify": body.boolean,
        "Header": body.map_of(body.TEXTS, "map[string][]string"),
        "Method": body.text,
        "Body": body.text,
        "TCP": body.text,
    },
    strict=False,
)
_CHECK = body.Struct(
    "HealthCheck",
    {
        "Node": body.text,
        "CheckID": body.text,
        "Name": body.text,
        "Status": body.text,
        "Notes": body.text,
        "Output": body.text,
        "ServiceID": body.text,
        "ServiceName": body.text,
        "ServiceTags": body.TEXTS,
        "Type": body.text,
        "Definition": _DEFINITION,
        "CreateIndex": body.unsigned,
        "ModifyIndex": body.unsigned,
    },
)
_SERVICE = body.Struct(
    "NodeService",
    {
        "Kind": body.text,
        "ID": body.text,
        "Service": body.text,
        "Tags": body.TEXTS,
        "Address": body.text,
        "TaggedAddresses": ADDRESSES,
        "Meta": body.TEXT_MAP,
        "Port": body.integer,
        "Weights": WEIGHTS,
        "EnableTagOverride": body.boolean,
        "Proxy": body.anything,
        "Connect": body.anything,
        "CreateIndex": body.unsigned,
        "ModifyIndex": body.unsigned,
    },
)
_REGISTER = body.Struct(
    "RegisterRequest",
    {
        "Datacenter": body.text,
        "ID": body.text,
        "Node": body.text,
        "Address": body.text,
        "TaggedAddresses": body.TEXT_MAP,
        "NodeMeta": body.TEXT_MAP,
        "Service": _SERVICE,
        "Check": _CHECK,
        "Checks": body.list_of(_CHECK, "structs.HealthChecks"),
        "SkipNodeUpdate": body.boolean,
        "Token": body.text,
    },
)
_DEREGISTER = body.Struct(
    "DeregisterRequest",
    {
        "Datacenter": body.text,
        "Node": body.text,
        "Address": body.text,
        "ServiceID": body.text,
        "CheckID": body.text,
        "Token": body.text,
    },
)
_UUID_LENGTH = 36


async def datacenters(context: Context, request: Request) -> Answer:
    return json_answer([context.identity.datacenter], request)


async def nodes(context: Context, request: Request) -> Answer:
    may = context.authorize(request)
    wanted, test = meta_wanted(request), selected(request, filter.NODE)

    def value() -> list[wire.Json]:
        found = (
            it
            for it in context.state.catalog.nodes()
            if meta_fits(it.meta, wanted) and may.allow("node", READ, it.name)
        )
        return [shape for it in found if test(shape := wire.node(it, context.identity.datacenter))]

    ledger = context.state.ledger
    return await context.query(request, lambda: Result(ledger.index_of(NODES), [NODES], value), catalog=True)


async def services(context: Context, request: Request) -> Answer:
    may = context.authorize(request)
    wanted = meta_wanted(request)
    topics = [NODES, SERVICES] if wanted else [SERVICES]
    state = context.state

    def names() -> dict[str, list[str]]:
        shown = {}
        for name, instances in state.catalog.names().items():
            here = [it for it in instances if not wanted or meta_fits(_node_of(context, it).meta, wanted)]
            if here and may.allow("service", READ, name):
                shown[name] = sorted({tag for it in here for tag in it.tags})
        return shown

    def find() -> Result:
        index = state.ledger.index_of(*topics)
        plain = not wanted and may.allows_all
        return Result(index, topics, lambda: context.answers.get("services", index, names) if plain else names())

    return await context.query(request, find, catalog=True, cached=True)


async def service(context: Context, request: Request) -> Answer:
    name = request.rest
    if not name:
        raise BadRequestError("Missing service name")
    may = context.authorize(request)
    wanted, test = meta_wanted(request), selected(request, filter.CATALOG_SERVICE)
    tags = [tag.lower() for tag in request.query.get("tag", []) if tag]
    catalog, datacenter = context.state.catalog, context.identity.datacenter

    def value() -> list[wire.Json]:
        if not may.allow("service", READ, name):
            return []
        shown = []
        for it in catalog.instances(name):
            on = _node_of(context, it)
            if has_tags(it, tags) and meta_fits(on.meta, wanted) and may.allow("node", READ, on.name):
                shape = wire.catalog_service(it, on, datacenter)
                if test(shape):
                    shown.append(shape)
        return shown

    def find() -> Result:
        return Result(catalog.service_index(name, checks=False), catalog.service_topics(name, checks=False), value)

    return await context.query(request, find, catalog=True, cached=True)


async def connect(context: Context, request: Request) -> Answer:
    """No service here is a proxy or speaks Connect itself."""
    name = request.rest
    if not name:
        raise BadRequestError("Missing service name")
    catalog = context.state.catalog

    def find() -> Result:
        return Result(catalog.service_index(name, checks=False), catalog.service_topics(name, checks=False), list)

    return await context.query(request, find, catalog=True)


async def node(context: Context, request: Request) -> Answer:
    found, test, may = _node_query(context, request)

    def value() -> wire.Json | None:
        if found() is None or not may.allow("node", READ, request.rest):
            return None
        return {
            "Node": _shown_node(context, request),
            "Services": {it["ID"]: it for it in _services_on(context, request, may, test)},
        }

    return await _about_node(context, request, value)


async def node_services(context: Context, request: Request) -> Answer:
    found, test, may = _node_query(context, request)

    def value() -> wire.Json:
        if found() is None or not may.allow("node", READ, request.rest):
            return {"Node": None, "Services": None}
        return {"Node": _shown_node(context, request), "Services": _services_on(context, request, may, test)}

    return await _about_node(context, request, value)


async def register(context: Context, request: Request) -> Answer:
    given = body.decode(await request.body(), _REGISTER)
    name = given.get("Node", "")
    if not name:
        raise FailedError("Must provide node")
    if not given.get("Address") and not given.get("SkipNodeUpdate"):
        raise FailedError("Must provide address if SkipNodeUpdate is not set")
    id = given.get("ID", "")
    if id and len(id) != _UUID_LENGTH:
        raise FailedError("Bad node ID: uuid string is wrong length")
    _refuse_elsewhere(context, given)
    node = None if given.get("SkipNodeUpdate") else _read_node(given)
    service = _read_service(given["Service"], name) if "Service" in given else None
    checks = [*([given["Check"]] if given.get("Check") is not None else []), *given.get("Checks", [])]
    read = [_read_check(each, name) for each in checks]
    _authorize_register(context, context.authorize(request), name, node, service, read)
    context.state.catalog.register(node, service, read, on=name)
    return json_answer(True, request)


async def deregister(context: Context, request: Request) -> Answer:
    given = body.decode(await request.body(), _DEREGISTER)
    name = given.get("Node", "")
    if not name:
        raise FailedError("Must provide node")
    _refuse_elsewhere(context, given)
    may, catalog = context.authorize(request), context.state.catalog
    service_id, check_id = given.get("ServiceID", ""), given.get("CheckID", "")
    if not _may_deregister(context, may, name, service_id, check_id):
        raise PermissionDeniedError
    if service_id:
        catalog.deregister_service(name, service_id)
    elif check_id:
        catalog.deregister_check(name, check_id)
    else:
        catalog.deregister_node(name)
    return json_answer(True, request)


# ── shared with the health endpoints ─────────────────────────────────────────────────────────────────────────────────


def meta_wanted(request: Request) -> dict[str, str]:
    """`?node-meta=key:value`, any number of times."""
    pairs = (text.partition(":") for text in request.query.get("node-meta", []))
    return {key: value for key, _, value in pairs}


def meta_fits(meta: Mapping[str, str] | None, wanted: Mapping[str, str]) -> bool:
    return all((meta or {}).get(key) == value for key, value in wanted.items())


def has_tags(service: Service, wanted: Iterable[str]) -> bool:
    """Whether it has all of these tags, which are in lower case."""
    tags = {tag.lower() for tag in service.tags}
    return all(tag in tags for tag in wanted)


def selected(request: Request, schema: filter.Schema) -> filter.Predicate:
    """The test of `?filter=`; all pass where there is none. Raises FailedError."""
    text = request.get("filter")
    return filter.compile_filter(text, schema) if text else lambda shape: True


# ── this file's own ──────────────────────────────────────────────────────────────────────────────────────────────────


def _node_query(context: Context, request: Request) -> tuple[Any, filter.Predicate, Authorizer]:
    if not request.rest:
        raise BadRequestError("Missing node name")
    catalog = context.state.catalog
    return lambda: catalog.node(request.rest), selected(request, filter.SERVICE), context.authorize(request)


async def _about_node(context: Context, request: Request, value: Any) -> Answer:
    catalog, ledger = context.state.catalog, context.state.ledger

    def find() -> Result:
        known = catalog.node(request.rest) is not None
        return Result(ledger.index_of(NODES, SERVICES) if known else 0, [NODES, SERVICES], value)

    return await context.query(request, find, catalog=True)


def _shown_node(context: Context, request: Request) -> wire.Json:
    node = context.state.catalog.node(request.rest)
    assert node
    return wire.node(node, context.identity.datacenter)


def _services_on(context: Context, request: Request, may: Authorizer, test: filter.Predicate) -> list[wire.Json]:
    services = context.state.catalog.services_on(request.rest)
    shapes = (wire.node_service(it) for it in services if may.allow("service", READ, it.name))
    return [shape for shape in shapes if test(shape)]


def _node_of(context: Context, service: Service) -> Node:
    node = context.state.catalog.node(service.node)
    assert node
    return node


def _read_node(given: Mapping[str, Any]) -> Node:
    return Node(
        given["Node"], given["Address"], given.get("ID", ""), given.get("TaggedAddresses"), given.get("NodeMeta")
    )


def _read_service(given: Mapping[str, Any], node: str) -> Service:
    id, name = given.get("ID", ""), given.get("Service", "")
    if id and not name:
        raise FailedError("Must provide service name with ID")
    if not name:
        raise FailedError("failed inserting service: failed inserting service: object missing primary index")
    weights = given.get("Weights") or {}
    return Service(
        node=node,
        id=id or name,
        name=name,
        tags=tuple(given.get("Tags", ())),
        address=given.get("Address", ""),
        port=given.get("Port", 0),
        meta=given.get("Meta"),
        tagged_addresses=given.get("TaggedAddresses"),
        passing_weight=weights.get("Passing", 0 if weights else 1),
        warning_weight=weights.get("Warning", 0 if weights else 1),
        enable_tag_override=given.get("EnableTagOverride", False),
        kind=given.get("Kind", ""),
        proxy=given.get("Proxy") or {},
        connect=given.get("Connect") or {},
    )


def _read_check(given: Mapping[str, Any], node: str) -> Check:
    if given.get("Node", node) not in ("", node):
        raise FailedError(f'check node "{given["Node"]}" does not match node "{node}"')
    id = given.get("CheckID") or given.get("Name", "")
    if not id:
        problem = "object missing primary index"
        raise FailedError(f'failed inserting check: failed inserting check: {problem} on node "{node}"')
    definition = {key: value for key, value in given.get("Definition", {}).items() if value}
    definition |= {key: format_duration(definition[key]) for key in _DURATIONS if key in definition}
    kind = given.get("Type") or ("http" if definition.get("HTTP") else "tcp" if definition.get("TCP") else "")
    return Check(
        node=node,
        id=id,
        name=given.get("Name", ""),
        status=given.get("Status") or CRITICAL,
        notes=given.get("Notes", ""),
        output=given.get("Output", ""),
        service_id=given.get("ServiceID", ""),
        service_name=given.get("ServiceName", ""),
        service_tags=tuple(given.get("ServiceTags", ())),
        type=kind,
        definition=definition,
    )


def _refuse_elsewhere(context: Context, given: Mapping[str, Any]) -> None:
    if given.get("Datacenter", "") not in ("", context.identity.datacenter):
        raise FailedError(NO_PATH)


def _authorize_register(
    context: Context, may: Authorizer, name: str, node: Node | None, service: Service | None, checks: list[Check]
) -> None:
    catalog = context.state.catalog
    known = catalog.node(name)
    changes_node = known is None or (node is not None and node != known)
    if (changes_node or any(not check.service_id for check in checks)) and not may.allow("node", WRITE, name):
        raise PermissionDeniedError
    names = {service.name} if service else set()
    if service and (other := catalog.service(name, service.id)):
        names.add(other.name)
    for check in checks:
        owner = catalog.service(name, check.service_id) if check.service_id else None
        if owner and (service is None or fold(service.id) != fold(owner.id)):
            names.add(owner.name)
    if not all(may.allow("service", WRITE, each) for each in names):
        raise PermissionDeniedError


def _may_deregister(context: Context, may: Authorizer, node: str, service_id: str, check_id: str) -> bool:
    if may.allow("node", WRITE, node):
        return True
    catalog = context.state.catalog
    if not service_id and check_id:
        check = catalog.check(node, check_id)
        service_id = check.service_id if check else ""
    service = catalog.service(node, service_id) if service_id else None
    return service is not None and may.allow("service", WRITE, service.name)
