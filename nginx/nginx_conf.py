"""The routing model -> nginx.conf. Pure: same model, same text.

One server block per set of routes that hosts share, two locations per path (`= /app` and `/app/`, so that `/apple` is not `/app`).
With Lua, endpoints are not part of the text, and blocks that differ in services alone are one; without it each service is an upstream.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nginx import syntax
from nginx.layout import Layout, Listen, Tuning, listen_address
from nginx.model import Cors, Endpoint, Model, Options, Route, Service, StreamRoute
from nginx.server_blocks import Block, HostMap, joined

PLAIN_STAND_INS = {
    "BALANCE=ewma": "Nginx without Lua measures no latency: of two endpoints at random, the one with fewer connections",
    "WEBSOCKET_TIMEOUT": "Nginx without Lua has one timeout for all answers: READ_TIMEOUT",
}
LUA_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
STREAM_MODULE = "ngx_stream_module.so"

_environment = Environment(
    loader=PackageLoader("nginx"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701  nginx.conf is no HTML; every value passes a quoting filter or is a number
)
_environment.filters.update(quote=syntax.quote, quote_key=syntax.quote_key, quote_pattern=syntax.quote_pattern)


@dataclass(frozen=True)
class Surroundings:
    """Everything besides the model. `generation` numbers configurations, so that a running Nginx can say which one it has.

    `certificates`: the hosts that have one, and a digest of all of them; without Lua they are read at a reload only.
    """

    layout: Layout
    listen: Listen
    tuning: Tuning
    lua: bool = True
    generation: int = 1
    modules: Path = Path("/usr/lib/nginx/modules")
    certificates: tuple[frozenset[str], str] = (frozenset(), "")


def render(model: Model, around: Surroundings) -> str:
    writer = _Writer(model, around)
    template = _environment.get_template("lua.conf.j2" if around.lua else "plain.conf.j2")
    return template.render(writer.values())


def user_files(model: Model) -> dict[str, str]:
    """File name -> htpasswd text, for the routes with basic auth."""
    return {
        _users_file(route.service): "".join(f"{user.name}:{user.password}\n" for user in route.options.access.users)
        for route in model.routes
        if route.options.access.users
    }


def upstream_name(service: str) -> str:
    """Nginx compares upstream names without case; services differ by it."""
    return f"{service.lower()}_{_digest(service)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _users_file(service: str) -> str:
    return f"{service}_{_digest(service)}.htpasswd"


@dataclass(frozen=True)
class Map:
    """A map of Nginx: `variable` is the result of the first of `entries` (pattern, result) that `source` matches, else `default`."""

    source: str
    variable: str
    default: str
    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Canary:
    """How a service's traffic is shared: the variables that name who answers, as upstream and as service."""

    split: dict[str, Any]
    upstream: str
    served: str


