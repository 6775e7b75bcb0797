"""Models made of what Consul says, their harmless twins, and what is around them."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from nginx import certificates, haproxy_conf, process
from nginx.layout import Layout, Listen, Tuning
from nginx.model import Instance, Model
from nginx.nginx_conf import Surroundings
from nginx.routes import Policy, build

AUTHORITIES = frozenset({"staff.pem"})


def surroundings(root: Path, *, lua: bool = True, tls: bool = False, generation: int = 1) -> Surroundings:
    listen = Listen(
        "127.0.0.1:18080",
        "127.0.0.1:18081",
        tls="127.0.0.1:18443" if tls else "",
        grpc="127.0.0.1:18090",
        trusted=("10.0.0.0/8",),
    )
    return Surroundings(
        Layout(root), listen, Tuning(workers="1", connections=512, table_memory=1, metrics_memory=1), lua, generation
    )


def model_of(services: dict[str, tuple[Instance, ...]]) -> Model:
    return build(services, Policy(expose_all=True, authorities=AUTHORITIES))


def haproxy_model_of(services: dict[str, tuple[Instance, ...]]) -> Model:
    policy = Policy(expose_all=True, authorities=AUTHORITIES, one_authority=True, unsupported=haproxy_conf.UNSUPPORTED)
    return build(services, policy)


# Where the strings of a model come from, and what stands there in its harmless twin.
HARMLESS: dict[str, Callable[[str, int], str]] = {
    **dict.fromkeys(
        ("Route.service", "StreamRoute.service", "Service.name", "Service.canaries", "Canary.of", "Standby.service"),
        lambda value, number: f"s{number}",
    ),
    "Options.mirror": lambda value, number: f"s{number}",
    **dict.fromkeys(
        ("Route.hosts", "Options.hosts"), lambda value, number: "*." * value.startswith("*.") + f"h{number}"
    ),
    **dict.fromkeys(
        ("Route.path", "Options.paths", "Options.rewrite", "Service.app"), lambda value, number: f"/p{number}"
    ),
    **dict.fromkeys(
        ("HashKey.name", "Balancing.sticky", "Canary.header", "Canary.header_value", "Canary.cookie", "User.name"),
        lambda value, number: f"t{number}",
    ),
    **dict.fromkeys(("Access.realm", "Access.client_ca", "Cors.headers"), lambda value, number: f"w{number}"),
    "Cors.methods": lambda value, number: "M" * (number + 1),
    "Cors.origins": lambda value, number: "https://" + "*." * ("*." in value) + f"o{number}",
    "Endpoint.address": lambda value, number: f"10.{number // 62500}.{number // 250 % 250}.{1 + number % 250}",
    **dict.fromkeys(
        ("Access.allow", "Access.deny"),
        lambda value, number: (
            value if value == "all" else f"10.{number // 62500}.{number // 250 % 250}.{number % 250}/32"
        ),
    ),
    "User.password": lambda value, number: f"$5${number:08d}",
}


class Twin:
    """A model of the same shape, whose strings mean nothing to anybody. Equal strings stay equal, different ones different."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def of(self, value: Any, kind: str = "") -> Any:
        if isinstance(value, str):
            if value in ("", "/", "*") or kind not in HARMLESS:
                return value
            return HARMLESS[kind](value, self.numbers.setdefault(value, len(self.numbers)))
        if isinstance(value, tuple):
            return tuple(self.of(one, kind) for one in value)
        if isinstance(value, Mapping):
            return {self.of(name, "Service.name"): self.of(one) for name, one in value.items()}
        if is_dataclass(value) and not isinstance(value, type):
            name = type(value).__name__
            return replace(
                value, **{one.name: self.of(getattr(value, one.name), f"{name}.{one.name}") for one in fields(value)}
            )
        return value


def with_certificates(layout: Layout) -> None:
    process.prepare(layout)
    placeholder = certificates.placeholder(layout.placeholder)
    certificates.write(certificates.Bundle({}, {}), layout.tls, placeholder)
    for name in AUTHORITIES:
        (layout.authorities / name).write_bytes(layout.placeholder.read_bytes())
