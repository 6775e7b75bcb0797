"""The routing model -> haproxy.cfg and its maps. Pure: same model, same text.

A backend per service; hosts and paths are looked up in maps, by the longest prefix of `host/path/`, so that `/apple` is not `/app`.
Servers are named by their address. They are in the text so that a start has them, and are no part of what makes a reload necessary.

HAProxy has no EWMA and no UDP: see STAND_INS and UNSUPPORTED (targets/with_udp.py has an Nginx do the latter). It mirrors by Lua
(lua/haproxy_mirror.lua).
"""

import functools
import hashlib
import re
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nginx import syntax
from nginx.layout import LUA, Layout, Listen, Tuning, listen_address
from nginx.model import Canary, Endpoint, Model, Options, Route, Service, StreamRoute

UNSUPPORTED = {"udp": "HAProxy knows no udp: install nginx and libnginx-mod-stream, which do it beside HAProxy"}
STAND_INS = {
    "BALANCE=ewma": "HAProxy measures no latency: the endpoint with the fewest connections",
    "SEND_TIMEOUT": "HAProxy has one timeout for both directions: READ_TIMEOUT",
}
MOST_WEIGHT = 256
RATE_WINDOW = 10  # seconds over which HAProxy measures a rate
BUCKETS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000)  # of the histogram, milliseconds