class _Writer:
    def __init__(self, model: Model, around: Surroundings) -> None:
        self.model = model
        self.around = around
        self.cors_numbers: dict[Cors, int] = {}
        self.rate_zones: dict[str, dict[str, object]] = {}
        self.connection_zones: dict[str, dict[str, object]] = {}
        self.hsts_ages: set[int] = set()
        self.maps: list[Map] = []
        self.keys: dict[tuple[str, str], str] = {}
        self.canaries = (
            {} if around.lua else {one.name: self._canary(one) for one in model.services.values() if one.canaries}
        )

    def values(self) -> dict[str, Any]:
        around = self.around
        servers, host_maps = self._servers()
        for server in servers:
            server["refusals"] = _with_refusals(server["locations"])
        upstreams = [] if around.lua else [self._upstream(service) for service in self._routed_services()]
        return {
            "generation": around.generation,
            "certificates_digest": "" if around.lua else around.certificates[1],
            "modules": [around.modules / name for name in self._modules()],
            "paths": around.layout,
            "listen": around.listen,
            "tuning": around.tuning,
            "lua": around.lua,
            "hash_size": 1 << max(10, (2 * sum(len(server["names"]) for server in servers)).bit_length()),
            "servers": servers,
            "hsts_ages": sorted(self.hsts_ages),
            "cors_maps": [
                {"number": number, "origins": [_origin(origin) for origin in cors.origins]}
                for cors, number in self.cors_numbers.items()
            ],
            "rate_zones": list(self.rate_zones.values()),
            "connection_zones": list(self.connection_zones.values()),
            "upstreams": upstreams,
            "maps": self.maps,
            "host_maps": host_maps,
            "splits": [one.split for one in self.canaries.values()],
            "streams": [self._stream(stream) for stream in self.model.streams],
        }

    def _modules(self) -> tuple[str, ...]:
        return (*(LUA_MODULES if self.around.lua else ()), *((STREAM_MODULE,) if self.model.streams else ()))

    def _servers(self) -> tuple[list[Block], list[HostMap]]:
        routes_of: defaultdict[str, list[Route]] = defaultdict(list)
        for route in self.model.routes:
            for host in route.hosts or ("",):
                routes_of[host].append(route)
        shared: defaultdict[tuple[Route, ...], list[str]] = defaultdict(list)
        for host in sorted(routes_of):
            if host:
                shared[tuple(routes_of[host])].append(host)
        default = self._server(["_"], routes_of.get("", []), default=True)
        named = [self._server(hosts, routes, default=False) for routes, hosts in shared.items()]
        blocks, maps = joined(named) if self.around.lua else (named, [])
        return [default, *blocks], maps

    def _server(self, names: list[str], routes: Sequence[Route], *, default: bool) -> Block:
        listen, suffix = self.around.listen, " default_server" * default
        authorities = [route.options.access.client_ca for route in routes if route.options.access.client_ca]
        locations = [location for route in routes for location in self._locations(route)]
        mirrors = sorted({route.options.mirror for route in routes if route.options.mirror})
        return {
            "listen": [
                f"{listen.http}{suffix}",
                *([f"{listen.tls} ssl http2{suffix}"] if listen.tls else []),
                *([f"{listen.grpc} http2{suffix}"] if listen.grpc else []),
            ],
            "names": names,
            "default": default,
            "tls": bool(listen.tls),
            "certificate": self._certificate(names[0]),
            "client_ca": authorities[0] if authorities else "",
            "has_root": any(route.path == "/" for route in routes),
            "locations": locations + [self._mirror(service) for service in mirrors],
        }

    def _certificate(self, host: str) -> Path:
        layout, (known, _) = self.around.layout, self.around.certificates
        if self.around.lua:
            return layout.placeholder  # the real one is chosen by SNI
        above = "*." + host.removeprefix("*.").partition(".")[2]
        return layout.tls / next((f"{name}.pem" for name in (host, above) if name in known), "0.pem")

    def _locations(self, route: Route) -> list[dict[str, Any]]:
        if route.path == "/":
            return [self._location(route, "^~", "/")]
        return [self._location(route, "=", route.path), self._location(route, "^~", route.path + "/")]

    def _location(self, route: Route, match: str, path: str) -> dict[str, Any]:
        options, access, limits = route.options, route.options.access, route.options.limits
        kind = "grpc" if options.protocol in ("grpc", "grpcs") else "proxy"
        rewritten = options.rewrite is not None and options.rewrite != route.path
        canary = self.canaries.get(route.service)
        location: dict[str, Any] = {
            "match": match,
            "path": path,
            "internal": False,
            "service": route.service,
            "served": canary.served if canary else "",
            "prefix": route.path if rewritten else "",
            "redirect": options.https_redirect,
            "https_port": self._https_port(),
            "client_ca": access.client_ca,
            "deny": access.deny,
            "allow": access.allow,
            "auth_file": self.around.layout.users / _users_file(route.service) if access.users else "",
            "realm": access.realm,
            "rate_zone": self._rate_zone(route),
            "burst": limits.burst,
            "connection_zone": self._connection_zone(route),
            "connections": limits.connections,
            "hsts": self._hsts(options.hsts),
            "cors": self._cors(options.cors),
            "body": limits.body,
            "mirror": _mirror_path(options.mirror) if options.mirror else "",
            "refusal": 0,
            "kind": kind,
            "retry_on": " ".join(options.retries.on) if options.retries.on != ("error", "timeout") else "",
            "extra": self._extra(route, kind),
            "rewrite_from": "",
            "rewrite_to": "",
            "target": self._target(route.service, options.protocol, canary.upstream if canary else ""),
            "cookie": self._sticky_cookie(options.balancing.sticky),
        }
        if rewritten and options.rewrite is not None:
            base = options.rewrite.rstrip("/")
            if kind == "grpc" or canary:
                location["rewrite_from"] = f"^{re.escape(route.path.rstrip('/'))}(?:/(.*))?$"
                location["rewrite_to"] = f"{base}/$1"
            else:
                location["target"] += f"{base}/" if path.endswith("/") else base or "/"
        return location

    def _extra(self, route: Route, kind: str) -> list[str]:
        lines = []
        options = route.options
        if options.protocol in ("https", "grpcs"):
            lines.append(f"{kind}_ssl_name $host;")
        if options.protocol == "grpcs":
            lines.append("grpc_ssl_server_name on;")
        if self.around.lua:
            if options.balancing.sticky:
                lines.append('header_filter_by_lua_block { require("dromos.edge").stick() }')
        else:
            timeouts = options.timeouts
            lines += [
                f"{kind}_{what}_timeout {round(seconds * 1000)}ms;"
                for what, seconds in (("connect", timeouts.connect), ("send", timeouts.send), ("read", timeouts.read))
            ]
            lines.append(f"{kind}_next_upstream_tries {options.retries.tries};")
            if options.maintenance:
                lines.append("return 503;")
        return lines

    def _target(self, service: str, protocol: str, chosen: str = "") -> str:
        scheme = {"http": "http", "https": "https", "grpc": "grpc", "grpcs": "grpcs"}[protocol]
        if self.around.lua:
            return f"{scheme}://{'dromos_tls' if protocol in ('https', 'grpcs') else 'dromos'}"
        return f"{scheme}://{chosen or upstream_name(service)}"

    def _mirror(self, service: str) -> dict[str, Any]:
        blank = Route(service, (), "/", _NO_OPTIONS)
        location = self._location(blank, "=", _mirror_path(service))
        target = "http://dromos_mirror" if self.around.lua else self._target(service, "http")
        return location | {"internal": True, "target": f"{target}$request_uri"}

    def _rate_zone(self, route: Route) -> str:
        limits = route.options.limits
        if not limits.rate:
            return ""
        name = f"rate_{_digest(route.service)}"
        # Nginx takes whole numbers, per second or per minute.
        whole = limits.rate >= 1
        rate = f"{round(limits.rate)}r/s" if whole else f"{max(1, round(limits.rate * 60))}r/m"
        self.rate_zones[name] = {"name": name, "memory": "4m", "rate": rate}
        return name

    def _connection_zone(self, route: Route) -> str:
        if not route.options.limits.connections:
            return ""
        name = f"connections_{_digest(route.service)}"
        self.connection_zones[name] = {"name": name, "memory": "4m"}
        return name

    def _hsts(self, age: int) -> int:
        if age:
            self.hsts_ages.add(age)
        return age

    def _cors(self, cors: Cors) -> dict[str, Any] | None:
        if not cors.origins:
            return None
        number = self.cors_numbers.setdefault(cors, len(self.cors_numbers) + 1)
        return {
            "number": number,
            "methods": ", ".join(cors.methods),
            "headers": ", ".join(cors.headers),
            "credentials": cors.credentials,
            "max_age": cors.max_age,
        }

    def _https_port(self) -> str:
        port = self.around.listen.tls.rpartition(":")[2]
        return f":{port}" if port and port != "443" else ""

    def _routed_services(self) -> list[Service]:
        named = {route.service for route in self.model.routes}
        named |= {route.options.mirror for route in self.model.routes if route.options.mirror}
        named |= {
            other for name in named & self.model.services.keys() for other, _ in self.model.services[name].canaries
        }
        return [self.model.services[name] for name in sorted(named) if name in self.model.services]

    def _upstream(self, service: Service) -> dict[str, Any]:
        balancing = service.balancing
        if balancing.sticky:
            method = f"hash {self._key('cookie', balancing.sticky)} consistent"
        elif balancing.method == "hash":
            method = f"hash {self._key(balancing.hash_key.kind, balancing.hash_key.name)} consistent"
        else:
            method = {"least_conn": "least_conn", "ewma": "random two least_conn"}.get(balancing.method, "")
        return {
            "name": upstream_name(service.name),
            "method": method,
            "endpoints": _written(service.endpoints),
            "max_fails": service.retries.max_fails,
            "fail_timeout": max(1, round(service.retries.fail_timeout)),
        }

    def _key(self, kind: str, name: str) -> str:
        """The variable that is hashed; where a request lacks the header or cookie, it goes to any endpoint."""
        if kind in ("ip", "uri"):
            return {"ip": "$remote_addr", "uri": "$uri"}[kind]
        if (kind, name) not in self.keys:
            number = len(self.keys) + 1
            if kind == "cookie":
                entry = (f"{_cookie(name)}(?<dromos_found_{number}>[^;]+)", f"$dromos_found_{number}")
                self.maps.append(Map("$http_cookie", f"$dromos_key_{number}", "$request_id", (entry,)))
            else:
                self.maps.append(Map(_header(name), f"$dromos_key_{number}", _header(name), (("^$", "$request_id"),)))
            self.keys[kind, name] = f"$dromos_key_{number}"
        return self.keys[kind, name]

    def _sticky_cookie(self, name: str) -> str:
        """The variable with what keeps a client at its endpoint: a cookie that is hashed from then on. "" where Lua does it."""
        if self.around.lua or not name:
            return ""
        if ("sticky", name) not in self.keys:
            variable = f"$dromos_cookie_{len(self.keys) + 1}"
            value = f"{name}=$request_id; Path=/; HttpOnly; SameSite=Lax$dromos_secure"
            self.maps.append(Map("$http_cookie", variable, value, ((f"{_cookie(name)}[^;]", ""),)))
            self.keys["sticky", name] = variable
        return self.keys["sticky", name]

    def _canary(self, service: Service) -> "_Canary":
        """A chain of maps, each of which overrules the one before: shares, who wants none of it, cookies, headers."""
        number, primary = len(self.maps) + 1, upstream_name(service.name)
        alive = {other for other, _ in service.canaries if _written(self.model.services[other].endpoints)}
        live = [(upstream_name(other), canary) for other, canary in service.canaries if other in alive]
        shares = [
            (canary.weight, upstream_name(other) if other in alive else primary)
            for other, canary in service.canaries
            if canary.weight
        ]
        way = f"$dromos_share_{number}"
        split = {"variable": way, "shares": shares, "primary": primary}

        def overrule(source: str, pattern: str, result: str, otherwise: str) -> str:
            variable = f"$dromos_way_{len(self.maps) + 1}"
            self.maps.append(Map(source, variable, otherwise, ((pattern, result),)))
            return variable

        for name, canary in live:
            if canary.weight and canary.header:
                way = overrule(f"{way}:{_header(canary.header)}", f"^{re.escape(name)}:never$", primary, way)
            if canary.weight and canary.cookie:
                pattern = f"^{re.escape(name)}:(?:.*; *)?{re.escape(canary.cookie)}=never(?:;|$)"
                way = overrule(f"{way}:$http_cookie", pattern, primary, way)
        for name, canary in reversed(live):
            if canary.cookie:
                chosen = overrule(_header(canary.header), "^never$", way, name) if canary.header else name
                way = overrule("$http_cookie", f"{_cookie(canary.cookie)}always(?:;|$)", chosen, way)
        for name, canary in reversed(live):
            if canary.header:
                way = overrule(_header(canary.header), f"^{re.escape(canary.header_value)}$", name, way)
        served = f"$dromos_served_{number}"
        others = tuple((f"^{re.escape(upstream_name(other))}$", other) for other in sorted(alive))
        self.maps.append(Map(way, served, service.name, others))
        return _Canary(split, way, served)

    def _stream(self, stream: StreamRoute) -> dict[str, Any]:
        service: Service | None = self.model.services.get(stream.service)
        options = stream.options
        udp = stream.protocol == "udp"
        return {
            "name": f"{stream.protocol}_{stream.port}",
            "listen": listen_address(self.around.listen.stream_host, stream.port) + (" udp" if udp else ""),
            "endpoints": _written(service.endpoints) if service else [],
            "least_conn": options.balancing.method in ("least_conn", "ewma"),
            "hash": options.balancing.method == "hash" or bool(options.balancing.sticky),
            "max_fails": options.retries.max_fails,
            "fail_timeout": max(1, round(options.retries.fail_timeout)),
            "connect": round(options.timeouts.connect * 1000),
            "read": round(options.timeouts.upgraded * 1000),
            "allow": options.access.allow,
            "deny": options.access.deny,
        }


