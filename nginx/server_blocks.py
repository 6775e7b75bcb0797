"""Server blocks of nginx.conf that differ in nothing but names and services, as one block. Pure.

Every block and location costs Nginx 20 to 25 KiB of memory and a share of each reload, whatever little it holds. So thousands of hosts with
the same labels are one block, in which a map tells the service by the request's host.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

Block = dict[str, Any]  # of nginx.conf.j2: "names", "locations" with "service" and "served" each, and more


@dataclass(frozen=True)
class HostMap:
    """`variable` names the service that a request's host belongs to, by `services` (host or `*.host`, service)."""

    variable: str
    services: tuple[tuple[str, str], ...]


def joined(blocks: Sequence[Block]) -> tuple[list[Block], list[HostMap]]:
    """Fewer blocks that say the same, in the order of their first members, and the maps that they need."""
    alike: defaultdict[bytes, list[Block]] = defaultdict(list)
    for block in blocks:
        alike[_form(block)].append(block)
    found: list[Block] = []
    maps: list[HostMap] = []
    for members in alike.values():
        if len(members) == 1:
            found += members
            continue
        locations = []
        for at, location in enumerate(members[0]["locations"]):
            services = {name: one["locations"][at]["service"] for one in members for name in one["names"]}
            maps.append(HostMap(f"$dromos_hosted_{len(maps) + 1}", tuple(sorted(services.items()))))
            locations.append({**location, "served": maps[-1].variable})
        names = sorted(name for one in members for name in one["names"])
        found.append({**members[0], "names": names, "locations": locations})
    return found, maps


def _form(block: Block) -> bytes:
    """Equal for blocks that are the same but for the names, and the services that their locations are of."""
    locations = [{**location, "service": ""} for location in block["locations"]]
    return orjson.dumps({**block, "names": (), "locations": locations}, default=str)
