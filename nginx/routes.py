"""Consul's services -> the routing model. Pure: same instances, policy and claims, same model.

Which instance's labels speak for a service: those of the newest app version (`dromos-version`), so that during a rolling update the
new definition holds from its first healthy instance on.

Who gets a host and path that two services want: the higher PRIORITY, then the one that had it before, then the first by name. The
loser is reported. A client's certificate is checked before its request is known, so all routes of a host (with some proxies: of the edge)
have the same authority: by the same order, those that name another one are closed.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from nginx import names, options
from nginx.errors import RefusedError
from nginx.model import Canary, Endpoint, Instance, Model, Options, Refusal, Route, Service, StreamRoute, Timeouts

APP = "dromos-app"
PORT_INDEX = "dromos-port-index"
VERSION = "dromos-version"
LABELS = (options.PREFIX, "HAPROXY_")  # what tags may say
MAX_APP_ID = 256

# What a route occupies: (host or "", path), or ("tcp"/"udp", port).
Claim = tuple[str, str | int]
Claims = Mapping[Claim, str]


@dataclass(frozen=True)
class Policy:
    """`groups`: only services of these groups (none: all). `expose_all`: route services without any label too, at `/` + name.

    `stream_ports`: the range of TCP and UDP ports that labels may open. `addresses`: host name -> IP address, as resolved.
    `authorities`: the files of certificate authorities that there are for CLIENT_CA. `one_authority`: the chosen proxy has the same for
    all hosts. `unsupported`: protocols that it does not know, and why. `stand_ins`: what it does instead of
    what it cannot, by `KEY` or `KEY=value`. `taken`: ports that cannot be had, and why.
    """

    groups: frozenset[str] = frozenset()
    expose_all: bool = False
    stream_ports: tuple[int, int] = (10000, 20000)
    addresses: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    authorities: frozenset[str] = frozenset()
    one_authority: bool = False
    unsupported: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    stand_ins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    taken: Mapping[Claim, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class _Candidate:
    """A service on its way into the model."""

    name: str
    app: str
    index: int
    version: str
    options: Options
    endpoints: tuple[Endpoint, ...]
    wishes: tuple[Claim, ...]


@dataclass(frozen=True)
class _Laid:
    """The routes of `candidates`, which are kept so that no other object can have one of the ids in `key`."""

    key: tuple[tuple[str, int, int], ...]
    candidates: tuple[_Candidate, ...]
    routes: tuple[Route, ...]
    streams: tuple[StreamRoute, ...]
    refusals: tuple[Refusal, ...]


class Builder:
    """Builds models one after the other, and works out again only what changed: of thousands of services, one or two do."""

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._candidates: dict[str, tuple[Sequence[Instance], _Candidate | None, tuple[Refusal, ...]]] = {}
        self._services: dict[str, tuple[_Candidate, tuple[tuple[str, Canary], ...], Service]] = {}
        self._routes: dict[str, tuple[_Candidate, list[Claim], list[Route], list[StreamRoute]]] = {}
        self._laid: _Laid | None = None
        self._last: tuple[Mapping[str, Sequence[Instance]], Model] | None = None

    def build(self, services: Mapping[str, Sequence[Instance]], policy: Policy, before: Model | None = None) -> Model:
        """`services`: name -> all instances that Consul knows, healthy or not. `before`: the last model, whose owners keep theirs."""
        if policy != self._policy:
            self._candidates, self._services, self._routes, self._laid, self._last = {}, {}, {}, None, None
            self._policy = policy
        model = self._with_other_endpoints(services, policy, before) or self._build(services, policy, before)
        self._last = (services, model)
        return model

    def _with_other_endpoints(
        self, services: Mapping[str, Sequence[Instance]], policy: Policy, before: Model | None
    ) -> Model | None:
        """The last model with the endpoints that are other now, None where anything else is: what most changes are, for a cost
        that hardly grows with the number of services."""
        if self._last is None or before is not self._last[1] or len(services) != len(self._last[0]):
            return None
        seen = self._last[0]
        changed = [name for name, instances in services.items() if seen.get(name) is not instances]
        found = dict(before.services)
        for name in changed:
            old, refused = self._candidates.get(name, (None, None, ()))[1:]
            new, refused_now = self._candidate(name, services[name], policy)
            if old is None or new is None or refused != refused_now or not _differ_in_endpoints_alone(old, new):
                return None
            found[name] = replace(found[name], endpoints=new.endpoints)
        return replace(before, services=MappingProxyType(found)) if changed else before

    def _build(self, services: Mapping[str, Sequence[Instance]], policy: Policy, before: Model | None) -> Model:
        refusals: list[Refusal] = []
        candidates = []
        for name in sorted(services):
            candidate, refused = self._candidate(name, services[name], policy)
            refusals += refused
            if candidate is not None:
                candidates.append(candidate)
        candidates = _merge_deployment_groups(candidates)
        candidates = _without_missing_references(candidates, refusals)
        canaries = _canaries({candidate.name: candidate for candidate in candidates}, refusals)
        laid = self._lay(candidates, policy, before)
        refusals += laid.refusals
        built = {one.name: self._service(one, canaries.get(one.name, ())) for one in candidates}
        self._forget(services.keys())
        return Model(
            routes=laid.routes,
            streams=laid.streams,
            services=MappingProxyType(built),
            refusals=tuple(sorted(set(refusals))),
        )

    def _candidate(
        self, name: str, instances: Sequence[Instance], policy: Policy
    ) -> tuple[_Candidate | None, tuple[Refusal, ...]]:
        known = self._candidates.get(name)
        if known is None or (known[0] is not instances and known[0] != instances):
            refusals: list[Refusal] = []
            candidate = _candidate(name, instances, policy, refusals)
            if known is not None and known[1] is not None and candidate is not None:
                candidate = _with_equal_parts_of(known[1], candidate)
            known = self._candidates[name] = (instances, candidate, tuple(refusals))
        return known[1], known[2]

    def _service(self, candidate: _Candidate, canaries: tuple[tuple[str, Canary], ...]) -> Service:
        known = self._services.get(candidate.name)
        if known is None or known[0] is not candidate or known[1] != canaries:
            known = self._services[candidate.name] = (candidate, canaries, _service(candidate, canaries))
        return known[2]

    def _lay(self, candidates: Sequence[_Candidate], policy: Policy, before: Model | None) -> "_Laid":
        """The routes; those of the last call where nothing has changed but endpoints, since its winners would win again."""
        key = tuple((one.name, id(one.options), id(one.wishes)) for one in candidates)
        if self._laid is None or self._laid.key != key or before is None or before.routes is not self._laid.routes:
            refusals: list[Refusal] = []
            claims = claims_of(before) if before is not None else {}
            allowed = _with_one_authority_each(candidates, policy, claims, refusals)
            routes, streams = self._routes_of(allowed, claims, refusals)
            self._laid = _Laid(
                key,
                tuple(candidates),
                tuple(sorted(routes, key=lambda route: (route.hosts, route.path))),
                tuple(sorted(streams, key=lambda stream: (stream.protocol, stream.port))),
                tuple(refusals),
            )
        return self._laid

    def _routes_of(
        self, candidates: Sequence[_Candidate], claims: Claims, refusals: list[Refusal]
    ) -> tuple[list[Route], list[StreamRoute]]:
        routes: list[Route] = []
        streams: list[StreamRoute] = []
        granted = _grant(candidates, claims, refusals)
        for candidate in candidates:
            mine = granted.get(candidate.name, [])
            known = self._routes.get(candidate.name)
            if known is None or known[0] is not candidate or known[1] != mine:
                known = self._routes[candidate.name] = (candidate, mine, *_routes_at(candidate, mine))
            routes += known[2]
            streams += known[3]
        return routes, streams

    def _forget(self, names: Collection[str]) -> None:
        for cache in (self._candidates, self._services, self._routes):
            for name in cache.keys() - names:
                del cache[name]


def build(services: Mapping[str, Sequence[Instance]], policy: Policy, before: Model | None = None) -> Model:
    """One model, from nothing. See Builder.build."""
    return Builder().build(services, policy, before)


def _with_equal_parts_of(old: _Candidate, new: _Candidate) -> _Candidate:
    """The same candidate, with what is equal taken from `old`: then it is seen at a glance that it is equal."""
    options = old.options if old.options == new.options else new.options
    wishes = old.wishes if old.wishes == new.wishes else new.wishes
    return replace(new, options=options, wishes=wishes)


def _differ_in_endpoints_alone(old: _Candidate, new: _Candidate) -> bool:
    """Of a service that is one by itself: the version decides only between those of a deployment group."""
    same = old.options is new.options and old.wishes is new.wishes and (old.app, old.index) == (new.app, new.index)
    return same and not old.options.deployment_group


def ports_of(model: Model) -> set[Claim]:
    """The ports of its TCP and UDP routes."""
    return {(stream.protocol, stream.port) for stream in model.streams}


def claims_of(model: Model) -> dict[Claim, str]:
    """What the routes of a model occupy, and whose it is."""
    found: dict[Claim, str] = {}
    for route in model.routes:
        for host in route.hosts or ("",):
            found[(host, route.path)] = route.service
    for stream in model.streams:
        found[(stream.protocol, stream.port)] = stream.service
    return found


def _candidate(name: str, instances: Sequence[Instance], policy: Policy, refusals: list[Refusal]) -> _Candidate | None:
    if not instances:
        return None
    try:
        names.service_name(name)
    except RefusedError as refused:
        refusals.append(Refusal(ascii(name)[:80], "name", str(refused)))
        return None
    labels = labels_of(_spokesman(instances))
    asks = APP in labels or options.speaks_to_the_edge(labels)
    if not (asks or policy.expose_all):
        return None
    try:
        index = names.integer(labels.get(PORT_INDEX, "0"), 0, 10_000)
        app = _app_id(labels.get(APP, ""))
    except RefusedError as refused:
        refusals.append(Refusal(name, "meta", str(refused)))
        return None
    parsed = options.parse(labels, index)
    refusals += [Refusal(name, key, why) for key, why in parsed.problems]
    authority = parsed.options.access.client_ca
    unknown_authority = bool(authority) and authority not in policy.authorities
    if unknown_authority:
        refusals.append(Refusal(name, "CLIENT_CA", f"there is no file {authority} among the edge's authorities"))
    if parsed.closed or unknown_authority:
        refusals.append(Refusal(name, "route", "is closed: a label that limits access cannot be read"))
        return None
    wanted = not policy.groups or parsed.options.group in policy.groups
    if not parsed.options.enabled or not wanted:
        return None
    refusals += [
        Refusal(name, wish.partition("=")[0], f"has a stand-in: {policy.stand_ins[wish]}")
        for wish in _special_wishes(parsed.options)
        if wish in policy.stand_ins
    ]
    endpoints = _endpoints(name, instances, index, policy, refusals)
    wishes = tuple(_wishes(name, app, index, parsed.options, policy, refusals))
    return _Candidate(name, app, index, labels.get(VERSION, ""), parsed.options, endpoints, wishes)


def _special_wishes(wanted: Options) -> list[str]:
    """What of these options some proxy has a stand-in for, as Policy.stand_ins names it."""
    usual, found = Timeouts(), [f"BALANCE={wanted.balancing.method}"]
    if wanted.protocol not in ("tcp", "udp"):
        found += ["WEBSOCKET_TIMEOUT"] * (wanted.timeouts.upgraded != usual.upgraded)
        found += ["SEND_TIMEOUT"] * (wanted.timeouts.send != usual.send)
    return found


def kept_seconds(instances: Sequence[Instance]) -> float:
    """How long the route is to stay once the last instance is gone, as the label KEEP says; 0 where none does."""
    if not instances:
        return 0.0
    labels = labels_of(_spokesman(instances))
    try:
        index = names.integer(labels.get(PORT_INDEX, "0"), 0, 10_000)
    except RefusedError:
        return 0.0
    return options.parse(labels, index).options.keep


def _spokesman(instances: Sequence[Instance]) -> Instance:
    """The one whose labels hold for all."""
    return max(instances, key=lambda one: (one.healthy, one.meta.get(VERSION, ""), one.id))


def labels_of(instance: Instance) -> Mapping[str, str]:
    """Its meta, and tags such as `DROMOS_EDGE_HOSTS=shop.example.org`, for those who can set tags alone; meta wins."""
    tagged = dict(tag.split("=", 1) for tag in instance.tags if "=" in tag and tag.startswith(LABELS))
    return {**tagged, **instance.meta} if tagged else instance.meta


def _app_id(value: str) -> str:
    """`/group/app`, or "" for a service that no app stands behind."""
    if not value:
        return ""
    if len(value) > MAX_APP_ID:
        raise RefusedError(f"the app id is longer than {MAX_APP_ID} characters")
    return names.path(value if value.startswith("/") else f"/{value}")


def _endpoints(
    name: str, instances: Sequence[Instance], index: int, policy: Policy, refusals: list[Refusal]
) -> tuple[Endpoint, ...]:
    found: dict[tuple[str, int], Endpoint] = {}
    for instance in sorted(instances, key=lambda one: one.id):
        if not instance.healthy:
            continue
        try:
            address = names.address(policy.addresses.get(instance.address, instance.address))
            port = names.port(instance.port)
        except RefusedError as refused:
            refusals.append(Refusal(name, f"endpoint {ascii(instance.id)[:80]}", str(refused)))
            continue
        weight = options.weight(labels_of(instance), index, min(max(instance.weight, 0), 1000))
        found.setdefault((address, port), Endpoint(address, port, weight, instance.id))
    return tuple(sorted(found.values()))


def _merge_deployment_groups(candidates: list[_Candidate]) -> list[_Candidate]:
    """Blue and green of one deployment group are one service: the newest app's, with the endpoints of all."""
    groups: defaultdict[tuple[str, int], list[_Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.options.deployment_group:
            groups[candidate.options.deployment_group, candidate.index].append(candidate)
    if not groups:
        return candidates
    merged: dict[str, _Candidate | None] = {}
    for members in groups.values():
        newest = max(members, key=lambda one: (one.version, one.name))
        addresses = {(endpoint.address, endpoint.port): endpoint for one in members for endpoint in one.endpoints}
        merged |= {one.name: None for one in members}
        merged[newest.name] = replace(newest, endpoints=tuple(sorted(addresses.values())))
    found = (merged.get(candidate.name, candidate) for candidate in candidates)
    return [candidate for candidate in found if candidate is not None]


def _canaries(by_name: Mapping[str, _Candidate], refusals: list[Refusal]) -> dict[str, tuple[tuple[str, Canary], ...]]:
    """Primary -> its canaries. A canary of a canary, or of nobody, is refused; so is more than 100 % of weight."""
    found: defaultdict[str, list[tuple[str, Canary]]] = defaultdict(list)
    for name, candidate in by_name.items():
        canary = candidate.options.canary
        if canary is None:
            continue
        primary = by_name.get(canary.of)
        if primary is None or primary.options.canary is not None:
            refusals.append(Refusal(name, "CANARY_OF", f"{canary.of} is no service with a route of its own"))
        elif sum(other.weight for _, other in found[canary.of]) + canary.weight > 100:
            refusals.append(Refusal(name, "CANARY_WEIGHT", f"the canaries of {canary.of} ask for more than 100 %"))
        else:
            found[canary.of].append((name, canary))
    return {primary: tuple(canaries) for primary, canaries in found.items()}


def _without_missing_references(candidates: Sequence[_Candidate], refusals: list[Refusal]) -> list[_Candidate]:
    """A mirror or standby that does not exist (yet) is left out until it does; a mirror of what is one long stream, always."""
    names = {candidate.name for candidate in candidates}
    found = []
    for candidate in candidates:
        wanted = candidate.options
        if wanted.mirror and (wanted.mirror not in names or wanted.protocol not in ("http", "https")):
            missing = wanted.mirror not in names
            why = f"there is no service {wanted.mirror}" if missing else f"{wanted.protocol} is not mirrored: http is"
            refusals.append(Refusal(candidate.name, "MIRROR", why))
            wanted = replace(wanted, mirror="")
        if wanted.standby and wanted.standby.service not in names:
            refusals.append(Refusal(candidate.name, "STANDBY", f"there is no service {wanted.standby.service}"))
            wanted = replace(wanted, standby=None)
        found.append(candidate if wanted is candidate.options else replace(candidate, options=wanted))
    return found


def _with_one_authority_each(
    candidates: Sequence[_Candidate], policy: Policy, claims: Claims, refusals: list[Refusal]
) -> list[_Candidate]:
    """Closes those whose clients would be checked against the authority of another."""
    asking = [one for one in candidates if one.options.access.client_ca]
    wishes = [(one, claimed) for one in asking for claimed in one.wishes]
    owners: dict[str, _Candidate] = {}
    for candidate, (host, _) in sorted(wishes, key=lambda wish: _rank(wish[0], wish[1], claims)):
        owners.setdefault("" if policy.one_authority else host, candidate)
    closed = set()
    for candidate in asking:
        places = {"" if policy.one_authority else host for host, _ in candidate.wishes}
        others = [owners[place] for place in sorted(places) if not _same_authority(owners[place], candidate)]
        if others:
            owner = others[0]
            why = f"is closed: clients there are checked against {owner.options.access.client_ca} of {owner.name}"
            refusals.append(Refusal(candidate.name, "CLIENT_CA", why))
            closed.add(candidate.name)
    return [replace(one, wishes=()) if one.name in closed else one for one in candidates]


def _same_authority(one: _Candidate, other: _Candidate) -> bool:
    return one.options.access.client_ca == other.options.access.client_ca


def _rank(candidate: _Candidate, claimed: Claim, claims: Claims) -> tuple[int, bool, str]:
    """Who comes first. See the head of this file for the rule."""
    return (-candidate.options.priority, claims.get(claimed) != candidate.name, candidate.name)


def _grant(candidates: Sequence[_Candidate], claims: Claims, refusals: list[Refusal]) -> dict[str, list[Claim]]:
    """Who gets what; who goes away empty-handed is reported."""
    taken: dict[Claim, str] = {}
    granted: defaultdict[str, list[Claim]] = defaultdict(list)
    wishes = [(candidate, claimed) for candidate in candidates for claimed in candidate.wishes]
    for candidate, claimed in sorted(wishes, key=lambda wish: _rank(wish[0], wish[1], claims)):
        owner = taken.setdefault(claimed, candidate.name)
        if owner == candidate.name:
            granted[owner].append(claimed)
        else:
            where, at = claimed
            wish = f"{where or '*'}{at}" if isinstance(at, str) else f"{where} port {at}"
            refusals.append(Refusal(candidate.name, "route", f"{wish} belongs to {owner}"))
    return granted


def _routes_at(candidate: _Candidate, granted: Sequence[Claim]) -> tuple[list[Route], list[StreamRoute]]:
    streams = []
    hosts_of: defaultdict[str, list[str]] = defaultdict(list)
    for where, at in granted:
        if isinstance(at, int):
            streams.append(StreamRoute(candidate.name, at, "tcp" if where == "tcp" else "udp", candidate.options))
        else:
            hosts_of[at] += [where] if where else []
    options = _with_default_rewrite(candidate)
    routes = [Route(candidate.name, tuple(sorted(hosts)), path, options) for path, hosts in hosts_of.items()]
    return routes, streams


def _wishes(name: str, app: str, index: int, wanted: Options, policy: Policy, refusals: list[Refusal]) -> list[Claim]:
    if wanted.canary is not None:
        return []
    if wanted.protocol in policy.unsupported:
        refusals.append(Refusal(name, "PROTOCOL", policy.unsupported[wanted.protocol]))
        return []
    if wanted.protocol in ("tcp", "udp"):
        least, most = policy.stream_ports
        if not least <= wanted.port <= most:
            why = f"{wanted.protocol} needs a port from {least} to {most}" + (
                f", not {wanted.port}" * bool(wanted.port)
            )
            refusals.append(Refusal(name, "PORT", why))
            return []
        claim = (wanted.protocol, wanted.port)
        if claim in policy.taken:
            why = f"{wanted.protocol} port {wanted.port} {policy.taken[claim]}; the route comes when that has changed"
            refusals.append(Refusal(name, "PORT", why))
            return []
        return [claim]
    if wanted.hosts or wanted.paths:
        return [(host, path) for host in wanted.hosts or ("",) for path in wanted.paths or ("/",)]
    if index != 0:
        return []  # further ports of an app are reached only where a label says so
    return [("", app or f"/{name}")]


def _with_default_rewrite(candidate: _Candidate) -> Options:
    """Below the path that an app gets for want of labels, it sees its own paths: nobody told it of the prefix."""
    wanted = candidate.options
    if wanted.hosts or wanted.paths or wanted.rewrite is not None:
        return wanted
    return replace(wanted, rewrite="/")


def _service(candidate: _Candidate, canaries: tuple[tuple[str, Canary], ...]) -> Service:
    wanted = candidate.options
    return Service(
        name=candidate.name,
        app=candidate.app,
        endpoints=candidate.endpoints,
        balancing=wanted.balancing,
        retries=wanted.retries,
        timeouts=wanted.timeouts,
        canaries=canaries,
        standby=wanted.standby,
        maintenance=wanted.maintenance,
    )