def _written(endpoints: Sequence[Endpoint]) -> list[Mapping[str, object]]:
    return [
        {"address": listen_address(endpoint.address, endpoint.port), "weight": endpoint.weight}
        for endpoint in endpoints
        if endpoint.weight
    ]


def _with_refusals(locations: Sequence[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Numbers the ways to turn a request away by the headers that its location adds; 0 adds none."""
    found: dict[tuple[object, ...], tuple[int, dict[str, Any]]] = {(0, None): (0, {"hsts": 0, "cors": None})}
    for location in locations:
        key = (location["hsts"], repr(location["cors"]) if location["cors"] else None)
        location["refusal"] = found.setdefault(key, (len(found), location))[0]
    return list(found.values())


def _origin(origin: str) -> tuple[str, str]:
    """(what the Origin header must be, what is answered)"""
    if origin == "*":
        return "~.", '"*"'
    if "*." in origin:
        scheme, _, rest = origin.partition("://*.")
        return f"~^{scheme}://([a-z0-9-]+\\.)+{re.escape(rest)}$", "$http_origin"
    return f"~*^{re.escape(origin)}$", "$http_origin"


def _header(name: str) -> str:
    return f"$http_{name.lower().replace('-', '_')}"


def _cookie(name: str) -> str:
    """A pattern for the beginning of its value. Nginx' own $cookie_… knows no names with a dash."""
    return f"(?:^|; *){re.escape(name)}="


def _mirror_path(service: str) -> str:
    return f"/.dromos-mirror/{service}"


_NO_OPTIONS = Options()
