"""marathon-lb's labels -> the edge's own keys, so that apps which were made for marathon-lb need no change. Pure.

`HAPROXY_{n}_X` is for the port of index n, `HAPROXY_X` for the whole app; both forms of GROUP, and DEPLOYMENT_GROUP, are known.
Labels that hold raw HAProxy configuration (…_BACKEND_HEAD, …_HTTP_OPTIONS and so on) are reported and have no effect: they would
be a way around every check of names and values.
"""

import re
from collections.abc import Callable, Mapping

from nginx.errors import RefusedError

PREFIX = "HAPROXY_"

_SAME = {
    "VHOST": "HOSTS",
    "PATH": "PATH",
    "PORT": "PORT",
    "STICKY": "STICKY",
    "ENABLED": "ENABLED",
    "GROUP": "GROUP",
    "REDIRECT_TO_HTTPS": "HTTPS_REDIRECT",
    "USE_HSTS": "HSTS",
    "BACKEND_WEIGHT": "PRIORITY",
    "DEPLOYMENT_GROUP": "DEPLOYMENT_GROUP",
}
# Their work is done elsewhere: the edge listens where its operator says, takes certificates by name, and drains by itself.
_WITHOUT_EFFECT = re.compile(
    r"BIND_ADDR|BIND_OPTIONS|SSL_CERT|BACKEND_HEALTHCHECK_PORT_INDEX|BACKEND_NETWORK_NAME|DEPLOYMENT_.*"
)


def translate(labels: Mapping[str, str], index: int) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """(edge key -> value, problems as (label, why)) of the port of that index."""
    found: dict[str, str] = {}
    problems: list[tuple[str, str]] = []
    for label, key in _labels_of(labels, index):
        value = labels[label]
        if label != f"{PREFIX}{index}_{key}" and f"{PREFIX}{index}_{key}" in labels:
            continue  # the port's own label wins over the app's
        if key in _SAME:
            found[_SAME[key]] = _host_list(value) if key == "VHOST" else value
        elif key in _TRANSLATED:
            try:
                found |= _TRANSLATED[key](value)
            except RefusedError as refused:
                problems.append((label, str(refused)))
        elif not _WITHOUT_EFFECT.fullmatch(key):
            problems.append((label, "is no label that the edge understands"))
    return found, problems


def _labels_of(labels: Mapping[str, str], index: int) -> list[tuple[str, str]]:
    """(label, key) of the port's own labels and those of the whole app."""
    own = f"{PREFIX}{index}_"
    result = []
    for label in sorted(labels):
        if label.startswith(own):
            result.append((label, label.removeprefix(own)))
        elif label.startswith(PREFIX) and not re.match(r"HAPROXY_\d+_", label):
            result.append((label, label.removeprefix(PREFIX)))
    return result


def _host_list(value: str) -> str:
    return ",".join(value.replace(",", " ").split())


def _mode(value: str) -> dict[str, str]:
    match value.strip().lower():
        case "tcp":
            return {"PROTOCOL": "tcp"}
        case "http" | "":
            return {}
    raise RefusedError(f"{value[:60]!a} is neither tcp nor http")


def _balance(value: str) -> dict[str, str]:
    match value.strip().lower().split("(")[0].split():
        case ["roundrobin" | "static-rr" | "random" | "first"]:
            return {"BALANCE": "round_robin"}
        case ["leastconn"]:
            return {"BALANCE": "least_conn"}
        case ["source"]:
            return {"HASH_KEY": "ip", "BALANCE": "hash"}
        case ["uri", *_]:
            return {"HASH_KEY": "uri", "BALANCE": "hash"}
        case ["hdr"]:
            header = value.strip().removesuffix(")").partition("(")[2].strip()
            return {"HASH_KEY": f"header:{header}", "BALANCE": "hash"}
    raise RefusedError(f"{value[:60]!a} is none of roundrobin, leastconn, source, uri, hdr(NAME)")


def _auth(value: str) -> dict[str, str]:
    """`realm:user:hash`"""
    realm, _, user = value.partition(":")
    return {"AUTH": user, "AUTH_REALM": realm}


def _allowed(value: str) -> dict[str, str]:
    return {"ALLOW": ",".join(value.split())}


def _protocol(value: str) -> dict[str, str]:
    match value.strip().lower():
        case "h2" | "h2c" | "grpc":
            return {"PROTOCOL": "grpc"}
        case "http" | "http/1.1":
            return {}
    raise RefusedError(f"{value[:60]!a} is neither h2 nor http/1.1")


_TRANSLATED: dict[str, Callable[[str], dict[str, str]]] = {
    "MODE": _mode,
    "BALANCE": _balance,
    "AUTH": _auth,
    "BACKEND_NETWORK_ALLOWED_ACL": _allowed,
    "BACKEND_PROTO": _protocol,
    "HTTP_BACKEND_PROXYPASS_PATH": lambda value: {"REWRITE": "/", "PATH": value},
}
