"""Labels of an app -> Options of one of its ports. Pure.

`DROMOS_EDGE_{n}_KEY` is for the port of index n; `DROMOS_EDGE_KEY` is short for `DROMOS_EDGE_0_KEY`. marathon-lb's labels are
translated into the same keys first (nginx.marathon_lb); where both are given, Dromos' own win. The keys are in docs/edge.md.

A value that cannot be used is left out and reported. One that limits access is another matter: to leave it out would open what
its owner wanted closed, so the port gets no route at all.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from nginx import marathon_lb, names
from nginx.errors import RefusedError
from nginx.model import (
    Access,
    Balance,
    Balancing,
    Canary,
    Cors,
    HashKey,
    Limits,
    Options,
    Protocol,
    Retries,
    Standby,
    Timeouts,
    User,
)

PREFIX = "DROMOS_EDGE_"
MAX_LIST = 64
MOST_KEPT = 366 * 86400.0  # seconds
T = TypeVar("T")
Choice = TypeVar("Choice", bound=str)

_NUMBERED = re.compile(r"([0-9]{1,5})_(.+)")
_RETRY_ON = ("error", "timeout", "invalid_header", "http_500", "http_502", "http_503", "http_504", "http_429")
_BALANCE: tuple[Balance, ...] = ("round_robin", "least_conn", "ewma", "hash")
_PROTOCOLS: tuple[Protocol, ...] = ("http", "https", "grpc", "grpcs", "tcp", "udp")


@dataclass
class _Labels:
    """Reads keys with a parser each, and keeps what could not be read. `known` are the keys that were asked for."""

    values: Mapping[str, str]
    problems: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False
    known: set[str] = field(default_factory=set)

    def get(self, key: str, parse: Callable[[str], T], default: T, *, closes: bool = False) -> T:
        self.known.add(key)
        if key not in self.values:
            return default
        try:
            return parse(self.values[key])
        except RefusedError as refused:
            self.problems.append((key, str(refused)))
            self.closed = self.closed or closes
            return default

    def given(self, *keys: str) -> bool:
        return any(key in self.values for key in keys)


@dataclass(frozen=True)
class Parsed:
    """`problems` are (key, why). `closed`: a key that limits access could not be read."""

    options: Options
    problems: tuple[tuple[str, str], ...]
    closed: bool


def parse(labels: Mapping[str, str], index: int) -> Parsed:
    """The options of the port of that index."""
    translated, problems = marathon_lb.translate(labels, index)
    own = _own(labels, index)
    read = _Labels({**translated, **own}, list(problems))
    options = Options(
        hosts=read.get("HOSTS", _hosts, (), closes=True),
        paths=read.get("PATH", _list(names.path), (), closes=True),
        rewrite=read.get("REWRITE", names.path, None),
        protocol=read.get("PROTOCOL", one_of(_PROTOCOLS), "http"),
        port=read.get("PORT", names.port, 0),
        group=read.get("GROUP", names.text, ""),
        enabled=read.get("ENABLED", names.boolean, True, closes=True),
        priority=read.get("PRIORITY", _integer(0, 1_000_000), 0),
        balancing=_balancing(read),
        retries=_retries(read),
        timeouts=_timeouts(read),
        limits=_limits(read),
        access=_access(read),
        cors=_cors(read),
        canary=_canary(read),
        mirror=read.get("MIRROR", names.service_name, ""),
        standby=_standby(read),
        https_redirect=read.get("HTTPS_REDIRECT", names.boolean, False, closes=True),
        hsts=read.get("HSTS", _hsts, 0),
        keep=read.get("KEEP", _keep, 0.0),
        maintenance=read.get("MAINTENANCE", names.boolean, False, closes=True),
        deployment_group=read.get("DEPLOYMENT_GROUP", names.text, ""),
    )
    unknown = [(key, "is no key of the edge") for key in own if key not in {*read.known, "WEIGHT"}]
    return Parsed(options, (*read.problems, *unknown), read.closed)


def weight(labels: Mapping[str, str], index: int, default: int) -> int:
    """The weight of one endpoint, which is its own instance's affair; `default` where none is given or it is no number."""
    try:
        return names.integer(_own(labels, index)["WEIGHT"], 0, 1000)
    except (KeyError, RefusedError):
        return default


def _keep(value: str) -> float:
    return names.seconds(value, MOST_KEPT)


def speaks_to_the_edge(labels: Mapping[str, str]) -> bool:
    """Whether a service that Dromos did not register asks for a route all the same."""
    return any(re.match(r"(DROMOS_EDGE|HAPROXY)_(\d+_)?(HOSTS|VHOST|PATH|PORT|CANARY_OF)$", key) for key in labels)