_environment = Environment(
    loader=PackageLoader("nginx"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701  haproxy.cfg is no HTML; every value is a checked name, a number, or quoted
)
_environment.filters.update(word=syntax.haproxy_word)

_RETRY_ON = {
    "error": ("conn-failure", "empty-response"),
    "timeout": ("conn-failure", "response-timeout"),
    "invalid_header": ("junk-response",),
    "http_500": ("500",),
    "http_502": ("502",),
    "http_503": ("503",),
    "http_504": ("504",),
    "http_429": ("429",),
}


@dataclass(frozen=True)
class HaproxySurroundings:
    """Everything besides the model. `certificates` is a digest of all of them: they are read at a reload only."""

    layout: Layout
    listen: Listen
    tuning: Tuning
    generation: int = 1
    certificates: str = ""


def render(model: Model, around: HaproxySurroundings) -> str:
    found = backends(model)
    watched = is_watched(found)
    authorities = sorted({one.options.access.client_ca for one in model.routes if one.options.access.client_ca})
    return _environment.get_template("haproxy.cfg.j2").render(
        generation=around.generation,
        certificates=around.certificates,
        layout=around.layout,
        listen=around.listen,
        tuning=around.tuning,
        authorities=around.layout.authorities / authorities[0] if authorities else "",
        wildcards=any(host.startswith("*.") for route in model.routes for host in route.hosts),
        backends=[_backend(backend, model, around, watched) for backend in found],
        canaries=_canaries(model),
        lua=LUA / "haproxy_metrics.lua",
        mirror=LUA / "haproxy_mirror.lua" if any(route.options.mirror for route in model.routes) else "",
        buckets=BUCKETS,
        streams=[_stream(stream, around) for stream in model.streams if stream.protocol == "tcp"],
    )


def maps(model: Model, switched: frozenset[str] = frozenset()) -> dict[str, str]:
    """Name of a map -> its text."""
    exact, reg, hosts, reg_hosts = {}, {}, set(), set()
    for route in sorted(model.routes, key=lambda one: -len(one.path)):
        path = "/" if route.path == "/" else f"{route.path}/"
        for host in route.hosts or ("*",):
            if host.startswith("*."):
                pattern = rf"^([^/]+\.)+{re.escape(host[2:])}"
                reg[f"{pattern}{re.escape(path)}"] = backend_name(route.service)
                reg_hosts.add(f"{pattern}$")
            else:
                exact[f"{host}{path}"] = backend_name(route.service)
                hosts |= {host} - {"*"}
    return {
        "routes": _map(exact),
        "wildcards": _map(reg),
        "hosts": _map(dict.fromkeys(sorted(hosts), "1")),
        "wildcard_hosts": _map(dict.fromkeys(sorted(reg_hosts), "1")),
        "standby": standby_map(model, switched),
        "services": "".join(
            f"{one.name} {one.service.name} {one.service.app}\n" for one in backends(model) if not one.mirrors
        ),
    }


def standby_map(model: Model, switched: frozenset[str]) -> str:
    """Backend -> the backend of its standby, for those that are switched. The only map that changes while HAProxy runs."""
    entries = {}
    for name in sorted(switched):
        standby = model.services[name].standby
        if standby is not None:
            entries[backend_name(name)] = backend_name(name, standby.service)
    return _map(entries)


@functools.lru_cache(maxsize=65536)
def backend_name(service: str, other: str = "") -> str:
    """The backend of a service; with `other`, of that canary or standby where it answers for the service."""
    readable = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{service}.{other}" if other else service)
    return f"{readable}_{hashlib.sha256(f'{service}/{other}'.encode()).hexdigest()[:8]}"


def mirror_name(service: str) -> str:
    """The backend that takes copies of requests for a service."""
    return f"mirror.{backend_name(service)}"


def server_name(address: str, port: int) -> str:
    return f"{address.replace(':', '-')}_{port}"


def _map(entries: Mapping[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in entries.items())


@dataclass(frozen=True)
class Backend:
    """A backend of HAProxy: the servers of `service`, and the labels and paths of `route_of`, which differ for a canary or standby.

    `mirrors`: it takes copies of requests, which nobody counts.
    """

    name: str
    service: Service
    route_of: str
    options: Options
    mirrors: bool = False


def backends(model: Model) -> list[Backend]:
    options = {route.service: route.options for route in model.routes}
    options |= {stream.service: stream.options for stream in model.streams if stream.protocol == "tcp"}
    found = []
    for name in sorted(options):
        service = model.services[name]
        found.append(Backend(backend_name(name), service, name, options[name]))
        if not service.canaries and not service.standby:
            continue
        others = {other for other, _ in service.canaries} | ({service.standby.service} if service.standby else set())
        for other in sorted(others & model.services.keys()):
            found.append(Backend(backend_name(name, other), model.services[other], name, options[name]))
    for name in sorted({one.options.mirror for one in model.routes} & model.services.keys()):
        found.append(Backend(mirror_name(name), model.services[name], "", Options(), mirrors=True))
    return found


def server_options(options: Options, *, watched: bool) -> str:
    """The words of a server line after its weight, the same for those added while HAProxy runs.

    `watched`: a server that fails requests is skipped, and looked at until it answers. Consul does the checking otherwise, so a
    server that does well is hardly looked at.
    """
    words = []
    if watched and options.retries.max_fails:
        skipped = f"{round(options.retries.fail_timeout * 1000)}ms"
        words += ["check", "inter", "1h", "downinter", skipped, "fastinter", "1s", "fall", "1", "rise", "1"]
        words += ["observe", "layer4", "error-limit", str(options.retries.max_fails), "on-error", "mark-down"]
    if options.protocol in ("https", "grpcs"):
        words += ["ssl", "verify", "none"]
    if options.protocol in ("grpc", "grpcs"):
        words += ["proto", "h2"] if options.protocol == "grpc" else ["alpn", "h2"]
    return "".join(f" {word}" for word in words)


def is_watched(found: Sequence[Backend]) -> bool:
    """Each watched server costs HAProxy a file descriptor, whether it is looked at or not."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2
    return sum(len(one.service.endpoints) for one in found) <= most


def _backend(backend: Backend, model: Model, around: HaproxySurroundings, watched: bool) -> dict[str, Any]:
    options = backend.options
    lines = _tcp_lines(options) if options.protocol in ("tcp", "udp") else _http_lines(backend, model)
    if options.https_redirect:
        lines.insert(0, _redirect(around))
    if options.access.users:
        realm = options.access.realm.replace(" ", "\\ ")
        lines.insert(0, f"http-request auth realm {realm} unless {{ http_auth(users_{backend.name}) }}")
    most = most_weight(backend.service)
    return {
        "name": backend.name,
        "users": options.access.users,
        "lines": lines,
        "server_options": server_options(options, watched=watched),
        "servers": [_server(endpoint, most) for endpoint in backend.service.endpoints],
    }


def most_weight(service: Service) -> int:
    return max((one.weight for one in service.endpoints), default=0)


def weight_of(endpoint: Endpoint, most: int) -> int:
    """As HAProxy has it: up to 256, in proportion where an endpoint of the service has more. `most`: the most that one of them has."""
    if most <= MOST_WEIGHT or not endpoint.weight:
        return endpoint.weight
    return max(1, round(endpoint.weight * MOST_WEIGHT / most))


def _server(endpoint: Endpoint, most: int) -> dict[str, object]:
    return {
        "name": server_name(endpoint.address, endpoint.port),
        "address": listen_address(endpoint.address, endpoint.port),
        "weight": weight_of(endpoint, most),
    }


def _redirect(around: HaproxySurroundings) -> str:
    port = around.listen.tls.rpartition(":")[2]
    suffix = f":{port}" if port and port != "443" else ""
    return (
        f"http-request redirect location https://%[var(txn.host)]{suffix}%[pathq] code 308"
        " if { var(txn.proto) -m str http }"
    )


def _tcp_lines(options: Options) -> list[str]:
    lines = ["mode tcp", _balance(options), f"timeout server {round(options.timeouts.upgraded * 1000)}ms"]
    return [*lines, f"timeout connect {round(options.timeouts.connect * 1000)}ms"]


def _http_lines(backend: Backend, model: Model) -> list[str]:
    options = backend.options
    timeouts, retries = options.timeouts, options.retries
    lines = [
        _balance(options),
        f"timeout connect {round(timeouts.connect * 1000)}ms",
        f"timeout server {round(timeouts.read * 1000)}ms",
        f"timeout tunnel {round(timeouts.upgraded * 1000)}ms",
        f"retries {retries.tries - 1}",
        f"retry-on {' '.join(dict.fromkeys(word for outcome in retries.on for word in _RETRY_ON[outcome]))}",
        # What may have been carried out is not sent twice.
        "http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE TRACE }",
    ]
    if options.balancing.sticky:
        lines.append(f"cookie {options.balancing.sticky} insert indirect nocache httponly dynamic")
    lines += _access_lines(options)
    if options.maintenance:
        lines.append(
            'http-request return status 503 content-type text/plain hdr Retry-After 120 string "503: down for maintenance.\\n"'
        )
    lines += _cors_lines(options)
    if options.mirror:
        lines += [
            "http-request wait-for-body time 60s",
            f"http-request lua.dromos_mirror {mirror_name(options.mirror)}",
        ]
    if options.hsts:
        lines.append(
            f"http-response set-header Strict-Transport-Security max-age={options.hsts} if {{ var(txn.proto) -m str https }}"
        )
    lines += [line for route in model.routes if route.service == backend.route_of for line in _rewrite_lines(route)]
    return lines


def _balance(options: Options) -> str:
    match options.balancing.method:
        case "least_conn" | "ewma":
            return "balance leastconn"
        case "hash":
            key = options.balancing.hash_key
            if options.protocol in ("tcp", "udp") or key.kind == "ip":
                return "balance source"
            if key.kind == "uri":
                return "balance uri"
            return f"balance hdr({key.name})" if key.kind == "header" else f"balance hash req.cook({key.name})"
    return "balance roundrobin"


def _access_lines(options: Options) -> list[str]:
    access, limits = options.access, options.limits
    lines = []
    if access.client_ca:
        lines.append("http-request deny deny_status 403 unless { ssl_c_used } { ssl_c_verify 0 }")
    if access.deny:
        lines.append(f"http-request deny deny_status 403 if {{ src {_networks(access.deny)} }}")
    if access.allow:
        lines.append(f"http-request deny deny_status 403 unless {{ src {_networks(access.allow)} }}")
    if limits.rate or limits.connections:
        lines.append(f"stick-table type ipv6 size 100k expire 60s store http_req_rate({RATE_WINDOW}s),conn_cur")
        lines.append("http-request track-sc0 src")
    if limits.rate:
        most = max(1, round(limits.rate * RATE_WINDOW)) + limits.burst
        lines.append(f"http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {most} }}")
    if limits.connections:
        lines.append(f"http-request deny deny_status 429 if {{ sc_conn_cur(0) gt {limits.connections} }}")
    if limits.body:
        lines.append(f"http-request deny deny_status 413 if {{ req.body_size gt {limits.body} }}")
    return lines


def _networks(networks: Sequence[str]) -> str:
    return " ".join("0.0.0.0/0 ::/0" if network == "all" else network for network in networks)


def _cors_lines(options: Options) -> list[str]:
    cors = options.cors
    if not cors.origins:
        return []
    if "*" in cors.origins:
        allowed, answer = "{ req.hdr(origin) -m found }", "*"
    else:
        patterns = " ".join(_origin(origin) for origin in cors.origins)
        allowed, answer = f"{{ req.hdr(origin) -m reg -i {patterns} }}", "%[var(txn.origin)]"
    lines = [f"http-request set-var(txn.origin) req.hdr(origin) if {allowed}"]
    preflight = [
        "http-request return status 204",
        f"hdr Access-Control-Allow-Origin {answer}",
        f"hdr Access-Control-Allow-Methods {','.join(cors.methods)}",
        f"hdr Access-Control-Allow-Headers {','.join(cors.headers)}",
        f"hdr Access-Control-Max-Age {cors.max_age}",
        "hdr Vary Origin",
    ]
    if cors.credentials:
        preflight.append("hdr Access-Control-Allow-Credentials true")
        lines.append("http-response set-header Access-Control-Allow-Credentials true if { var(txn.origin) -m found }")
    lines.append(
        " ".join(preflight)
        + " if { method OPTIONS } { var(txn.origin) -m found } { req.hdr(access-control-request-method) -m found }"
    )
    lines.append(f"http-response set-header Access-Control-Allow-Origin {answer} if {{ var(txn.origin) -m found }}")
    lines.append("http-response add-header Vary Origin")
    return lines


def _origin(origin: str) -> str:
    scheme, _, rest = origin.partition("://")
    host = r"([a-z0-9-]+\.)+" + re.escape(rest[2:]) if rest.startswith("*.") else re.escape(rest)
    return f"'^{scheme}://{host}$'"


def _rewrite_lines(route: Route) -> list[str]:
    rewrite = route.options.rewrite
    if rewrite is None or rewrite == route.path:
        return []
    prefix, base = route.path.rstrip("/"), rewrite.rstrip("/")
    condition = f"{{ var(txn.path) -m reg '^{re.escape(prefix)}(/|$)' }}"
    lines = [f"http-request replace-path '^{re.escape(prefix)}(/(.*))?$' {base}/\\2 if {condition}"]
    if prefix:
        lines.insert(0, f"http-request set-header X-Forwarded-Prefix {prefix} if {condition}")
    return lines


def _canaries(model: Model) -> list[dict[str, Any]]:
    """Rules in their order: headers of all canaries, then cookies, then shares."""
    found = []
    for number, (name, service) in enumerate(sorted(model.services.items())):
        if not service.canaries:
            continue
        rules: list[dict[str, str]] = []
        share = 0
        for other, canary in service.canaries:
            to = backend_name(name, other)
            if canary.header:
                value = canary.header_value.replace(" ", "\\ ")
                rules.append({"to": to, "condition": f"{{ req.hdr({canary.header}) -m str {value} }}", "rank": "1"})
            if canary.cookie:
                rules.append({"to": to, "condition": f"{{ req.cook({canary.cookie}) -m str always }}", "rank": "2"})
        for other, canary in service.canaries:
            if canary.weight:
                least, share = share, share + canary.weight
                between = (
                    f"{{ var(txn.share_{number}) -m int ge {least} }} {{ var(txn.share_{number}) -m int lt {share} }}"
                )
                condition = f"{between} {_unless_never(canary)}".strip()
                rules.append({"to": backend_name(name, other), "condition": condition, "rank": "3"})
        rules.sort(key=lambda rule: rule["rank"])
        found.append({"number": number, "primary": backend_name(name), "rules": rules})
    return found


def _unless_never(canary: Canary) -> str:
    words = []
    if canary.header:
        words.append(f"!{{ req.hdr({canary.header}) -m str never }}")
    if canary.cookie:
        words.append(f"!{{ req.cook({canary.cookie}) -m str never }}")
    return " ".join(words)


def _stream(stream: StreamRoute, around: HaproxySurroundings) -> dict[str, Any]:
    access = stream.options.access
    lines = []
    if access.deny:
        lines.append(f"tcp-request connection reject if {{ src {_networks(access.deny)} }}")
    if access.allow:
        lines.append(f"tcp-request connection reject unless {{ src {_networks(access.allow)} }}")
    return {
        "name": f"tcp_{stream.port}",
        "listen": listen_address(around.listen.stream_host, stream.port),
        "idle": round(stream.options.timeouts.upgraded * 1000),
        "lines": lines,
        "backend": backend_name(stream.service),
    }