def _own(labels: Mapping[str, str], index: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in sorted(labels):
        if not key.startswith(PREFIX):
            continue
        rest = key.removeprefix(PREFIX)
        numbered = _NUMBERED.fullmatch(rest)
        if numbered and int(numbered[1]) == index:
            found[numbered[2]] = labels[key]
        elif not numbered and index == 0:
            found.setdefault(rest, labels[key])
    return found


def _balancing(read: _Labels) -> Balancing:
    hash_key = read.get("HASH_KEY", _hash_key, HashKey())
    default: Balance = "hash" if read.given("HASH_KEY") else "round_robin"
    method = read.get("BALANCE", one_of(_BALANCE), default)
    return Balancing(method, hash_key, read.get("STICKY", _sticky, ""))


def _retries(read: _Labels) -> Retries:
    plain = Retries()
    return Retries(
        tries=read.get("TRIES", _integer(1, 10), plain.tries),
        on=tuple(dict.fromkeys((*plain.on, *read.get("RETRY_ON", _list(one_of(_RETRY_ON)), plain.on)))),
        max_fails=read.get("MAX_FAILS", _integer(0, 100), plain.max_fails),
        fail_timeout=read.get("FAIL_TIMEOUT", names.seconds, plain.fail_timeout),
    )


def _timeouts(read: _Labels) -> Timeouts:
    plain = Timeouts()
    return Timeouts(
        connect=read.get("CONNECT_TIMEOUT", names.seconds, plain.connect),
        send=read.get("SEND_TIMEOUT", names.seconds, plain.send),
        read=read.get("READ_TIMEOUT", names.seconds, plain.read),
        upgraded=read.get("WEBSOCKET_TIMEOUT", names.seconds, plain.upgraded),
    )


def _limits(read: _Labels) -> Limits:
    return Limits(
        rate=read.get("RATE", names.rate, 0.0, closes=True),
        burst=read.get("RATE_BURST", _integer(0, 1_000_000), 0),
        connections=read.get("CONNECTIONS", _integer(1, 1_000_000), 0, closes=True),
        body=read.get("BODY_SIZE", names.size, Limits().body, closes=True),
    )


def _access(read: _Labels) -> Access:
    return Access(
        allow=read.get("ALLOW", _list(names.network), (), closes=True),
        deny=read.get("DENY", _list(names.network), (), closes=True),
        users=read.get("AUTH", _list(_user), (), closes=True),
        realm=read.get("AUTH_REALM", names.text, Access().realm),
        client_ca=read.get("CLIENT_CA", names.file_name, "", closes=True),
    )


def _cors(read: _Labels) -> Cors:
    plain = Cors()
    cors = Cors(
        origins=read.get("CORS", _list(names.origin), ()),
        methods=read.get("CORS_METHODS", _list(names.method), plain.methods),
        headers=read.get("CORS_HEADERS", _list(names.token), plain.headers),
        credentials=read.get("CORS_CREDENTIALS", names.boolean, False),
        max_age=read.get("CORS_MAX_AGE", _integer(0, 86400 * 365), plain.max_age),
    )
    if cors.credentials and "*" in cors.origins:
        read.problems.append(("CORS_CREDENTIALS", "cannot go with the origin *: any site could act as the user"))
        return Cors(cors.origins, cors.methods, cors.headers, False, cors.max_age)
    return cors


def _canary(read: _Labels) -> Canary | None:
    header, value = read.get("CANARY_HEADER", _header_and_value, ("", "always"))
    canary = Canary(
        of=read.get("CANARY_OF", names.service_name, "", closes=True),
        header=header,
        header_value=value,
        cookie=read.get("CANARY_COOKIE", names.token, ""),
        weight=read.get("CANARY_WEIGHT", _integer(0, 100), 0),
    )
    return canary if canary.of else None


def _standby(read: _Labels) -> Standby | None:
    standby = Standby(
        read.get("STANDBY", names.service_name, ""),
        read.get("STANDBY_MINIMUM", _integer(0, 100_000), 0),
        read.get("STANDBY_AFTER", names.seconds, 10.0),
    )
    return standby if standby.service else None


def one_of(choices: tuple[Choice, ...]) -> Callable[[str], Choice]:
    def parse_choice(value: str) -> Choice:
        for choice in choices:
            if choice == value.strip().lower():
                return choice
        raise RefusedError(f"{value[:60]!a} is none of {', '.join(choices)}")

    return parse_choice


def _list(parse_item: Callable[[str], T]) -> Callable[[str], tuple[T, ...]]:
    def parse_list(value: str) -> tuple[T, ...]:
        items = tuple(dict.fromkeys(parse_item(item.strip()) for item in value.split(",") if item.strip()))
        if not items:
            raise RefusedError("is empty")
        if len(items) > MAX_LIST:
            raise RefusedError(f"has more than {MAX_LIST} items")
        return items

    return parse_list


def _hosts(value: str) -> tuple[str, ...]:
    return _list(names.host)(value)


def _integer(least: int, most: int) -> Callable[[str], int]:
    return lambda value: names.integer(value, least, most)


def _hash_key(value: str) -> HashKey:
    kind, _, name = value.strip().partition(":")
    match kind:
        case "ip" | "uri" if not name:
            return HashKey("ip" if kind == "ip" else "uri")
        case "header" | "cookie":
            return HashKey("header" if kind == "header" else "cookie", names.token(name))
    raise RefusedError(f"{value[:60]!a} is none of ip, uri, header:NAME, cookie:NAME")


def _sticky(value: str) -> str:
    """`true` is the cookie `dromos_endpoint`; anything else is a cookie's name."""
    try:
        return "dromos_endpoint" if names.boolean(value) else ""
    except RefusedError:
        return names.token(value)


def _hsts(value: str) -> int:
    """`true` is a year; a number is seconds."""
    try:
        return names.integer(value, 2, 10 * 365 * 86400)
    except RefusedError:
        return 365 * 86400 if names.boolean(value) else 0


def _user(value: str) -> User:
    name, _, password = value.partition(":")
    return User(names.user(name), names.password_hash(password))


def _header_and_value(value: str) -> tuple[str, str]:
    name, equals, wanted = value.strip().partition("=")
    return names.token(name), names.text(wanted) if equals else "always"
